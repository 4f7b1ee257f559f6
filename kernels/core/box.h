// Boxes and their overlap.
#pragma once

#include "kernels/core/macros.h"

namespace yolov1 {

enum class IouOverlap {
  kClamped,  // the sides of the intersection are at least 0
  kAbs,      // their absolute values: the published defect of tf2_person
};

// Centre and size. Any unit will do as long as x, w and y, h share it.
template <typename T>
struct Box {
  T x, y, w, h;
};

template <typename T>
YOLOV1_HOST_DEVICE T Abs(T value) {
  return value < 0 ? -value : value;
}

// Unlike a bare comparison, these hand on a NaN from either side.
template <typename T>
YOLOV1_HOST_DEVICE T Min(T a, T b) {
  return a < b || a != a ? a : b;
}

template <typename T>
YOLOV1_HOST_DEVICE T Max(T a, T b) {
  return a > b || a != a ? a : b;
}

// Length of the overlap of two intervals given by centre and length; negative where they are apart.
template <typename T>
YOLOV1_HOST_DEVICE T SideOverlap(T centre_a, T length_a, T centre_b, T length_b) {
  return Min(centre_a + length_a / 2, centre_b + length_b / 2) -
         Max(centre_a - length_a / 2, centre_b - length_b / 2);
}

// Intersection over union. Zero over zero, and every other NaN, counts as no overlap: 0. Sizes are
// taken as they come: a negative one makes a clamped intersection 0.
template <typename T>
YOLOV1_HOST_DEVICE T Iou(const Box<T>& a, const Box<T>& b, IouOverlap overlap) {
  T width = SideOverlap(a.x, a.w, b.x, b.w);
  T height = SideOverlap(a.y, a.h, b.y, b.h);
  T area_a = a.w * a.h, area_b = b.w * b.h;
  if (overlap == IouOverlap::kAbs) {
    width = Abs(width);
    height = Abs(height);
    area_a = Abs(area_a);
    area_b = Abs(area_b);
  } else {
    width = Max(width, T(0));
    height = Max(height, T(0));
  }
  const T intersection = width * height;
  const T iou = intersection / (area_a + area_b - intersection);
  return iou == iou ? iou : T(0);
}

}  // namespace yolov1
