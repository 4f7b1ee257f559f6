// The YOLO loss of one cell and its gradient: with one_cell.h the only place with YOLO maths in
// C++. yolov1/semantics.py has the formula and the meaning of every choice below.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/box.h"
#include "kernels/core/cross_entropy.h"
#include "kernels/core/grid.h"
#include "kernels/core/iou.h"
#include "kernels/core/macros.h"

namespace yolov1 {

enum class Wh { kPredictSqrt, kSqrtInLoss, kHeron10, kPlain };
enum class ConfidenceTarget { kIou, kOne };
enum class NoObject { kNonResponsible, kEmptyCells };
enum class Ties { kFirst, kLast, kAll };
enum class NoOverlapFallback { kNone, kRmse };
enum class BoxTerm { kSquared, kIou, kGiou, kDiou, kCiou };  // behind the first as in IouKind
enum class Penalty { kSquared, kCrossEntropy };              // of confidences, and of classes

struct LossSemantics {
  double weight_xy = 5, weight_wh = 5, weight_object = 1, weight_no_object = 0.5, weight_class = 1;
  double factor = 1;
  Wh wh = Wh::kPredictSqrt;
  ConfidenceTarget confidence_target = ConfidenceTarget::kIou;
  NoObject no_object = NoObject::kNonResponsible;
  Ties ties = Ties::kFirst;
  NoOverlapFallback no_overlap_fallback = NoOverlapFallback::kNone;
  IouOverlap iou_overlap = IouOverlap::kClamped;
  BoxTerm box = BoxTerm::kSquared;
  Penalty confidence_loss = Penalty::kSquared, class_loss = Penalty::kSquared;

  // Whether all terms are sums of squares, as in all published losses: these pay for nothing else.
  YOLOV1_HOST_DEVICE bool squares() const {
    return box == BoxTerm::kSquared && confidence_loss == Penalty::kSquared &&
           class_loss == Penalty::kSquared;
  }
};

// The terms of the loss, in the order of `YoloLossOutput.terms`.
constexpr int kTerms = 5;
template <typename A>
struct Terms {
  A xy, wh, object, no_object, classes;
};

// Sums of squares become weighted terms, and differences become gradients, by these factors.
// Where a term is no sum of squares, its gradient lacks their 2.
template <typename A>
struct LossScale {
  Terms<A> value, gradient;

