// What kernel_simd.cc computes in lanes: streams of numbers, groups of boxes, and the classes of
// raw outputs; and which cells hold objects. A part of it, which no other file includes: everything
// belongs to one level of SIMD.
#pragma once

#include "kernels/core/simd.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

// ------------------------------------------------------------------------------------- one stream

// Takes `one(k)`, which handles the lanes from place k on and returns what they add, over all
// places of [0, count); returns the sums, of which there are `kSums`, so that additions need not
// wait for each other. Where lanes do not divide `count`, the last are taken once more, and not
// summed twice; `single(k)` takes one value where there are fewer than lanes.
template <int kSums, typename A, typename One, typename Single>
YOLOV1_HOST_DEVICE Lanes<A> SumOf(int64_t count, const One& one, const Single& single) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  Lanes<A> sums[kSums] = {};
  int64_t k = 0;
  for (; k + kSums * kLanes <= count; k += kSums * kLanes) {
#pragma GCC unroll 4
    for (int part = 0; part < kSums; ++part) {
      sums[part] += one(k + part * kLanes);
    }
  }
  for (; kSums > 1 && k + kLanes <= count; k += kLanes) sums[0] += one(k);
  if (k < count && count >= kLanes) {
    sums[kSums - 1] += FromLane(one(count - kLanes), kLanes - (count - k));
  } else if (k < count) {
    A values[kLanes] = {};
    for (; k < count; ++k) values[k] = single(k);
    sums[kSums - 1] += Load(values);
  }
#pragma GCC unroll 4
  for (int part = 1; part < kSums; ++part) sums[0] += sums[part];
  return sums[0];
}

// The cross-entropies of confidences with 0, activated here, and their gradient; 0 costs 0.
template <bool with_gradient, typename T, typename A>
__attribute__((noinline)) Lanes<A> ConfidenceEntropies(int64_t count, Activation activation,
                                                       A factor, const T* confidences,
                                                       T* gradient) {
  return SumOf<1, A>(
      count,
      [&](int64_t c) __attribute__((always_inline)) {
        const auto confidence = Activate<Lanes<A>>(activation, Load(confidences + c));
        const auto entropy = EntropyOfNone<Lanes<A>>(confidence.value);
        if (with_gradient) Store(factor * entropy.slope * confidence.slope, gradient + c);
        return entropy.value;
      },
      [&](int64_t c) __attribute__((always_inline)) {
        const auto confidence = Activate<A>(activation, static_cast<A>(confidences[c]));
        const auto entropy = EntropyOfNone<A>(confidence.value);
        if (with_gradient) gradient[c] = static_cast<T>(factor * entropy.slope * confidence.slope);
        return entropy.value;
      });
}

// The cross-entropies of a cell's classes, and their gradient.
template <bool with_gradient, typename T, typename U, typename A>
__attribute__((noinline)) Lanes<A> ClassEntropies(int64_t C, A factor, const T* predicted,
                                                  const U* truth, T* gradient) {
  return SumOf<1, A>(
      C,
      [&](int64_t k) __attribute__((always_inline)) {
        const auto entropy = EntropyOf<Lanes<A>>(Load(predicted + k), Load(truth + k));
        if (with_gradient) Store(factor * entropy.slope, gradient + k);
        return entropy.value;
      },
      [&](int64_t k) __attribute__((always_inline)) {
        const auto entropy = EntropyOf<A>(static_cast<A>(predicted[k]), static_cast<A>(truth[k]));
        if (with_gradient) gradient[k] = static_cast<T>(factor * entropy.slope);
        return entropy.value;
      });
}

template <typename T>
__attribute__((noinline)) void ScaleRow(const T* from, typename Sum<T>::Type factor, int64_t count,
                                        T* to) {
  using A = typename Sum<T>::Type;
  constexpr int64_t kLanes = Lanes<A>::kCount;
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) Store(factor * Load(from + k), to + k);
  if (k < count) StoreFirst(factor * LoadFirst(from + k, count - k), to + k, count - k);
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
    const Activated<Lanes<A>> activated =
        Activate<Lanes<A>>(OfValue(activations, group.B, k), group.values[k]);
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
template <bool with_gradient, bool squares, typename A>
__attribute__((noinline)) Terms<Lanes<A>> GroupLoss(const Grid& grid,
                                                    const LossSemantics& semantics,
                                                    const LossScale<A>& scale,
                                                    const GroupView<A>& group,
                                                    const Lanes<A>* target) {
  Terms<Lanes<A>> sum = {};
  AddObjectBoxes<with_gradient, squares>(grid, semantics, scale, group,
                                         Box<Lanes<A>>{target[0], target[1], target[2], target[3]},
                                         &sum);
  sum.object += target[4] - target[4];  // a flag that is not finite: NaN
  return sum;
}

// A cell of the group: where its gradient goes, and to which image of the block its terms.
template <typename T>
struct Member {
  Cell<T> gradient;
  int64_t image;
};

// -------------------------------------------------------------------------------- objects as boxes

