// TensorFlow's JPEG decoder, which its library exports: libjpeg-turbo, and the window of
// tf.image.decode_and_crop_jpeg.
#include <algorithm>
#include <limits>

#include "kernels/load_images/jpeg.h"
#include "tensorflow/core/lib/jpeg/jpeg_mem.h"

namespace yolov1 {
namespace {

namespace jpeg = tensorflow::jpeg;

// Its sizes are of 32 bits.
bool Fits(std::string_view content) {
  return content.size() <= static_cast<size_t>(std::numeric_limits<int>::max());
}

bool Size(std::string_view content, int32_t* height, int32_t* width) {
  int components = 0;
  return Fits(content) && jpeg::GetImageInfo(content.data(), static_cast<int>(content.size()),
                                             width, height, &components);
}

bool Decode(std::string_view content, int ratio, const Part& part, uint8_t* rgb) {
  jpeg::UncompressFlags flags;
  flags.components = 3;
  flags.ratio = ratio;
  flags.dct_method = JDCT_ISLOW;  // Pillow's bits; the fast one is 1.1 levels off on average
  flags.crop = true;
  flags.crop_x = part.x;
  flags.crop_y = part.y;
  flags.crop_width = part.width;
  flags.crop_height = part.height;
  const auto to = [&](int width, int height, int components) {
    const bool expected = width == part.width && height == part.height && components == 3;
    return expected ? rgb : nullptr;
  };
  return jpeg::Uncompress(content.data(), static_cast<int>(content.size()), flags, nullptr, to) !=
         nullptr;
}

constexpr JpegDecoder kDecoder = {Size, Decode};
const bool brought = [] {
  TheJpegDecoder() = &kDecoder;
  return true;
}();

}  // namespace
}  // namespace yolov1
