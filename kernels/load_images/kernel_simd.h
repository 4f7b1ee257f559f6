// The levels of SIMD that kernel_simd.cc is compiled for.
#pragma once

#include <cstdint>

#include "kernels/load_images/kernel.h"

namespace yolov1 {

// One image whose pixels are there: those that its window shows.
struct ShownImage {
  WindowSide x, y;
  const uint8_t* pixels = nullptr;  // [y.end() - y.begin(), x.end() - x.begin(), 3]; null: none
  int64_t stride = 0;               // bytes from one row to the next
  ColourChange colour;
  bool transpose = false;
  bool past_caches = false;  // the batch does not stay in the caches: write past them
  void* out = nullptr;       // [size, size, 3]
};

struct LoadImagesLevel {
  // Resizes and colours one image, in memory of `workspace_bytes`, at a multiple of 64.
  void (*resize)(const LoadImagesConfig& config, const ShownImage& image, uint8_t* workspace);
  int64_t (*workspace_bytes)(int64_t size, int64_t shown_width);
};

namespace baseline {
extern const LoadImagesLevel kLoadImages;
}
namespace avx2 {
extern const LoadImagesLevel kLoadImages;
}
namespace avx512 {
extern const LoadImagesLevel kLoadImages;
}

}  // namespace yolov1
