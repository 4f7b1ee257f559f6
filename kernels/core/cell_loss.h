// The YOLO loss of one cell and its gradient: the only place with YOLO maths in C++.
// yolov1/semantics.py has the formula and the meaning of every choice below.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/box.h"
#include "kernels/core/grid.h"
#include "kernels/core/macros.h"

namespace yolov1 {

enum class Wh { kPredictSqrt, kSqrtInLoss, kHeron10, kPlain };
enum class ConfidenceTarget { kIou, kOne };
enum class NoObject { kNonResponsible, kEmptyCells };
enum class Ties { kFirst, kLast, kAll };
enum class NoOverlapFallback { kNone, kRmse };

struct LossSemantics {
  double weight_xy = 5, weight_wh = 5, weight_object = 1, weight_no_object = 0.5, weight_class = 1;
  double factor = 1;
  Wh wh = Wh::kPredictSqrt;
  ConfidenceTarget confidence_target = ConfidenceTarget::kIou;
  NoObject no_object = NoObject::kNonResponsible;
  Ties ties = Ties::kFirst;
  NoOverlapFallback no_overlap_fallback = NoOverlapFallback::kNone;
  IouOverlap iou_overlap = IouOverlap::kClamped;
};

// The terms of the loss, in the order of `YoloLossOutput.terms`.
constexpr int kTerms = 5;
template <typename A>
struct Terms {
  A xy, wh, object, no_object, classes;
};

// Sums of squares become weighted terms, and differences become gradients, by these factors.
template <typename A>
struct LossScale {
  Terms<A> value, gradient;

