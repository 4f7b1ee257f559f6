// Images to an augmented batch, without any framework: configuration, arguments, launch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/colour.h"
#include "kernels/core/window.h"
#include "kernels/op.h"

namespace yolov1 {

// What is the same for every batch.
struct LoadImagesConfig {
  int32_t size = 0;  // of the square results
  DType type = DType::kFloat;
  bool shrink = true;
  Sampling sampling = Sampling::kHalfPixel;
};

// Reads the text that every caller configures the ops with, as yolov1/kernels/ writes it:
// "size=448 dtype=float32 shrink=True sampling=darknet", shrink for pixels alone; sampling may be
// missing, and where it is Darknet's nothing shrinks. Returns "", or what is wrong.
std::string ParseLoadImagesConfig(std::string_view text, LoadImagesConfig* config);
std::string ParseAugmentImagesConfig(std::string_view text, LoadImagesConfig* config);

// How each image is seen: n of each.
struct ImageDraws {
  const float* windows = nullptr;   // [n, 4] x0, y0, x1, y1, fractions of the image
  const bool* flips = nullptr;      // [n, 2] left-right, top-bottom
  const bool* transpose = nullptr;  // [n]
  const float* colours = nullptr;   // [n, 3] hue turn, saturation and exposure factor

  YOLOV1_HOST_DEVICE bool ToWindow(int64_t image, int32_t height, int32_t width, Sampling sampling,
                                   WindowSide* x, WindowSide* y) const {
    const float* const corners = windows + 4 * image;
    x->sampling = sampling == Sampling::kHalfPixel ? sampling : Sampling::kDarknet;
    y->sampling = sampling;  // no column lacks anything
    return ToPixels(corners[0], corners[2], width, flips[2 * image], x) &&
           ToPixels(corners[1], corners[3], height, flips[2 * image + 1], y);
  }
  YOLOV1_HOST_DEVICE ColourChange Colour(int64_t image) const {
    return {colours[3 * image], colours[3 * image + 1], colours[3 * image + 2]};
  }
};

// Pixels in memory: those of image k, [height, width, 3], begin at values[offsets[k]].
struct PixelsInMemory {
  const uint8_t* values = nullptr;  // [total]
  int64_t total = 0;
  const int64_t* offsets = nullptr;  // [n]
  const int32_t* sizes = nullptr;    // [n, 2] height, width

  YOLOV1_HOST_DEVICE bool Fits(int64_t image) const {
    const int64_t height = sizes[2 * image], width = sizes[2 * image + 1];
    return 0 < height && 0 < width && 0 <= offsets[image] && offsets[image] <= total &&
           height <= (total - offsets[image]) / 3 / width;
  }
};

struct LoadImagesArgs {
  LoadImagesConfig config;
  int64_t images = 0;
  ImageDraws draws;
  const std::string_view* contents = nullptr;  // [n] JPEG files; null: the pixels are in memory
  PixelsInMemory pixels;
  void* out = nullptr;  // [n, size, size, 3] of config.type

  const char* face() const { return contents ? "load_images" : "augment_images"; }
};

// Images [begin, end) on the calling thread; each image's result depends on that image alone.
// Returns "", kOutOfMemory, or what is wrong with the first image that something is wrong with.
std::string LoadImagesCpu(const LoadImagesArgs& args, int64_t begin, int64_t end, int version);
std::vector<std::string> LoadImagesVersions();

// Nanoseconds that an image takes on one core, roughly: what a thread pool wants to know.
int64_t LoadImagesCpuCost(const LoadImagesArgs& args);

// Where the build has CUDA (YOLOV1_CUDA), for pixels in memory, with all pointers to that of the
// device; `stream` is a cudaStream_t. All images are queued, with the bits of the CPU. An image
// whose numbers do not fit is filled with NaN, or with 0 in uint8. Returns "", or what is wrong.
std::string AugmentImagesCuda(const LoadImagesArgs& args, void* stream);

}  // namespace yolov1