  // `upstream` multiplies the gradient alone: 1, or 1 / N where the caller takes a batch mean.
  YOLOV1_HOST_DEVICE LossScale(const LossSemantics& s, double upstream) {
    const bool squared = s.box == BoxTerm::kSquared;
    const double weights[] = {s.weight_xy, squared ? s.weight_wh : 0, s.weight_object,
                              s.weight_no_object, s.weight_class};
    const double confidence = s.confidence_loss == Penalty::kSquared ? 2 : 1;
    const double by_square[] = {squared ? 2.0 : 1.0, 2, confidence, confidence,
                                s.class_loss == Penalty::kSquared ? 2.0 : 1.0};
    A values[kTerms], gradients[kTerms];
    for (int k = 0; k < kTerms; ++k) {
      values[k] = static_cast<A>(s.factor * weights[k]);
      gradients[k] = static_cast<A>(by_square[k] * s.factor * weights[k] * upstream);
    }
    value = {values[0], values[1], values[2], values[3], values[4]};
    gradient = {gradients[0], gradients[1], gradients[2], gradients[3], gradients[4]};
  }
};

// An image's sums to its weighted terms [5] and its loss.
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

// q(v) of the wh term, and its derivative.
template <typename A>
struct Sized {
  A value, slope;
};

template <typename A>
YOLOV1_HOST_DEVICE Sized<A> SqrtOrZero(A v) {
  const auto not_positive = v <= A(0);
  const A root = Sqrt(v);
  return {Select(not_positive, A{}, root), Select(not_positive, A{}, A(ElementOf<A>(0.5)) / root)};
}

// Ten Babylonian steps started at v itself, x / 0 := 0, differentiated step by step.
template <typename A>
YOLOV1_HOST_DEVICE Sized<A> Heron10(A v) {
  using E = ElementOf<A>;
  A root = v, slope = A(1);
  for (int step = 0; step < 10; ++step) {
    const auto divides = root != A(0);
    const A quotient = Select(divides, v / root, A{});
    const A quotient_slope = Select(divides, (E(1) - quotient * slope) / root, A{});
    root = (root + quotient) * E(0.5);
    slope = (slope + quotient_slope) * E(0.5);
  }
  return {root, slope};
}

template <typename A>
YOLOV1_HOST_DEVICE Sized<A> PredictedSize(Wh wh, A output) {
  if (wh == Wh::kSqrtInLoss) return SqrtOrZero(output);
  if (wh == Wh::kHeron10) return Heron10(output);
  return {output, A(1)};  // already a square root, or compared as it is
}

template <typename A>
YOLOV1_HOST_DEVICE A TargetSize(Wh wh, A size) {
  if (wh == Wh::kSqrtInLoss) return SqrtOrZero(size).value;
  if (wh == Wh::kHeron10) return Heron10(size).value;
  return wh == Wh::kPredictSqrt ? Sqrt(size) : size;
}

// ------------------------------------------------------------------------- boxes of an object cell
//
// Of one cell (A a number), or of as many cells as A has lanes. `view` gives and takes the cell's
// values by box j: Confidence(j) and Output(j, 0..3) = x, y, w, h; SetConfidence and SetOutput for
// the gradient.

// The predicted box in fractions of the image, its centre counted from the cell's corner: the frame
// in which boxes are compared.
template <typename A, typename View>
YOLOV1_HOST_DEVICE Box<A> PredictedBox(const Grid& grid, Wh wh, const View& view, int64_t j) {
  const ElementOf<A> cell = ElementOf<A>(1) / static_cast<ElementOf<A>>(grid.S);
  const A w = view.Output(j, 2), h = view.Output(j, 3);
  const bool squared = wh == Wh::kPredictSqrt;
  return {view.Output(j, 0) * cell, view.Output(j, 1) * cell, squared ? w * w : w,
          squared ? h * h : h};
}

template <typename A>
YOLOV1_HOST_DEVICE A Rmse(const Box<A>& a, const Box<A>& b) {
  const A x = a.x - b.x, y = a.y - b.y, w = a.w - b.w, h = a.h - b.h;
  return Sqrt(x * x + y * y + w * w + h * h);
}

// What a comparison of numbers or lanes gives.
template <typename A>
using MaskOf = decltype(A{} < A{});

// Which boxes are responsible: box `index`, or those of overlap `iou` where `all_tied`.
template <typename A>
struct Responsible {
  A iou, index;
  MaskOf<A> all_tied;
};

template <typename A, typename View>
YOLOV1_HOST_DEVICE Responsible<A> ChooseResponsible(const Grid& grid, const LossSemantics& s,
                                                    const View& view, const Box<A>& truth) {
  using E = ElementOf<A>;
  const A all_tied = A(static_cast<E>(s.ties == Ties::kAll));
  Responsible<A> best = {Iou(PredictedBox<A>(grid, s.wh, view, 0), truth, s.iou_overlap), A{},
                         all_tied != A(0)};
  A rmse = A{}, nearest = A{}, nearest_iou = best.iou;
  const bool fallback = s.no_overlap_fallback == NoOverlapFallback::kRmse;
  if (fallback) {  // a NaN is never the smallest
    rmse = Rmse(PredictedBox<A>(grid, s.wh, view, 0), truth);
    rmse = Select(rmse == rmse, rmse, A(static_cast<E>(INFINITY)));
  }
  for (int64_t j = 1; j < grid.B; ++j) {
    const Box<A> box = PredictedBox<A>(grid, s.wh, view, j);
    const A iou = Iou(box, truth, s.iou_overlap), number = A(static_cast<E>(j));
    const auto better = s.ties == Ties::kLast ? iou >= best.iou : iou > best.iou;
    best.iou = Select(better, iou, best.iou);
    best.index = Select(better, number, best.index);
    if (fallback) {
      const A error = Rmse(box, truth);
      const auto nearer = error < rmse;
      rmse = Select(nearer, error, rmse);
      nearest = Select(nearer, number, nearest);
      nearest_iou = Select(nearer, iou, nearest_iou);
    }
  }
  if (fallback) {  // where no box overlaps: the smallest error, the first among equals
    const auto overlaps = best.iou > A(0);
    best.iou = Select(overlaps, best.iou, nearest_iou);
    best.index = Select(overlaps, best.index, nearest);
    best.all_tied = Select(overlaps, all_tied, A{}) != A(0);
  }
  return best;
}

// Adds the squares of the differences between box j and the object, where it is `responsible`, and
// sets their gradient. Differences are zero, before they are squared, where the loss does not read
// them.
template <bool with_gradient, typename A, typename View>
YOLOV1_HOST_DEVICE void AddSquaredBox(Wh wh, const LossScale<ElementOf<A>>& scale, const View& view,
                                      int64_t j, const MaskOf<A>& responsible,
                                      const Box<A>& target,  // x, y in the cell, q(w), q(h)
                                      Terms<A>* sum) {
  const Sized<A> w = PredictedSize(wh, view.Output(j, 2));
  const Sized<A> h = PredictedSize(wh, view.Output(j, 3));
  const A dx = Select(responsible, view.Output(j, 0) - target.x, A{});
  const A dy = Select(responsible, view.Output(j, 1) - target.y, A{});
  const A dw = Select(responsible, w.value - target.w, A{});
  const A dh = Select(responsible, h.value - target.h, A{});
  sum->xy += dx * dx + dy * dy;
  sum->wh += dw * dw + dh * dh;
  if (with_gradient) {
    view.SetOutput(j, 0, scale.gradient.xy * dx);
    view.SetOutput(j, 1, scale.gradient.xy * dy);
    view.SetOutput(j, 2, Select(responsible, scale.gradient.wh * dw * w.slope, A{}));
    view.SetOutput(j, 3, Select(responsible, scale.gradient.wh * dh * h.slope, A{}));
  }
}

// Returns 1 - K of box j and the object where it is `responsible`, else 0, and sets the gradient of
// `factor` times that. Not inlined: it is large, and the published losses do without it. Its symbol
// stays in one level of SIMD because the type of `view` does.
template <bool with_gradient, typename A, typename View>
YOLOV1_HOST_DEVICE_CALL A OverlapTerm(const Grid& grid, const LossSemantics& s, ElementOf<A> factor,
                                      const View& view, int64_t j, const MaskOf<A>& responsible,
                                      const Box<A>& truth) {
  using E = ElementOf<A>;
  // A value that is not finite makes all of the box NaN: 1 - K of an infinite box would be 1.
  A broken = (truth.x - truth.x) + (truth.y - truth.y) + (truth.w - truth.w) + (truth.h - truth.h);
  for (int k = 0; k < 4; ++k) broken += view.Output(j, k) - view.Output(j, k);
  const Box<A> box = PredictedBox<A>(grid, s.wh, view, j);
  const Coordinates<A> a = {box.x + broken, box.y + broken, box.w + broken, box.h + broken};
  const Coordinates<A> b = {truth.x, truth.y, truth.w, truth.h};
  const auto of_kind = [&](auto constant) {
    constexpr IouKind kind = decltype(constant)::kind;
    const IouBox<A> predicted = MakeIouBox(kind, BoxFormat::kCxcywh, a);
    const IouBox<A> object = MakeIouBox(kind, BoxFormat::kCxcywh, b);
    if (with_gradient) {
      const PairGradient<A> by = PairIouGradient<kind>(predicted, object, -A(factor));
      const Coordinates<A> by_box = BoxGradient(kind, BoxFormat::kCxcywh, predicted, by.a);
      const E cell = E(1) / static_cast<E>(grid.S);
      const bool squared = s.wh == Wh::kPredictSqrt;
      const A slope_w = squared ? view.Output(j, 2) * E(2) : A(1);
      const A slope_h = squared ? view.Output(j, 3) * E(2) : A(1);
      view.SetOutput(j, 0, Select(responsible, by_box.c0 * cell, A{}));
      view.SetOutput(j, 1, Select(responsible, by_box.c1 * cell, A{}));
      view.SetOutput(j, 2, Select(responsible, by_box.c2 * slope_w, A{}));
      view.SetOutput(j, 3, Select(responsible, by_box.c3 * slope_h, A{}));
    }
    return A(Select(responsible, E(1) - PairIou<kind>(predicted, object), A{}));
  };
  return WithIouKind(static_cast<IouKind>(static_cast<int>(s.box) - 1), of_kind);
}

// Adds the cross-entropy of box j's confidence, and sets its gradient; not inlined, as above.
template <bool with_gradient, typename A, typename View>
YOLOV1_HOST_DEVICE_CALL void AddConfidenceEntropy(NoObject rule,
                                                  const LossScale<ElementOf<A>>& scale,
                                                  const View& view, int64_t j,
                                                  const MaskOf<A>& responsible, const A& target,
                                                  Terms<A>* sum) {
  const bool reads_others = rule == NoObject::kNonResponsible;
  const A confidence = view.Confidence(j);
  const A read = reads_others ? confidence : Select(responsible, confidence, A{});  // 0 costs 0
  const Entropy<A> entropy = CrossEntropy<A>(read, Select(responsible, target, A{}));
  sum->object += Select(responsible, entropy.value, A{});
  sum->no_object += Select(responsible, A{}, entropy.value);
  if (with_gradient) {
    const A no_object = reads_others ? scale.gradient.no_object * entropy.slope : A{};
    view.SetConfidence(j, Select(responsible, scale.gradient.object * entropy.slope, no_object));
  }
}

// Adds the terms of the boxes and confidences to `sum`, before their weights, and sets their
// gradient. `squares`: what the semantics say of themselves, as a constant.
template <bool with_gradient, bool squares, typename A, typename View>
YOLOV1_HOST_DEVICE void AddObjectBoxes(const Grid& grid, const LossSemantics& s,
                                       const LossScale<ElementOf<A>>& scale, const View& view,
                                       const Box<A>& target,  // x, y in the cell
                                       Terms<A>* sum) {
  using E = ElementOf<A>;
  const E cell = E(1) / static_cast<E>(grid.S);
  const Box<A> truth = {target.x * cell, target.y * cell, target.w, target.h};
  const Responsible<A> best = ChooseResponsible<A>(grid, s, view, truth);
  const A confidence_target = s.confidence_target == ConfidenceTarget::kIou ? best.iou : A(1);
  const Box<A> sized = {target.x, target.y, TargetSize(s.wh, truth.w), TargetSize(s.wh, truth.h)};

  for (int64_t j = 0; j < grid.B; ++j) {
    auto responsible = best.index == A(static_cast<E>(j));
    if (s.ties == Ties::kAll) {
      const A iou = Iou(PredictedBox<A>(grid, s.wh, view, j), truth, s.iou_overlap);
      responsible = (best.all_tied & (iou == best.iou)) | (Not(best.all_tied) & responsible);
    }
    if (squares || s.box == BoxTerm::kSquared) {
      AddSquaredBox<with_gradient, A>(s.wh, scale, view, j, responsible, sized, sum);
    } else {
      sum->xy +=
          OverlapTerm<with_gradient, A>(grid, s, scale.gradient.xy, view, j, responsible, truth);
    }
    if (!squares && s.confidence_loss == Penalty::kCrossEntropy) {
      AddConfidenceEntropy<with_gradient, A>(s.no_object, scale, view, j, responsible,
                                             confidence_target, sum);
      continue;
    }
    const A confidence = view.Confidence(j);
    const A object = Select(responsible, confidence - confidence_target, A{});
    const A no_object =
        s.no_object == NoObject::kEmptyCells ? A{} : Select(responsible, A{}, confidence);
    sum->object += object * object;
    sum->no_object += no_object * no_object;
    if (with_gradient) {
      view.SetConfidence(j, Select(responsible, scale.gradient.object * object,
                                   scale.gradient.no_object * no_object));
    }
  }
}

}  // namespace yolov1
