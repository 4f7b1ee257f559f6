// Activations of a network's last layer with their derivatives, for numbers and lanes of numbers.
// Their bits are the same everywhere: no library's exponential, which differs between them.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/grid.h"
#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

enum class Activation {
  kLinear,
  kSigmoid,
  kSoftmax,
  // A sigmoid whose slope is c (1 - c) of its rounded value c: by that a cross-entropy's gradient
  // is divided, so that they cancel.
  kSigmoidOfValue
};

// Of the blocks of a prediction cell; softmax, over the classes of a cell, for those alone.
struct Activations {
  Activation classes = Activation::kLinear, confidences = Activation::kLinear,
             xy = Activation::kLinear, wh = Activation::kLinear;

  YOLOV1_HOST_DEVICE bool linear() const {
    return classes == Activation::kLinear && confidences == Activation::kLinear &&
           xy == Activation::kLinear && wh == Activation::kLinear;
  }
  YOLOV1_HOST_DEVICE Activation Output(int k) const { return k < 2 ? xy : wh; }  // x, y, w, h
};

// --------------------------------------------------------------------------------- exponential

// The polynomials are those of the Cephes library (expf, exp), at most 2 units in the last place
// off.
template <typename E>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  using Word = uint32_t;
  static constexpr int kMantissa = 23;
  // 1.5 * 2^23: a number added to it is rounded to an integer, which is then in its last bits.
  static constexpr float kRound = 12582912.0f;
  static constexpr float kLow = 0.693359375f, kRest = -2.12194440e-4f;  // ln 2 in two parts
  static constexpr float kLeast = -86.0f;                               // below, e^x is taken for 0
};
template <>
struct ExpConstants<double> {
  using Word = uint64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kLow = 6.93145751953125e-1, kRest = 1.42860682030941723212e-6;
  static constexpr double kLeast = -707.0;
};

// A's bits.
template <typename A>
struct WordsOf {
  using Type = typename ExpConstants<A>::Word;
};
#if !defined(__CUDACC__)
template <typename E>
struct WordsOf<Lanes<E>> {
  using Type = Lanes<typename ExpConstants<E>::Word>;
};
#endif

// e^r for |r| <= ln(2) / 2.
template <typename A>
YOLOV1_HOST_DEVICE A ExpNearZero(const A& r) {
  using E = ElementOf<A>;
  if constexpr (sizeof(E) == 4) {
    A y = r * E(1.9875691500e-4f) + E(1.3981999507e-3f);
    y = y * r + E(8.3334519073e-3f);
    y = y * r + E(4.1665795894e-2f);
    y = y * r + E(1.6666665459e-1f);
    y = y * r + E(5.0000001201e-1f);
    return y * (r * r) + r + E(1);
  } else {
    const A s = r * r;
    const A p = r * ((s * E(1.26177193074810590878e-4) + E(3.02994407707441961300e-2)) * s +
                     E(9.99999999999999999910e-1));
    const A q = ((s * E(3.00198505138664455042e-6) + E(2.52448340349684104192e-3)) * s +
                 E(2.27265548208155028766e-1)) *
                    s +
                E(2);
    return p / (q - p) * E(2) + E(1);
  }
}

// e^x for x <= 0; a NaN stays one.
template <typename A>
YOLOV1_HOST_DEVICE A ExpOfNegative(const A& x) {
  using K = ExpConstants<ElementOf<A>>;
  using Words = typename WordsOf<A>::Type;
  using Word = typename K::Word;
  using E = ElementOf<A>;
  const A in_range = Select(x > A(K::kLeast), x, A(K::kLeast));
  const A shifted = in_range * E(1.44269504088896340736) + E(K::kRound);
  const A n = shifted - E(K::kRound);
  const A y = ExpNearZero<A>(in_range - n * E(K::kLow) - n * E(K::kRest));
  const A scaled = BitCast<A>(BitCast<Words>(y) + (BitCast<Words>(shifted) << Word(K::kMantissa)));
  return Select(x > A(K::kLeast), scaled, Select(x != x, x, A(0)));
}

// ------------------------------------------------------------------------------------ activations

template <typename A>
struct Activated {
  A value, slope;
};

// 1 / (1 + e^-x). The slope is exact where the value is nearly 1, too.
template <typename A>
YOLOV1_HOST_DEVICE Activated<A> Sigmoid(const A& x) {
  const A e = ExpOfNegative<A>(-Abs(x));
  const A larger = A(1) / (A(1) + e), smaller = e * larger;
  return {Select(x < A(0), smaller, larger), smaller * larger};
}

// All but softmax.
template <typename A>
YOLOV1_HOST_DEVICE Activated<A> Activate(Activation activation, const A& x) {
  if (activation == Activation::kLinear) return {x, A(1)};
  Activated<A> activated = Sigmoid(x);
  if (activation == Activation::kSigmoidOfValue)
    activated.slope = activated.value * (A(1) - activated.value);
  return activated;
}

// The gradient by what was activated. Where the loss does not read the value it stays 0, also of a
// NaN.
template <typename A>
YOLOV1_HOST_DEVICE A Chain(const A& gradient, const Activated<A>& activated) {
  return Select(gradient == A(0), gradient, gradient * activated.slope);
}

// The view of a cell of raw outputs (cell_loss.h) as one of activated values, with gradients by the
// raw ones.
template <typename A, typename View>
struct ActivatedView {
  const View& raw;
  const Activations& activations;

  YOLOV1_HOST_DEVICE A Confidence(int64_t j) const {
    return Activate<A>(activations.confidences, raw.Confidence(j)).value;
  }
  YOLOV1_HOST_DEVICE A Output(int64_t j, int k) const {
    return Activate<A>(activations.Output(k), raw.Output(j, k)).value;
  }
  YOLOV1_HOST_DEVICE void SetConfidence(int64_t j, const A& value) const {
    raw.SetConfidence(j, Chain<A>(value, Activate<A>(activations.confidences, raw.Confidence(j))));
  }
  YOLOV1_HOST_DEVICE void SetOutput(int64_t j, int k, const A& value) const {
    raw.SetOutput(j, k, Chain<A>(value, Activate<A>(activations.Output(k), raw.Output(j, k))));
  }
};

}  // namespace yolov1
