// What the image ops make of an image, by the maths of kernels/core/ one pixel at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/load_images/kernel.h"
#include "tests/native/buffers.h"

namespace yolov1 {

// Pixels of an image: at least those that the window shows, which begin at (y, x) of it.
struct KnownPixels {
  int32_t image_height = 0, image_width = 0;  // of the whole image
  int32_t y = 0, x = 0, height = 0, width = 0;
  const uint8_t* rgb = nullptr;  // [height, width, 3]

  float At(int32_t row, int32_t column, int c, bool edge) const {
    if (edge) {
      row = std::clamp(row, 0, image_height - 1);
      column = std::clamp(column, 0, image_width - 1);
    }
    if (row < 0 || column < 0 || row >= image_height || column >= image_width) return kGrey;
    Require(y <= row && row < y + height && x <= column && column < x + width,
            "no pixel is asked for that the window does not show");
    return rgb[(int64_t{row - y} * width + column - x) * 3 + c];
  }
};

// The whole image at 1/`ratio`: means of blocks, rounded as Pillow does: with the inverse of the
// count to 24 bits, so that halves go down where the count is no power of two.
inline std::vector<uint8_t> PlainAverage(const uint8_t* rgb, int32_t height, int32_t width,
                                         int32_t ratio) {
  std::vector<uint8_t> means;
  for (int32_t y0 = 0; y0 < height; y0 += ratio)
    for (int32_t x0 = 0; x0 < width; x0 += ratio)
      for (int c = 0; c < 3; ++c) {
        int sum = 0, count = 0;
        for (int32_t y = y0; y < y0 + ratio && y < height; ++y)
          for (int32_t x = x0; x < x0 + ratio && x < width; ++x, ++count)
            sum += rgb[(int64_t{y} * width + x) * 3 + c];
        const int64_t inverse = (1 << 24) / count;
        means.push_back(static_cast<uint8_t>((sum + count / 2) * inverse >> 24));
      }
  return means;
}

inline void StoreUnit(DType type, float value, uint8_t* to) {
  if (type == DType::kUint8)
    *to = static_cast<uint8_t>(255 * value + 0.5f);
  else
    Store(type, value, to);
}

// The bytes of result `image`; false where its window is refused.
inline bool PlainImage(const LoadImagesConfig& config, const ImageDraws& draws, int64_t image,
                       const KnownPixels& pixels, uint8_t* out) {
  WindowSide x, y;
  const bool edge = config.sampling != Sampling::kHalfPixel;
  const bool black = config.sampling == Sampling::kDarknetBlackRow;
  if (!draws.ToWindow(image, pixels.image_height, pixels.image_width, config.sampling, &x, &y))
    return false;
  const int64_t size = config.size;
  for (int32_t row = 0; row < size; ++row)
    for (int32_t column = 0; column < size; ++column) {
      const Tap across = TapOf(x, config.size, column), down = TapOf(y, config.size, row);
      // What is to be left out is behind the window.
      const int64_t unmirrored = y.mirrored ? size - 1 - row : row;
      const bool lacks = black && unmirrored == size - 1;
      Require(!lacks || down.second == y.count, "the last row lacks its second pixel");
      const Tap rows = {down.first, lacks ? down.first : down.second, down.share};
      for (const auto& [tap, count] : {std::pair(across, x.count), std::pair(rows, y.count)})
        Require(0 <= tap.first && tap.first < count && 0 <= tap.second && tap.second < count &&
                    0 <= tap.share && tap.share < 1,
                "places within the window");
      const auto plane = [&](int c) {
        const auto of_row = [&](int32_t at) {
          return Between(pixels.At(at, x.low + across.first, c, edge),
                         pixels.At(at, x.low + across.second, c, edge), across.share);
        };
        const float above = of_row(y.low + down.first);
        const float below = lacks ? 0 : of_row(y.low + down.second);
        return Between(above, below, down.share) * (1.0f / 255);
      };
      const Rgb<float> rgb =
          ChangeColour(draws.Colour(image), Rgb<float>{plane(0), plane(1), plane(2)});
      const int64_t place = draws.transpose[image] ? column * size + row : row * size + column;
      const int64_t bytes = SizeOf(config.type);
      int c = 0;
      for (const float value : {rgb.red, rgb.green, rgb.blue}) {
        Require(0 <= value && value <= 1, "values in [0, 1]");
        StoreUnit(config.type, value, out + (3 * place + c++) * bytes);
      }
    }
  return true;
}

}  // namespace yolov1