  // `upstream` multiplies the gradient alone: 1, or 1 / N where the caller takes a batch mean.
  LossScale(const LossSemantics& s, double upstream) {
    const auto set = [&](A* value_scale, A* gradient_scale, double weight) {
      *value_scale = static_cast<A>(s.factor * weight);
      *gradient_scale = static_cast<A>(2 * s.factor * weight * upstream);
    };
    set(&value.xy, &gradient.xy, s.weight_xy);
    set(&value.wh, &gradient.wh, s.weight_wh);
    set(&value.object, &gradient.object, s.weight_object);
    set(&value.no_object, &gradient.no_object, s.weight_no_object);
    set(&value.classes, &gradient.classes, s.weight_class);
  }
};

// An image's sums of squares to its weighted terms [5] and its loss.
template <typename A>
YOLOV1_HOST_DEVICE void WriteTerms(const LossScale<A>& scale, const Terms<A>& sum, A* terms,
                                   A* loss) {
  terms[0] = scale.value.xy * sum.xy;
  terms[1] = scale.value.wh * sum.wh;
  terms[2] = scale.value.object * sum.object;
  terms[3] = scale.value.no_object * sum.no_object;
  terms[4] = scale.value.classes * sum.classes;
  *loss = terms[0] + terms[1] + terms[2] + terms[3] + terms[4];
}

YOLOV1_HOST_DEVICE float Sqrt(float value) { return sqrtf(value); }
YOLOV1_HOST_DEVICE double Sqrt(double value) { return sqrt(value); }

// q(v) of the wh term, and its derivative.
template <typename A>
struct Sized {
  A value, slope;
};

template <typename A>
YOLOV1_HOST_DEVICE Sized<A> SqrtOrZero(A v) {
  if (v <= 0) return {0, 0};
  const A root = Sqrt(v);
  return {root, A(0.5) / root};
}

// Ten Babylonian steps started at v itself, x / 0 := 0, differentiated step by step.
template <typename A>
YOLOV1_HOST_DEVICE Sized<A> Heron10(A v) {
  A root = v, slope = 1;
  for (int step = 0; step < 10; ++step) {
    const bool divides = root != 0;
    const A quotient = divides ? v / root : A(0);
    const A quotient_slope = divides ? (1 - quotient * slope) / root : A(0);
    root = (root + quotient) / 2;
    slope = (slope + quotient_slope) / 2;
  }
  return {root, slope};
}

template <typename A>
YOLOV1_HOST_DEVICE Sized<A> PredictedSize(Wh wh, A output) {
  if (wh == Wh::kSqrtInLoss) return SqrtOrZero(output);
  if (wh == Wh::kHeron10) return Heron10(output);
  return {output, 1};  // already a square root, or compared as it is
}

template <typename A>
YOLOV1_HOST_DEVICE A TargetSize(Wh wh, A size) {
  if (wh == Wh::kSqrtInLoss) return SqrtOrZero(size).value;
  if (wh == Wh::kHeron10) return Heron10(size).value;
  return wh == Wh::kPredictSqrt ? Sqrt(size) : size;
}

// The predicted box in fractions of the image, its centre counted from the cell's corner: the frame
// in which boxes are compared.
template <typename A, typename T>
YOLOV1_HOST_DEVICE Box<A> PredictedBox(const Grid& grid, Wh wh, const T* box) {
  const A side = static_cast<A>(grid.S), w = static_cast<A>(box[2]), h = static_cast<A>(box[3]);
  const bool squared = wh == Wh::kPredictSqrt;
  return {static_cast<A>(box[0]) / side, static_cast<A>(box[1]) / side, squared ? w * w : w,
          squared ? h * h : h};
}

template <typename A>
YOLOV1_HOST_DEVICE A Rmse(const Box<A>& a, const Box<A>& b) {
  const A x = a.x - b.x, y = a.y - b.y, w = a.w - b.w, h = a.h - b.h;
  return Sqrt(x * x + y * y + w * w + h * h);
}

// Which boxes of an object cell are responsible: those of overlap `iou` (ties = all), or box
// `index`.
template <typename A>
struct Responsible {
  A iou;
  int64_t index;
  bool all_tied;
};

template <typename A, typename T>
YOLOV1_HOST_DEVICE Responsible<A> ChooseResponsible(const Grid& grid, const LossSemantics& s,
                                                    const T* boxes, const Box<A>& truth) {
  Responsible<A> best = {0, 0, s.ties == Ties::kAll};
  for (int64_t j = 0; j < grid.B; ++j) {
    const A iou = Iou(PredictedBox<A>(grid, s.wh, boxes + 4 * j), truth, s.iou_overlap);
    if (j == 0 || iou > best.iou || (iou == best.iou && s.ties == Ties::kLast)) {
      best.iou = iou;
      best.index = j;
    }
  }
  if (s.no_overlap_fallback == NoOverlapFallback::kNone || best.iou > 0) return best;

  // No box overlaps: the smallest error, the first among equals; a NaN is never the smallest.
  A best_rmse = INFINITY;
  best.index = 0;
  best.all_tied = false;
  for (int64_t j = 0; j < grid.B; ++j) {
    const A rmse = Rmse(PredictedBox<A>(grid, s.wh, boxes + 4 * j), truth);
    if (rmse < best_rmse) {
      best_rmse = rmse;
      best.index = j;
    }
  }
  best.iou = Iou(PredictedBox<A>(grid, s.wh, boxes + 4 * best.index), truth, s.iou_overlap);
  return best;
}

// Confidences of a cell whose boxes are not responsible: their squares into `sum`.
template <bool with_gradient, typename A, typename T>
YOLOV1_HOST_DEVICE void AddEmptyCell(const Grid& grid, const LossScale<A>& scale,
                                     const Cell<const T>& predicted, const Cell<T>& gradient,
                                     Terms<A>* sum) {
  A squares = 0;  // of this cell alone: a shorter chain of additions that wait for each other
  for (int64_t j = 0; j < grid.B; ++j) {
    const A confidence = static_cast<A>(predicted.confidences[j]);
    squares += confidence * confidence;
    if (with_gradient)
      gradient.confidences[j] = static_cast<T>(scale.gradient.no_object * confidence);
  }
  sum->no_object += squares;
}

// (p - t)^2 over the classes, in eight sums that a compiler turns into vectors: the order of the
// additions, and so every bit, is the same whatever the width of the machine's vectors.
template <bool with_gradient, typename A, typename T, typename U>
YOLOV1_HOST_DEVICE A ClassSquares(int64_t classes, A gradient_scale, const T* predicted,
                                  const U* target, T* gradient) {
  constexpr int kLanes = 8;
  A lanes[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= classes; k += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const A difference = static_cast<A>(predicted[k + lane]) - static_cast<A>(target[k + lane]);
      lanes[lane] += difference * difference;
      if (with_gradient) gradient[k + lane] = static_cast<T>(gradient_scale * difference);
    }
  }
  A rest = 0;
  for (; k < classes; ++k) {
    const A difference = static_cast<A>(predicted[k]) - static_cast<A>(target[k]);
    rest += difference * difference;
    if (with_gradient) gradient[k] = static_cast<T>(gradient_scale * difference);
  }
  const A low = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  const A high = (lanes[4] + lanes[5]) + (lanes[6] + lanes[7]);
  return (low + high) + rest;
}

