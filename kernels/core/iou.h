// Intersection over union of two boxes and its generalisations, with their gradients, of one pair
// or of lanes of pairs. yolov1/ops/box_iou.py has the formulas, and what is defined for degenerate
// boxes.
//
// A kernel makes each box ready once (MakeIouBox), computes pairs from ready boxes (PairIou), sums
// the gradients of a box over its pairs, and only then takes them back to its coordinates
// (BoxGradient).
#pragma once

#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

enum class IouKind { kIou, kGiou, kDiou, kCiou };
enum class BoxFormat { kXyxy, kCxcywh };

// Four coordinates of a box in its format, or a gradient by them.
template <typename A>
struct Coordinates {
  A c0, c1, c2, c3;
};

// A box made ready for pairs; or a gradient by these numbers, in which x0 and y0 count as moving
// outwards, that is down: the four sides then look alike, and no sign is turned for every pair.
template <typename A>
struct IouBox {
  A x0, y0, x1, y1;
  A area;   // at least 0; NaN where a coordinate is
  A angle;  // atan(w / h) for kCiou, else not used
};

// The gradient of a pair by its two boxes.
template <typename A>
struct PairGradient {
  IouBox<A> a, b;
};

// ------------------------------------------------------------------------------------ small maths

// a / b; 0 where b is 0.
template <typename A>
YOLOV1_HOST_DEVICE A DivideOrZero(const A& a, const A& b) {
  return Select(b == A(0), A(0), a / b);
}

// The same of a divisor `b` that is at least the area of either box of a pair.
template <typename A>
YOLOV1_HOST_DEVICE A Quotient(const A& a, const A& b) {
  return DivideOrZero(a, b);
}

// `less` where a < b, `more` where a > b, and where they are equal the mean of both: the derivative
// of min and max, at a tie the mean of those from either side.
template <typename A>
YOLOV1_HOST_DEVICE A BySide(const A& a, const A& b, const A& less, const A& more) {
  using E = ElementOf<A>;
  return Select(a < b, less, Select(a == b, (less + more) * E(0.5), more));
}
template <typename A>
YOLOV1_HOST_DEVICE A BySide(const A& a, const A& b, const A& less) {  // `more` = 0
  using E = ElementOf<A>;
  return Select(a < b, less, Select(a == b, less * E(0.5), A(0)));
}

// A choice of BySide for a, and the opposite one for b.
template <typename A>
struct Shares {
  A a, b;
};
template <typename A>
YOLOV1_HOST_DEVICE Shares<A> BySides(const A& a, const A& b, const A& less, const A& more) {
  return {BySide(a, b, less, more), BySide(b, a, less, more)};
}

// `value` where `of` is above 0, half of it at 0, and 0 below: the derivative of max(of, 0).
template <typename A>
YOLOV1_HOST_DEVICE A Above0(const A& of, const A& value) {
  using E = ElementOf<A>;
  return Select(of > A(0), value, Select(of < A(0), A(0), value * E(0.5)));
}

// atan(w / h) for w, h >= 0, in [0, pi / 2]; 0 for 0 / 0. The polynomial of degree 11 in t^2
// interpolates atan(t) / t at Chebyshev's points of [0, tan^2(pi / 8)]: relative error 1.3e-18.
template <typename A>
YOLOV1_HOST_DEVICE A AngleOf(const A& w, const A& h) {
  using E = ElementOf<A>;
  const auto wide = w > h;
  const A low = Select(wide, h, w), high = Select(wide, w, h);
  // Above pi / 8: atan(t) = pi / 4 + atan((t - 1) / (t + 1)).
  const auto steep = low > high * E(0.41421356237309503);
  const A t = DivideOrZero(Select(steep, low - high, low), Select(steep, low + high, high));
  const A z = t * t;
  const double coefficients[] = {0.037965257453865936,
                                 -0.050351024566015518,
                                 0.058468782973308725,
                                 -0.066629518136291900,
                                 0.076920453309022250,
                                 -0.090908968090640270,
                                 0.11111110744919658,
                                 -0.14285714279250245,
                                 0.19999999999940891,
                                 -0.33333333333331212,
                                 1};
  A p = A(E(-0.017805397205419445));
  for (int k = 0; k < 11; ++k) p = p * z + E(coefficients[k]);
  const A acute = t * p + Select(steep, A(E(0.78539816339744831)), A(0));
  return Select(wide, E(1.5707963267948966) - acute, acute);
}

// ------------------------------------------------------------------------------------------ boxes

template <typename A>
YOLOV1_HOST_DEVICE Coordinates<A> ToCorners(BoxFormat format, const Coordinates<A>& box) {
  using E = ElementOf<A>;
  if (format == BoxFormat::kXyxy) return box;
  const A half_w = box.c2 * E(0.5), half_h = box.c3 * E(0.5);
  return {box.c0 - half_w, box.c1 - half_h, box.c0 + half_w, box.c1 + half_h};
}

