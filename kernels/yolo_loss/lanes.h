// What kernel_simd.cc computes in lanes: streams of numbers, and groups of boxes. A part of it,
// which no other file includes: everything belongs to one level of SIMD.
#pragma once

#include "kernels/core/simd.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

// ------------------------------------------------------------------------------------- one stream

// Takes `one(k)`, which handles the lanes from place k on and returns their values, over all places
// of [0, count); returns the sums of the squares, of which there are `kSums`, so that additions
// need not wait for each other. Where lanes do not divide `count`, the last are taken once more,
// and not summed twice; `single(k)` takes one value where there are fewer than lanes.
template <int kSums, typename A, typename One, typename Single>
YOLOV1_HOST_DEVICE Lanes<A> SumSquares(int64_t count, const One& one, const Single& single) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  Lanes<A> sums[kSums] = {};
  int64_t k = 0;
  for (; k + kSums * kLanes <= count; k += kSums * kLanes) {
#pragma GCC unroll 4
    for (int part = 0; part < kSums; ++part) {
      const Lanes<A> value = one(k + part * kLanes);
      sums[part] += value * value;
    }
  }
  for (; kSums > 1 && k + kLanes <= count; k += kLanes) {
    const Lanes<A> value = one(k);
    sums[0] += value * value;
  }
  if (k < count && count >= kLanes) {
    const Lanes<A> value = FromLane(one(count - kLanes), kLanes - (count - k));
    sums[kSums - 1] += value * value;
  } else if (k < count) {
    A values[kLanes] = {};
    for (; k < count; ++k) values[k] = single(k);
    const Lanes<A> value = Load(values);
    sums[kSums - 1] += value * value;
  }
#pragma GCC unroll 4
  for (int part = 1; part < kSums; ++part) sums[0] += sums[part];
  return sums[0];
}

// ---------------------------------------------------------------------------------------- a group

// Boxes of up to as many object cells as there are lanes: value k of all cells side by side, a
// cell's confidences first, then its boxes, as in the `cells` layout.
template <typename A>
struct GroupView {
  int64_t B;
  Lanes<A>* values;     // [5 B]
  Lanes<A>* gradients;  // [5 B]
  Lanes<A>* slopes;     // [5 B], of the activations

  YOLOV1_HOST_DEVICE Lanes<A> Confidence(int64_t j) const { return values[j]; }
  YOLOV1_HOST_DEVICE Lanes<A> Output(int64_t j, int k) const { return values[B + 4 * j + k]; }
  YOLOV1_HOST_DEVICE void SetConfidence(int64_t j, const Lanes<A>& value) const {
    gradients[j] = value;
  }
  YOLOV1_HOST_DEVICE void SetOutput(int64_t j, int k, const Lanes<A>& value) const {
    gradients[B + 4 * j + k] = value;
  }
};

// What activates value k of a cell in a group.
YOLOV1_HOST_DEVICE Activation OfValue(const Activations& activations, int64_t B, int64_t k) {
  return k < B ? activations.confidences : activations.Output(static_cast<int>((k - B) % 4));
}

// Raw outputs become values, before the loss; its gradients become theirs, behind it.
template <typename A>
__attribute__((noinline)) void ActivateGroup(const Activations& activations,
                                             const GroupView<A>& group) {
  for (int64_t k = 0; k < 5 * group.B; ++k) {
    if (OfValue(activations, group.B, k) == Activation::kLinear) continue;
    const Activated<Lanes<A>> activated = Sigmoid(group.values[k]);
    group.values[k] = activated.value;
    group.slopes[k] = activated.slope;
  }
}
template <typename A>
__attribute__((noinline)) void ScaleBySlopes(const Activations& activations,
                                             const GroupView<A>& group) {
  for (int64_t k = 0; k < 5 * group.B; ++k)
    if (OfValue(activations, group.B, k) != Activation::kLinear)
      group.gradients[k] = Chain<Lanes<A>>(group.gradients[k], {group.values[k], group.slopes[k]});
}

// Not inlined: it is large, and the same for all dtypes of tensors. `target`: x, y, w, h, flag.
template <bool with_gradient, bool squared, typename A>
__attribute__((noinline)) Terms<Lanes<A>> GroupLoss(const Grid& grid,
                                                    const LossSemantics& semantics,
                                                    const LossScale<A>& scale,
                                                    const GroupView<A>& group,
                                                    const Lanes<A>* target) {
  Terms<Lanes<A>> sum = {};
  AddObjectBoxes<with_gradient, squared>(grid, semantics, scale, group,
                                         Box<Lanes<A>>{target[0], target[1], target[2], target[3]},
                                         &sum);
  sum.object += target[4] - target[4];  // a flag that is not finite: NaN
  return sum;
}

}  // namespace
}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
