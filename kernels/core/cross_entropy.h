// The logarithms that stand in place of squares where a loss is a cross-entropy, for numbers and
// lanes of numbers; yolov1/semantics.py has the formulas. Like the exponential they are no
// library's: their bits are the same everywhere.
#pragma once

#include <cstdint>

#include "kernels/core/activation.h"
#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

// The polynomials are those of the Cephes library (logf, log), of numbers from sqrt(1/2) to
// sqrt(2).
template <typename E>
struct LogConstants;
template <>
struct LogConstants<float> {
  static constexpr uint32_t kBias = 127, kSqrtHalf = 0x3f3504f3;
  static constexpr uint32_t kInteger = 0x4b000000;  // the bits of 2^23, whose last is a 1
  static constexpr float kIntegerBias = 8388608.0f + 127;
};
template <>
struct LogConstants<double> {
  static constexpr uint64_t kBias = 1023, kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr uint64_t kInteger = 0x4330000000000000;  // 2^52
  static constexpr double kIntegerBias = 4503599627370496.0 + 1023;
};

// log(1 + z) - z + z^2 / 2 for 1 + z from sqrt(1/2) to sqrt(2).
template <typename A>
YOLOV1_HOST_DEVICE A LogNearOne(const A& z) {
  using E = ElementOf<A>;
  const A square = z * z;
  if constexpr (sizeof(E) == 4) {
    A y = z * E(7.0376836292e-2f) + E(-1.1514610310e-1f);
    y = y * z + E(1.1676998740e-1f);
    y = y * z + E(-1.2420140846e-1f);
    y = y * z + E(1.4249322787e-1f);
    y = y * z + E(-1.6668057665e-1f);
    y = y * z + E(2.0000714765e-1f);
    y = y * z + E(-2.4999993993e-1f);
    y = y * z + E(3.3333331174e-1f);
    return y * z * square;
  } else {
    A p = z * E(1.01875663804580931796e-4) + E(4.97494994976747001425e-1);
    p = p * z + E(4.70579119878881725854e0);
    p = p * z + E(1.44989225341610930846e1);
    p = p * z + E(1.79368678507819816313e1);
    p = p * z + E(7.70838733755885391666e0);
    A q = z + E(1.12873587189167450590e1);
    q = q * z + E(4.52279145837532221105e1);
    q = q * z + E(8.29875266912776603211e1);
    q = q * z + E(7.11544750618563894466e1);
    q = q * z + E(2.31251620126765340583e1);
    return z * (square * p / q);
  }
}

// log(x) of a normal number x > 0; of anything else some number.
template <typename A>
YOLOV1_HOST_DEVICE A LogOfPositive(const A& x) {
  using E = ElementOf<A>;
  using K = LogConstants<E>;
  using Words = typename WordsOf<A>::Type;
  using Word = typename ExpConstants<E>::Word;
  constexpr int kMantissa = ExpConstants<E>::kMantissa;
  constexpr Word kFraction = (Word{1} << kMantissa) - 1;
  // x = m 2^n with m from sqrt(1/2) on; n is brought to a number by the bits of a large one.
  const Words shifted = BitCast<Words>(x) + Word((K::kBias << kMantissa) - K::kSqrtHalf);
  const Words exponent = shifted >> Word(kMantissa);
  const A n = BitCast<A>(Words(exponent | K::kInteger)) - K::kIntegerBias;
  const A z = BitCast<A>(Words((shifted & kFraction) + K::kSqrtHalf)) - E(1);
  const A y = LogNearOne<A>(z) + n * ExpConstants<E>::kRest - E(0.5) * (z * z);
  return z + y + n * ExpConstants<E>::kLow;
}

// What a logarithm is taken of is clipped to [kLeastProbability, 1].
constexpr double kLeastProbability = 0x1p-20;

// A part of a cross-entropy, and its derivative by the probability: of the clipped value, handed on
// as if it were not clipped. A probability that is not finite makes both NaN.
template <typename A>
struct Entropy {
  A value, slope;
};

// -target log(p).
template <typename A>
YOLOV1_HOST_DEVICE Entropy<A> EntropyOf(const A& p, const A& target) {
  const A broken = p - p;
  const A clipped = Lower(Higher(p, A(ElementOf<A>(kLeastProbability))), A(1));
  return {broken - target * LogOfPositive<A>(clipped), broken - target / clipped};
}

// -log(1 - p). It is 0 for p = 0.
template <typename A>
YOLOV1_HOST_DEVICE Entropy<A> EntropyOfNone(const A& p) {
  using E = ElementOf<A>;
  const A broken = p - p;
  const A clipped = Lower(Higher(p, A(0)), A(E(1 - kLeastProbability)));
  const A rest = A(1) - clipped;
  const A rounded = (A(1) - rest) - clipped;  // log(rest + d) is log(rest) + d where d counts
  return {broken - (LogOfPositive<A>(rest) + rounded), broken + A(1) / rest};
}

// -target log(p) - (1 - target) log(1 - p).
template <typename A>
YOLOV1_HOST_DEVICE Entropy<A> CrossEntropy(const A& p, const A& target) {
  const Entropy<A> of = EntropyOf<A>(p, target), none = EntropyOfNone<A>(p);
  const A rest = A(1) - target;
  return {of.value + rest * none.value, of.slope + rest * none.slope};
}

}  // namespace yolov1