// A side of negative length counts as 0: an inverted box is empty. Where the squares of both sides
// are 0 the angle is 0, as its gradient is.
template <typename A>
YOLOV1_HOST_DEVICE IouBox<A> MakeIouBox(IouKind kind, BoxFormat format, const Coordinates<A>& box) {
  const Coordinates<A> corners = ToCorners(format, box);
  const A w = Max(corners.c2 - corners.c0, A(0)), h = Max(corners.c3 - corners.c1, A(0));
  const bool angled = kind == IouKind::kCiou;
  const A angle = angled ? Select(w * w + h * h == A(0), A(0), AngleOf(w, h)) : A(0);
  return {corners.c0, corners.c1, corners.c2, corners.c3, w * h, angle};
}

// The gradient by a box's coordinates from that by the numbers of MakeIouBox.
template <typename A>
YOLOV1_HOST_DEVICE Coordinates<A> BoxGradient(IouKind kind, BoxFormat format, const IouBox<A>& box,
                                              const IouBox<A>& by) {
  using E = ElementOf<A>;
  const A length_x = box.x1 - box.x0, length_y = box.y1 - box.y0;
  const A w = Max(length_x, A(0)), h = Max(length_y, A(0));
  A by_w = by.area * h, by_h = by.area * w;
  if (kind == IouKind::kCiou) {
    const A scaled = DivideOrZero(by.angle, w * w + h * h);
    by_w = by_w + scaled * h;
    by_h = by_h - scaled * w;
  }
  by_w = Above0(length_x, by_w);
  by_h = Above0(length_y, by_h);
  // 0 minus, as a minus sign would make -0 of what is hidden.
  const A x0 = A(0) - (by.x0 + by_w), y0 = A(0) - (by.y0 + by_h);
  const A x1 = by.x1 + by_w, y1 = by.y1 + by_h;
  if (format == BoxFormat::kXyxy) return {x0, y0, x1, y1};
  return {x0 + x1, y0 + y1, (x1 - x0) * E(0.5), (y1 - y0) * E(0.5)};
}

// ------------------------------------------------------------------------------------------ pairs

// What value and gradient share: the overlap (`length` before it is clamped at 0), the union, and
// the box that encloses both.
template <IouKind kind, typename A>
struct Pair {
  A length_x, length_y, w, h, united, iou;
  A enclosing_w, enclosing_h;  // not for kIou
  A distance_x, distance_y;    // between the centres; for kDiou and kCiou
  A by_diagonal;               // 1 / its square, or 0; for kDiou and kCiou

  YOLOV1_HOST_DEVICE Pair(const IouBox<A>& a, const IouBox<A>& b) {
    using E = ElementOf<A>;
    // Of a NaN the overlap may know nothing: the areas, and so the union, do.
    length_x = Lower(a.x1, b.x1) - Higher(a.x0, b.x0);
    length_y = Lower(a.y1, b.y1) - Higher(a.y0, b.y0);
    w = Higher(length_x, A(0));
    h = Higher(length_y, A(0));
    const A intersection = w * h;
    united = a.area + b.area - intersection;
    iou = Quotient(intersection, united);
    if constexpr (kind != IouKind::kIou) {
      enclosing_w = Higher(Higher(a.x1, b.x1) - Lower(a.x0, b.x0), A(0));
      enclosing_h = Higher(Higher(a.y1, b.y1) - Lower(a.y0, b.y0), A(0));
    }
    if constexpr (kind == IouKind::kDiou || kind == IouKind::kCiou) {
      distance_x = ((a.x0 + a.x1) - (b.x0 + b.x1)) * E(0.5);
      distance_y = ((a.y0 + a.y1) - (b.y0 + b.y1)) * E(0.5);
      by_diagonal = Quotient(A(1), enclosing_w * enclosing_w + enclosing_h * enclosing_h);
    }
  }

  YOLOV1_HOST_DEVICE A Enclosing() const { return enclosing_w * enclosing_h; }

  // The squared distance of the centres by the squared diagonal of the enclosing box.
  YOLOV1_HOST_DEVICE A Distance() const {
    return (distance_x * distance_x + distance_y * distance_y) * by_diagonal;
  }
};

// The difference of aspect, v, and its weight alpha, which the gradient holds constant.
template <typename A>
struct Aspect {
  A difference, v, alpha;

  YOLOV1_HOST_DEVICE Aspect(const A& iou, const IouBox<A>& a, const IouBox<A>& b) {
    using E = ElementOf<A>;
    difference = a.angle - b.angle;
    v = difference * difference * E(0.40528473456935109);  // 4 / pi^2
    alpha = DivideOrZero(v, E(1) - iou + v);
  }
};