// Lists the cells that hold an object, in their order, into `objects`; returns how many there are.
// `owners` [cells] then has the box that each such cell keeps; `occupied` [cells / 64 + 1] is to
// work in, a bit a cell.
__attribute__((noinline)) int64_t FindBoxes(const Grid& grid, OnCollision rule,
                                            const ImageBoxes& image, uint64_t* occupied,
                                            int32_t* owners, int32_t* objects) {
  const int64_t words = grid.cells() / 64 + 1;
  for (int64_t k = 0; k < words; ++k) occupied[k] = 0;
  for (int64_t m = 0; m < image.end; ++m) {
    if (!image.Has(m)) continue;
    const float* const box = image.boxes + 4 * m;
    const int64_t cell = CellOf(box, grid.S);
    const uint64_t bit = uint64_t{1} << (cell % 64);
    const bool taken = occupied[cell / 64] & bit;
    if (taken && !GivesUp(rule, image.boxes + 4 * owners[cell], box)) continue;
    occupied[cell / 64] |= bit;
    owners[cell] = static_cast<int32_t>(m);
  }
  int64_t found = 0;
  for (int64_t k = 0; k < words; ++k)
    for (uint64_t left = occupied[k]; left != 0; left &= left - 1)
      objects[found++] = static_cast<int32_t>(64 * k + __builtin_ctzll(left));
  return found;
}

// -------------------------------------------------------------------------------------- raw
// outputs

template <typename A>
YOLOV1_HOST_DEVICE int64_t ClassParts(int64_t C) {
  return (C + Lanes<A>::kCount - 1) / Lanes<A>::kCount;
}

// The sums of a cell's class term, of its classes as activated here (softmax or sigmoid), and the
// gradient by the raw outputs, of `factor` times a difference or slope by a class. `activated`
// [2, ClassParts]: to work in.
template <bool with_gradient, typename T, typename U, typename A>
__attribute__((noinline)) Lanes<A> ActivatedClasses(int64_t C, Activation activation,
                                                    Penalty penalty, A factor, Lanes<A>* activated,
                                                    const T* raw, const U* truth, T* gradient) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  const bool softmax = activation == Activation::kSoftmax;
  const int64_t parts = ClassParts<A>(C), last = C - (parts - 1) * kLanes;
  const auto load = [&](const auto* from, int64_t part) __attribute__((always_inline)) {
    const auto* const at = from + part * kLanes;
    return part + 1 < parts || last == kLanes ? Load(at) : LoadFirst(at, last);
  };
  Lanes<A>*values = activated, *slopes = activated + parts;
  A along = 0;
  if (softmax) {
    const Lanes<A> nothing = A(-static_cast<A>(INFINITY));
    Lanes<A> most = nothing, total = A(0);
    for (int64_t k = 0; k < parts; ++k) {
      const A end = static_cast<A>(C - k * kLanes);
      values[k] = Select(Numbers(A{}) < end, load(raw, k), nothing);
      most = Higher(values[k], most);
    }
    A largest = -static_cast<A>(INFINITY);
    for (int64_t k = 0; k < kLanes; ++k)
      largest = Higher(reinterpret_cast<const A*>(&most)[k], largest);
    for (int64_t k = 0; k < parts; ++k) {
      values[k] = ExpOfNegative<Lanes<A>>(values[k] - largest);
      total += values[k];
    }
    const Lanes<A> sum = SumLanes(total);
    for (int64_t k = 0; k < parts; ++k) slopes[k] = values[k] = values[k] / sum;
  } else {
    for (int64_t k = 0; k < parts; ++k) {
      const A end = static_cast<A>(C - k * kLanes);
      const Activated<Lanes<A>> value = Sigmoid(load(raw, k));
      values[k] = Select(Numbers(A{}) < end, value.value, Lanes<A>(0));
      slopes[k] = value.slope;
    }
  }
  Lanes<A> sum = A(0), products = A(0);
  const auto add = [&](const auto& loss) __attribute__((always_inline)) {
    for (int64_t k = 0; k < parts; ++k) {
      const Entropy<Lanes<A>> of = loss(values[k], load(truth, k));
      sum += of.value;
      values[k] = factor * of.slope;
      products += slopes[k] * values[k];
    }
  };
  if (penalty == Penalty::kCrossEntropy) {
    add([](const Lanes<A>& p, const Lanes<A>& target)
            __attribute__((always_inline)) { return EntropyOf<Lanes<A>>(p, target); });
  } else {
    add([](const Lanes<A>& p, const Lanes<A>& target) __attribute__((always_inline)) {
      const Lanes<A> difference = p - target;
      return Entropy<Lanes<A>>{difference * difference, difference};
    });
  }
  if (!with_gradient) return sum;
  if (softmax) along = SumLanes(products);
  for (int64_t k = 0; k < parts; ++k) {
    const Lanes<A> by = slopes[k] * (values[k] - along);
    T* const to = gradient + k * kLanes;
    k + 1 < parts || last == kLanes ? Store(by, to) : StoreFirst(by, to, last);
  }
  return sum;
}

}  // namespace
}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