template <bool with_gradient, typename A, typename T, typename U>
YOLOV1_HOST_DEVICE void AddObjectCell(const Grid& grid, const LossSemantics& s,
                                      const LossScale<A>& scale, const Cell<const T>& predicted,
                                      const U* target, const Cell<T>& gradient, Terms<A>* sum) {
  sum->classes += ClassSquares<with_gradient>(grid.C, scale.gradient.classes, predicted.classes,
                                              target, gradient.classes);
  const U* t = target + grid.target_box_channel();
  const A side = static_cast<A>(grid.S);
  const A tx = static_cast<A>(t[0]), ty = static_cast<A>(t[1]);
  const Box<A> truth = {tx / side, ty / side, static_cast<A>(t[2]), static_cast<A>(t[3])};
  const Responsible<A> best = ChooseResponsible<A>(grid, s, predicted.boxes, truth);
  const A confidence_target = s.confidence_target == ConfidenceTarget::kIou ? best.iou : A(1);
  const A tw = TargetSize(s.wh, truth.w), th = TargetSize(s.wh, truth.h);

  for (int64_t j = 0; j < grid.B; ++j) {
    const A confidence = static_cast<A>(predicted.confidences[j]);
    const T* box = predicted.boxes + 4 * j;
    const bool responsible =
        best.all_tied ? Iou(PredictedBox<A>(grid, s.wh, box), truth, s.iou_overlap) == best.iou
                      : j == best.index;
    if (!responsible) {
      if (s.no_object == NoObject::kEmptyCells) continue;
      sum->no_object += confidence * confidence;
      if (with_gradient)
        gradient.confidences[j] = static_cast<T>(scale.gradient.no_object * confidence);
      continue;
    }
    const Sized<A> w = PredictedSize(s.wh, static_cast<A>(box[2]));
    const Sized<A> h = PredictedSize(s.wh, static_cast<A>(box[3]));
    const A dx = static_cast<A>(box[0]) - tx, dy = static_cast<A>(box[1]) - ty;
    const A dw = w.value - tw, dh = h.value - th, dc = confidence - confidence_target;
    sum->xy += dx * dx + dy * dy;
    sum->wh += dw * dw + dh * dh;
    sum->object += dc * dc;
    if (with_gradient) {
      T* out = gradient.boxes + 4 * j;
      out[0] = static_cast<T>(scale.gradient.xy * dx);
      out[1] = static_cast<T>(scale.gradient.xy * dy);
      out[2] = static_cast<T>(scale.gradient.wh * dw * w.slope);
      out[3] = static_cast<T>(scale.gradient.wh * dh * h.slope);
      gradient.confidences[j] = static_cast<T>(scale.gradient.object * dc);
    }
  }
}

// Adds one cell's sums of squares to `sum`. With a gradient, only the values that are not zero are
// written: the caller has filled it with zeros, which it can do for a whole image at once. Of an
// empty cell nothing but the flag and the confidences is read.
// A flag that is not finite marks broken targets: it makes the object term NaN.
template <bool with_gradient, typename A, typename T, typename U>
YOLOV1_HOST_DEVICE void AddCellLoss(const Grid& grid, const LossSemantics& s,
                                    const LossScale<A>& scale, const Cell<const T>& predicted,
                                    const U* target,          // [C + 5]
                                    const Cell<T>& gradient,  // not touched without one
                                    Terms<A>* sum) {
  const A flag = static_cast<A>(target[grid.target_object_channel()]);
  if (flag == 0) {
    AddEmptyCell<with_gradient>(grid, scale, predicted, gradient, sum);
    return;
  }
  sum->object += flag - flag;
  AddObjectCell<with_gradient>(grid, s, scale, predicted, target, gradient, sum);
}

}  // namespace yolov1
