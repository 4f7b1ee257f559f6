// A window of an image, resized bilinearly to a square: which pixels each value comes from.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/macros.h"

namespace yolov1 {

constexpr float kGrey = 127;  // what a window shows outside of its image

// The largest of 1, 2, 4 and 8 by which an image can shrink and still fill a square of `size`.
YOLOV1_HOST_DEVICE int32_t ShrinkRatio(int64_t height, int64_t width, int64_t size) {
  const int64_t least = height < width ? height : width;
  for (int32_t ratio = 8; ratio > 1; ratio /= 2)
    if (least / ratio >= size) return ratio;
  return 1;
}
YOLOV1_HOST_DEVICE int32_t Shrunk(int32_t side, int32_t ratio) { return (side - 1) / ratio + 1; }

// The means of a block of `ratio` x `ratio` pixels of an image [height, width, 3], of fewer at the
// right and the lower edge: pixel (row, column) of the image averaged down. Rounded as Pillow's
// reduce does it: halves up, by an inverse of 24 bits that is cut off.
YOLOV1_HOST_DEVICE void AverageBlock(const uint8_t* image, int32_t height, int32_t width,
                                     int32_t ratio, int32_t row, int32_t column,
                                     uint32_t (&means)[3]) {
  const int32_t y0 = row * ratio, x0 = column * ratio;
  const int32_t rows = ratio < height - y0 ? ratio : height - y0;
  const int32_t columns = ratio < width - x0 ? ratio : width - x0;
  uint32_t sums[3] = {};
  for (int32_t y = 0; y < rows; ++y) {
    const uint8_t* pixel = image + ((int64_t{y0} + y) * width + x0) * 3;
    for (int32_t x = 0; x < columns; ++x, pixel += 3)
      for (int c = 0; c < 3; ++c) sums[c] += pixel[c];
  }
  const uint32_t count = static_cast<uint32_t>(rows * columns);
  const uint32_t inverse = (uint32_t{1} << 24) / count;
  for (int c = 0; c < 3; ++c)
    means[c] = static_cast<uint32_t>((uint64_t{sums[c]} + count / 2) * inverse >> 24);
}

// Where the values of a result lie in the window, and what it shows outside of its image:
// half-pixel centres and grey, or Darknet's, whose outermost values are those of the window's
// outermost pixels, and whose windows show the image's edge. In Darknet itself the last row lacks
// what is added of its second pixel: often it is black.
enum class Sampling { kHalfPixel, kDarknet, kDarknetBlackRow };

constexpr int32_t kOutside = -1;  // in the place of a pixel of the image

// A side of an image and, in whole pixels of it, that of the window; it may lie outside.
struct WindowSide {
  int32_t side = 0, low = 0, count = 0;
  bool mirrored = false;
  Sampling sampling = Sampling::kHalfPixel;

  YOLOV1_HOST_DEVICE bool shows_edge() const { return sampling != Sampling::kHalfPixel; }

  // The part of the image that the window shows, [begin, end); empty where it shows none.
  YOLOV1_HOST_DEVICE int32_t begin() const {
    const int32_t last = shows_edge() ? side - 1 : side;
    return low > 0 ? low < last ? low : last : 0;
  }
  YOLOV1_HOST_DEVICE int32_t end() const {
    const int32_t high = low + count < side ? low + count : side;
    const int32_t least = shows_edge() ? begin() + 1 : begin();
    return high > least ? high : least;
  }

  // The pixel of the image that a pixel of the window shows, in [begin, end), or kOutside: then it
  // is of the value `outside`.
  YOLOV1_HOST_DEVICE int32_t Find(int32_t pixel) const {
    const int32_t at = low + pixel;
    if (!shows_edge()) return begin() <= at && at < end() ? at : kOutside;
    if (pixel >= count) return kOutside;
    return at < begin() ? begin() : at < end() ? at : end() - 1;
  }
  YOLOV1_HOST_DEVICE float outside() const { return shows_edge() ? 0 : kGrey; }
};

// Corners beyond this many pixels, or that are no numbers, are refused: 32 bits hold the others.
constexpr float kFarthestCorner = 0x1p28f;

// From fractions of the side. False: a corner is refused.
YOLOV1_HOST_DEVICE bool ToPixels(float low, float high, int32_t side, bool mirrored,
                                 WindowSide* window) {
  low = rintf(low * static_cast<float>(side));
  high = rintf(high * static_cast<float>(side));
  if (!(fabsf(low) <= kFarthestCorner && fabsf(high) <= kFarthestCorner)) return false;
  window->side = side;
  window->low = static_cast<int32_t>(low);
  const int32_t count = static_cast<int32_t>(high) - window->low;
  window->count = count > 1 ? count : 1;
  window->mirrored = mirrored;
  return true;
}

// The two pixels that a value lies between, and how far it is from the first: v0 + (v1 - v0) share.
// They are pixels of the window, [0, count); `count` itself is no pixel of any image.
struct Tap {
  int32_t first, second;
  float share;
};

// As Darknet's resize_image has it: its quotient is a float's, and its images are mirrored after
// it.
YOLOV1_HOST_DEVICE Tap DarknetTapOf(const WindowSide& window, int32_t size, int32_t k) {
  if (window.mirrored) k = size - 1 - k;
  const int32_t last = window.count - 1;
  const float steps = static_cast<float>(size > 1 ? size - 1 : 1);
  const float at = static_cast<float>(k) * (static_cast<float>(last) / steps);
  const float below = floorf(at);
  const bool ends = k == size - 1;
  if (ends && window.sampling == Sampling::kDarknet) return {last, last, 0};
  const int32_t first = static_cast<int32_t>(below) < last ? static_cast<int32_t>(below) : last;
  return {first, ends ? window.count : first < last ? first + 1 : last, at - below};
}

// Of place k of `size`, as tf.image.resize has it: half-pixel centres, and what would lie outside
// of the window is its outermost pixel.
YOLOV1_HOST_DEVICE Tap TapOf(const WindowSide& window, int32_t size, int32_t k) {
  if (window.sampling != Sampling::kHalfPixel) return DarknetTapOf(window, size, k);
  const float scale = static_cast<float>(window.count) / static_cast<float>(size);
  const float at = (static_cast<float>(k) + 0.5f) * scale - 0.5f;
  const float below = floorf(at);
  const int32_t last = window.count - 1;
  Tap tap;
  tap.share = at - below;
  const int32_t first = static_cast<int32_t>(below);
  const int32_t second = static_cast<int32_t>(ceilf(at));
  tap.first = first > 0 ? first : 0;
  tap.second = second < last ? second : last;
  if (window.mirrored) {
    tap.first = last - tap.first;
    tap.second = last - tap.second;
  }
  return tap;
}

template <typename A>
YOLOV1_HOST_DEVICE A Between(const A& first, const A& second, const A& share) {
  return first + (second - first) * share;
}

}  // namespace yolov1
