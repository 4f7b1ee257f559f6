// Who decodes JPEG files: whatever library is there brings a decoder (jpeg_tensorflow.cc,
// jpeg_libjpeg.cc).
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "kernels/op.h"

namespace yolov1 {

// A rectangle of an image, in pixels.
struct Part {
  int32_t x, y, width, height;
};

struct JpegDecoder {
  // Reads the image's size. False: there is no header of a JPEG.
  bool (*size)(std::string_view content, int32_t* height, int32_t* width);
  // Decodes a part of the image at 1/`ratio` (1, 2, 4, 8) of its size, which `part` counts in, to
  // RGB: [height, width, 3]. False: it is truncated or damaged.
  bool (*decode)(std::string_view content, int ratio, const Part& part, uint8_t* rgb);
};

// Null until a library has brought one.
YOLOV1_EXPORT std::atomic<const JpegDecoder*>& TheJpegDecoder();

}  // namespace yolov1