template <IouKind kind, typename A>
YOLOV1_HOST_DEVICE A PairIou(const IouBox<A>& a, const IouBox<A>& b) {
  const Pair<kind, A> pair(a, b);
  if constexpr (kind == IouKind::kGiou) {
    const A enclosing = pair.Enclosing();
    return pair.iou - Quotient(enclosing - pair.united, enclosing);
  }
  if constexpr (kind == IouKind::kDiou) return pair.iou - pair.Distance();
  if constexpr (kind == IouKind::kCiou) {
    const Aspect<A> aspect(pair.iou, a, b);
    return pair.iou - pair.Distance() - aspect.alpha * aspect.v;
  }
  return pair.iou;
}

// `upstream` times the derivative of PairIou.
template <IouKind kind, typename A>
YOLOV1_HOST_DEVICE PairGradient<A> PairIouGradient(const IouBox<A>& a, const IouBox<A>& b,
                                                   const A& upstream) {
  using E = ElementOf<A>;
  const Pair<kind, A> pair(a, b);
  // With I the intersection, U the union, S = U + I the sum of the areas:
  // d(I / U) = dI (1 + I / U) / U - dS (I / U) / U.
  const A by_union = Quotient(upstream, pair.united);
  A by_area = -(by_union * pair.iou);
  A by_intersection = by_union - by_area;
  PairGradient<A> by;
  by.a.angle = by.b.angle = A(0);
  if constexpr (kind == IouKind::kIou) {
    const A by_w = Above0(pair.length_x, by_intersection * pair.h);
    const A by_h = Above0(pair.length_y, by_intersection * pair.w);
    by.a.x0 = BySide(b.x0, a.x0, by_w);
    by.a.y0 = BySide(b.y0, a.y0, by_h);
    by.a.x1 = BySide(a.x1, b.x1, by_w);
    by.a.y1 = BySide(a.y1, b.y1, by_h);
    by.b.x0 = by_w - by.a.x0;  // the other side's share, exactly: nothing, all, or half
    by.b.y0 = by_h - by.a.y0;
    by.b.x1 = by_w - by.a.x1;
    by.b.y1 = by_h - by.a.y1;
  } else {
    A by_enclosing_w, by_enclosing_h, by_x = A(0), by_y = A(0);
    if constexpr (kind == IouKind::kGiou) {  // + U / C - 1, with C the enclosing area
      const A enclosing = pair.Enclosing(), by_enclosing = Quotient(upstream, enclosing);
      by_area = by_area + by_enclosing;
      by_intersection = by_intersection - by_enclosing;
      const A slope = -(by_enclosing * Quotient(pair.united, enclosing));
      by_enclosing_w = slope * pair.enclosing_h;
      by_enclosing_h = slope * pair.enclosing_w;
    } else {
      const A scaled = upstream * pair.by_diagonal, slope = scaled * pair.Distance() * E(2);
      by_enclosing_w = slope * pair.enclosing_w;
      by_enclosing_h = slope * pair.enclosing_h;
      by_x = scaled * pair.distance_x;
      by_y = scaled * pair.distance_y;
    }
    const A by_w = Above0(pair.length_x, by_intersection * pair.h);
    const A by_h = Above0(pair.length_y, by_intersection * pair.w);
    // The lower x1 bounds the overlap and the higher one the enclosing box; x0 the other way round.
    const Shares<A> x0 = BySides(b.x0, a.x0, by_w, by_enclosing_w);
    const Shares<A> y0 = BySides(b.y0, a.y0, by_h, by_enclosing_h);
    const Shares<A> x1 = BySides(a.x1, b.x1, by_w, by_enclosing_w);
    const Shares<A> y1 = BySides(a.y1, b.y1, by_h, by_enclosing_h);
    by.a.x0 = x0.a + by_x;
    by.a.y0 = y0.a + by_y;
    by.a.x1 = x1.a - by_x;
    by.a.y1 = y1.a - by_y;
    by.b.x0 = x0.b - by_x;
    by.b.y0 = y0.b - by_y;
    by.b.x1 = x1.b + by_x;
    by.b.y1 = y1.b + by_y;
  }
  by.a.area = by.b.area = by_area;
  if constexpr (kind == IouKind::kCiou) {
    const Aspect<A> aspect(pair.iou, a, b);
    by.b.angle = upstream * aspect.alpha * aspect.difference * E(2 * 0.40528473456935109);
    by.a.angle = -by.b.angle;
  }
  return by;
}

// A kind as a template argument, from one at run time: calls function(constant), in which
// constant.kind is a constant.
template <IouKind kind_>
struct IouKindConstant {
  static constexpr IouKind kind = kind_;
};
YOLOV1_CALLS_EITHER
template <typename Function>
YOLOV1_HOST_DEVICE auto WithIouKind(IouKind kind, const Function& function) {
  switch (kind) {
    case IouKind::kGiou:
      return function(IouKindConstant<IouKind::kGiou>());
    case IouKind::kDiou:
      return function(IouKindConstant<IouKind::kDiou>());
    case IouKind::kCiou:
      return function(IouKindConstant<IouKind::kCiou>());
    default:
      return function(IouKindConstant<IouKind::kIou>());
  }
}

}  // namespace yolov1
