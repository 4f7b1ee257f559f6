// The loss of one cell in a tensor: of its boxes and confidences as cell_loss.h has it, and of its
// classes.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/activation.h"
#include "kernels/core/cell_loss.h"
#include "kernels/core/grid.h"
#include "kernels/core/macros.h"

namespace yolov1 {

// Whether a flag, as a number that is computed with, marks an object: any but 0 does, and NaN too.
// Subnormal numbers count as 0, which they are to TensorFlow's threads.
template <typename A>
YOLOV1_HOST_DEVICE bool MarksObject(A flag) {
  return !(Abs(flag) < (sizeof(A) == 8 ? A(0x1p-1022) : A(0x1p-126)));
}

// The view of one cell in a tensor of type T, as numbers of type A.
template <typename A, typename T>
struct CellView {
  Cell<const T> predicted;
  Cell<T> gradient;

  YOLOV1_HOST_DEVICE A Confidence(int64_t j) const {
    return static_cast<A>(predicted.confidences[j]);
  }
  YOLOV1_HOST_DEVICE A Output(int64_t j, int k) const {
    return static_cast<A>(predicted.boxes[4 * j + k]);
  }
  YOLOV1_HOST_DEVICE void SetConfidence(int64_t j, A value) const {
    gradient.confidences[j] = static_cast<T>(value);
  }
  YOLOV1_HOST_DEVICE void SetOutput(int64_t j, int k, A value) const {
    gradient.boxes[4 * j + k] = static_cast<T>(value);
  }
};

// With a gradient, the functions below write only values that can differ from zero: all of an
// object cell, of an empty one the confidences. The caller writes the zeros, which it can do for a
// whole image at once. What they read of a value they read before they write it, so that the
// gradient may take the place of the predictions.
//
// A view gives activated values (ActivatedView), or the tensor's own. A row of targets is what has
// values [k] for k in [0, C + 5).

// An empty cell, of which nothing but the flag and the confidences is read. `squares`: what the
// semantics say of themselves, as a constant.
template <bool with_gradient, bool squares, typename A, typename View>
YOLOV1_HOST_DEVICE void AddEmptyCell(const Grid& grid, const LossSemantics& s,
                                     const LossScale<A>& scale, const View& view, Terms<A>* sum) {
  A no_object = {};  // by itself: a shorter chain of additions that wait for each other
  for (int64_t j = 0; j < grid.B; ++j) {
    const A confidence = view.Confidence(j);
    if (!squares && s.confidence_loss == Penalty::kCrossEntropy) {
      const Entropy<A> entropy = EntropyOfNone<A>(confidence);
      no_object += entropy.value;
      if (with_gradient) view.SetConfidence(j, scale.gradient.no_object * entropy.slope);
      continue;
    }
    no_object += confidence * confidence;
    if (with_gradient) view.SetConfidence(j, scale.gradient.no_object * confidence);
  }
  sum->no_object += no_object;
}

// One class of an object cell.
template <bool with_gradient, bool squares, typename A, typename T, typename Row>
YOLOV1_HOST_DEVICE void AddClass(const LossSemantics& s, const LossScale<A>& scale,
                                 const CellView<A, T>& view, const Row& target, int64_t k,
                                 A* classes) {
  if (!squares && s.class_loss == Penalty::kCrossEntropy) {
    const Entropy<A> entropy =
        EntropyOf<A>(static_cast<A>(view.predicted.classes[k]), static_cast<A>(target[k]));
    *classes += entropy.value;
    if (with_gradient) {
      view.gradient.classes[k] = static_cast<T>(scale.gradient.classes * entropy.slope);
    }
    return;
  }
  const A difference = static_cast<A>(view.predicted.classes[k]) - static_cast<A>(target[k]);
  *classes += difference * difference;
  if (with_gradient) {
    view.gradient.classes[k] = static_cast<T>(scale.gradient.classes * difference);
  }
}

// All classes of an object cell from what is activated here: softmax or sigmoid. Computes every
// exponential up to three times, and needs no memory.
template <bool with_gradient, typename A, typename T, typename Row>
YOLOV1_HOST_DEVICE void AddActivatedClasses(const Grid& grid, Activation activation,
                                            Penalty penalty, const LossScale<A>& scale,
                                            const CellView<A, T>& view, const Row& target,
                                            A* classes) {
  const auto raw = [&](int64_t k) { return static_cast<A>(view.predicted.classes[k]); };
  const bool softmax = activation == Activation::kSoftmax;
  A most = -static_cast<A>(INFINITY), total = 0, along = 0;
  for (int64_t k = 0; softmax && k < grid.C; ++k) most = Higher(raw(k), most);
  for (int64_t k = 0; softmax && k < grid.C; ++k) total += ExpOfNegative<A>(raw(k) - most);
  const auto activated = [&](int64_t k) {
    if (!softmax) return Sigmoid<A>(raw(k));
    const A probability = ExpOfNegative<A>(raw(k) - most) / total;
    return Activated<A>{probability, probability};
  };
  const auto loss = [&](int64_t k, A value) {
    const A truth = static_cast<A>(target[k]), difference = value - truth;
    if (penalty == Penalty::kCrossEntropy) return EntropyOf<A>(value, truth);
    return Entropy<A>{difference * difference, difference};
  };
  for (int64_t k = 0; k < grid.C; ++k) {
    const A value = activated(k).value;
    const Entropy<A> of = loss(k, value);
    *classes += of.value;
    if (softmax) along += value * (scale.gradient.classes * of.slope);
  }
  for (int64_t k = 0; with_gradient && k < grid.C; ++k) {
    const Activated<A> value = activated(k);
    const A slope = loss(k, value.value).slope;
    view.gradient.classes[k] =
        static_cast<T>(value.slope * (scale.gradient.classes * slope - along));
  }
}

// All but the classes of an object cell. A flag that is not finite marks broken targets: it makes
// the object term NaN.
template <bool with_gradient, bool squares, typename A, typename View, typename Row>
YOLOV1_HOST_DEVICE void AddObject(const Grid& grid, const LossSemantics& s,
                                  const LossScale<A>& scale, const View& view, const Row& target,
                                  Terms<A>* sum) {
  const A flag = static_cast<A>(target[grid.target_object_channel()]);
  const auto side = [&](int k) { return static_cast<A>(target[grid.target_box_channel() + k]); };
  const Box<A> box = {side(0), side(1), side(2), side(3)};
  Terms<A> cell = {};
  AddObjectBoxes<with_gradient, squares>(grid, s, scale, view, box, &cell);
  sum->xy += cell.xy;
  sum->wh += cell.wh;
  sum->object += cell.object + (flag - flag);
  sum->no_object += cell.no_object;
}

// Adds the sums of a cell that holds an object to `sum`.
template <bool with_gradient, typename A, typename T, typename Row>
YOLOV1_HOST_DEVICE void AddObjectCell(const Grid& grid, const LossSemantics& s,
                                      const Activations& activations, const LossScale<A>& scale,
                                      const CellView<A, T>& view, const Row& target,
                                      Terms<A>* sum) {
  A classes = {};
  if (activations.classes != Activation::kLinear) {
    AddActivatedClasses<with_gradient>(grid, activations.classes, s.class_loss, scale, view, target,
                                       &classes);
  } else {
    for (int64_t k = 0; k < grid.C; ++k)
      AddClass<with_gradient, false>(s, scale, view, target, k, &classes);
  }
  sum->classes += classes;
  const ActivatedView<A, CellView<A, T>> seen = {view, activations};
  if (s.squares()) {
    AddObject<with_gradient, true>(grid, s, scale, seen, target, sum);
  } else {
    AddObject<with_gradient, false>(grid, s, scale, seen, target, sum);
  }
}

// Adds one cell's sums to `sum`; nothing is activated.
template <bool with_gradient, typename A, typename T, typename U>
YOLOV1_HOST_DEVICE void AddCellLoss(const Grid& grid, const LossSemantics& s,
                                    const LossScale<A>& scale, const Cell<const T>& predicted,
                                    const U* target,          // [C + 5]
                                    const Cell<T>& gradient,  // not touched without one
                                    Terms<A>* sum) {
  const CellView<A, T> view = {predicted, gradient};
  if (!MarksObject(static_cast<A>(target[grid.target_object_channel()])))
    return AddEmptyCell<with_gradient, false>(grid, s, scale, view, sum);
  AddObjectCell<with_gradient>(grid, s, Activations{}, scale, view, target, sum);
}

}  // namespace yolov1
