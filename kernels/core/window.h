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

// A side of an image and, in whole pixels of it, that of the window; it may lie outside.
struct WindowSide {
  int32_t side = 0, low = 0, count = 0;
  bool mirrored = false;

  // The part of the image that the window shows, [begin, end); empty where it shows none.
  YOLOV1_HOST_DEVICE int32_t begin() const { return low > 0 ? low < side ? low : side : 0; }
  YOLOV1_HOST_DEVICE int32_t end() const {
    const int32_t high = low + count < side ? low + count : side;
    return high > begin() ? high : begin();
  }
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
// They are pixels of the window, [0, count).
struct Tap {
  int32_t first, second;
  float share;
};

// Of place k of `size`, as tf.image.resize has it: half-pixel centres, and what would lie outside
// of the window is its outermost pixel.
YOLOV1_HOST_DEVICE Tap TapOf(const WindowSide& window, int32_t size, int32_t k) {
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
