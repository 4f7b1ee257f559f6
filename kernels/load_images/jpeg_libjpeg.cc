// The system's libjpeg-turbo, for builds without TensorFlow.
#include "kernels/load_images/jpeg.h"

#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it
#include <vector>

namespace yolov1 {
namespace {

struct Errors {
  jpeg_error_mgr manager;  // the first member: libjpeg knows no other
  std::jmp_buf back;
};

// Calls work(&decompress), which may end by an error of libjpeg: then, and where it says so, false.
// Nothing that needs a destructor may live in `work`.
template <typename Work>
bool WithHeader(std::string_view content, const Work& work) {
  jpeg_decompress_struct decompress;
  Errors errors;
  decompress.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = [](j_common_ptr info) {
    std::longjmp(reinterpret_cast<Errors*>(info->err)->back, 1);
  };
  errors.manager.output_message = [](j_common_ptr) {};
  jpeg_create_decompress(&decompress);
  bool done = false;
  if (setjmp(errors.back) == 0) {
    jpeg_mem_src(&decompress, reinterpret_cast<const unsigned char*>(content.data()),
                 static_cast<unsigned long>(content.size()));
    done = jpeg_read_header(&decompress, TRUE) == JPEG_HEADER_OK && work(&decompress);
  }
  jpeg_destroy_decompress(&decompress);
  return done;
}

bool Size(std::string_view content, int32_t* height, int32_t* width) {
  return WithHeader(content, [&](jpeg_decompress_struct* decompress) {
    *height = static_cast<int32_t>(decompress->image_height);
    *width = static_cast<int32_t>(decompress->image_width);
    return true;
  });
}

bool Decode(std::string_view content, int ratio, const Part& part, uint8_t* rgb) {
  std::vector<uint8_t> line;  // libjpeg's windows begin and end where its blocks do
  return WithHeader(content, [&](jpeg_decompress_struct* decompress) {
    decompress->scale_denom = static_cast<unsigned>(ratio);
    decompress->out_color_space = JCS_RGB;
    decompress->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(decompress);
    JDIMENSION x = static_cast<JDIMENSION>(part.x), width = static_cast<JDIMENSION>(part.width);
    jpeg_crop_scanline(decompress, &x, &width);
    line.resize(size_t{width} * 3);
    jpeg_skip_scanlines(decompress, static_cast<JDIMENSION>(part.y));
    for (int32_t row = 0; row < part.height; ++row) {
      JSAMPROW to = line.data();
      if (jpeg_read_scanlines(decompress, &to, 1) != 1) return false;
      const auto begin = line.begin() + (part.x - static_cast<int32_t>(x)) * 3;
      std::copy(begin, begin + part.width * 3, rgb + int64_t{row} * part.width * 3);
    }
    // A warning is damage, as it is to TensorFlow where lines are missing.
    return decompress->err->num_warnings == 0;
  });
}

constexpr JpegDecoder kDecoder = {Size, Decode};
const bool brought = [] {
  TheJpegDecoder() = &kDecoder;
  return true;
}();

}  // namespace
}  // namespace yolov1
