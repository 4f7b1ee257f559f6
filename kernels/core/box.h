// Boxes and their overlap, of one pair or of lanes of pairs.
#pragma once

#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

enum class IouOverlap {
  kClamped,  // the sides of the intersection are at least 0
  kAbs,      // their absolute values: the published defect of tf2_person
};

// Centre and size. Any unit will do as long as x, w and y, h share it.
template <typename A>
struct Box {
  A x, y, w, h;
};

// Length of the overlap of two intervals given by centre and length; negative where they are apart.
template <typename A>
YOLOV1_HOST_DEVICE A SideOverlap(A centre_a, A length_a, A centre_b, A length_b) {
  using E = ElementOf<A>;
  const A half_a = length_a * E(0.5), half_b = length_b * E(0.5);
  return Min(centre_a + half_a, centre_b + half_b) - Max(centre_a - half_a, centre_b - half_b);
}

// Intersection over union. Zero over zero, and every other NaN, counts as no overlap: 0. Sizes are
// taken as they come: a negative one makes a clamped intersection 0.
template <typename A>
YOLOV1_HOST_DEVICE A Iou(const Box<A>& a, const Box<A>& b, IouOverlap overlap) {
  A width = SideOverlap(a.x, a.w, b.x, b.w);
  A height = SideOverlap(a.y, a.h, b.y, b.h);
  A area_a = a.w * a.h, area_b = b.w * b.h;
  if (overlap == IouOverlap::kAbs) {
    width = Abs(width);
    height = Abs(height);
    area_a = Abs(area_a);
    area_b = Abs(area_b);
  } else {
    width = Max(width, A{});
    height = Max(height, A{});
  }
  const A intersection = width * height;
  const A iou = intersection / (area_a + area_b - intersection);
  return Select(iou == iou, iou, A{});
}

}  // namespace yolov1
