// The system's libjpeg-turbo, for builds without TensorFlow. It forgives what TensorFlow's decoder
// forgives: damage inside of the coded pixels is a sentence of libjpeg's on stderr.
#include "kernels/load_images/jpeg.h"

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it

namespace yolov1 {
namespace {

struct Errors {
  jpeg_error_mgr manager;  // the first member: libjpeg knows no other
  std::jmp_buf back;
};

void Fail(j_decompress_ptr info) { info->err->error_exit(reinterpret_cast<j_common_ptr>(info)); }

// Where libjpeg asks for more than all there is. Within a block it has not said how far it came:
// then there are no further lines.
boolean NoMore(j_decompress_ptr info) {
  if (info->src->bytes_in_buffer == 0) Fail(info);
  return FALSE;
}

void Skip(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > info->src->bytes_in_buffer) Fail(info);
  info->src->next_input_byte += count;
  info->src->bytes_in_buffer -= count;
}

struct Decompress : jpeg_decompress_struct {
  Decompress() { mem = nullptr; }  // so that it may be destroyed
  ~Decompress() { jpeg_destroy_decompress(this); }
};

// Calls work(&decompress), which may end by an error of libjpeg: then, and where it says so, false.
// Nothing that needs a destructor may live in `work`.
template <typename Work>
bool WithHeader(std::string_view content, const Work& work) {
  Errors errors;
  Decompress decompress;
  decompress.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = [](j_common_ptr info) {
    std::longjmp(reinterpret_cast<Errors*>(info->err)->back, 1);
  };
  if (setjmp(errors.back) != 0) return false;
  jpeg_create_decompress(&decompress);
  jpeg_mem_src(&decompress, reinterpret_cast<const unsigned char*>(content.data()),
               static_cast<unsigned long>(content.size()));
  decompress.src->fill_input_buffer = NoMore;
  decompress.src->skip_input_data = Skip;
  return jpeg_read_header(&decompress, TRUE) == JPEG_HEADER_OK && work(&decompress);
}

bool Size(std::string_view content, int32_t* height, int32_t* width) {
  return WithHeader(content, [&](jpeg_decompress_struct* decompress) {
    *height = static_cast<int32_t>(decompress->image_height);
    *width = static_cast<int32_t>(decompress->image_width);
    return true;
  });
}

// As TensorFlow's decoder does: Adobe's programs write the inks inverted.
void CmykToRgb(const uint8_t* cmyk, int32_t count, bool inverted, uint8_t* rgb) {
  const auto paper = [&](int ink) { return inverted ? ink : 255 - ink; };
  for (; count > 0; --count, cmyk += 4)
    for (int c = 0; c < 3; ++c)
      *rgb++ = static_cast<uint8_t>(paper(cmyk[3]) * paper(cmyk[c]) / 255);
}

bool Decode(std::string_view content, int ratio, const Part& part, uint8_t* rgb) {
  return WithHeader(content, [&](jpeg_decompress_struct* decompress) {
    const bool is_cmyk =
        decompress->jpeg_color_space == JCS_CMYK || decompress->jpeg_color_space == JCS_YCCK;
    decompress->out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    decompress->scale_denom = static_cast<unsigned>(ratio);
    decompress->dct_method = JDCT_ISLOW;
    jpeg_calc_output_dimensions(decompress);
    const int64_t height = decompress->output_height, width = decompress->output_width;
    if (height * width * decompress->num_components >= int64_t{1} << 29)
      return false;  // TensorFlow's
    jpeg_start_decompress(decompress);
    // A window begins where a block does: at x, further left.
    JDIMENSION x = static_cast<JDIMENSION>(part.x),
               crop_width = static_cast<JDIMENSION>(part.width);
    jpeg_crop_scanline(decompress, &x, &crop_width);
    const JDIMENSION channels = static_cast<JDIMENSION>(decompress->output_components);
    const JSAMPARRAY line = decompress->mem->alloc_sarray(
        reinterpret_cast<j_common_ptr>(decompress), JPOOL_IMAGE, crop_width * channels, 1);
    const uint8_t* const from = *line + (static_cast<JDIMENSION>(part.x) - x) * channels;
    jpeg_skip_scanlines(decompress, static_cast<JDIMENSION>(part.y));
    for (int32_t row = 0; row < part.height; ++row, rgb += int64_t{3} * part.width) {
      if (jpeg_read_scanlines(decompress, line, 1) != 1) return false;
      if (is_cmyk)
        CmykToRgb(from, part.width, decompress->saw_Adobe_marker, rgb);
      else
        std::copy_n(from, int64_t{3} * part.width, rgb);
    }
    // To the end of the file, where it may be truncated.
    if (decompress->output_scanline < decompress->output_height)
      jpeg_skip_scanlines(decompress, decompress->output_height - decompress->output_scanline);
    jpeg_finish_decompress(decompress);
    return true;
  });
}

constexpr JpegDecoder kDecoder = {Size, Decode};
const bool brought = [] {
  TheJpegDecoder() = &kDecoder;
  return true;
}();

}  // namespace
}  // namespace yolov1
