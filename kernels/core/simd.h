// Lanes: several numbers computed at once. The maths of this folder is written for a type A that is
// a number or lanes of numbers: a comparison then gives a bool or a mask of lanes, and Select takes
// the place of a branch. Lanes are vectors of the compiler (GCC's and clang's vector extensions),
// of the width of the machine that a file is compiled for.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/core/macros.h"

#if defined(__SSE2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace yolov1 {

// The type of one number of A.
template <typename A>
struct Element {
  using Type = A;
};
template <typename A>
using ElementOf = typename Element<A>::Type;

template <typename To, typename From>
YOLOV1_HOST_DEVICE To BitCast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// ---------------------------------------------------------------------------------------- numbers

template <typename To>
YOLOV1_HOST_DEVICE To Convert(uint32_t from) {
  return static_cast<To>(from);
}
template <typename To>
YOLOV1_HOST_DEVICE To Convert(int32_t from) {
  return static_cast<To>(from);
}
template <typename A>
YOLOV1_HOST_DEVICE A Select(bool mask, A a, A b) {
  return mask ? a : b;
}
YOLOV1_HOST_DEVICE bool Not(bool mask) { return !mask; }
YOLOV1_HOST_DEVICE int32_t Truncate(float value) { return static_cast<int32_t>(value); }
YOLOV1_HOST_DEVICE float Sqrt(float value) { return sqrtf(value); }
YOLOV1_HOST_DEVICE double Sqrt(double value) { return sqrt(value); }

// ------------------------------------------------------------------------------------------ lanes

#if !defined(__CUDACC__)

// For each part p of lanes. Unrolled by decree: before that the compiler keeps lanes in memory.
#define YOLOV1_EACH_PART _Pragma("GCC unroll 4") for (int p = 0; p < 64 / YOLOV1_VECTOR_BYTES; ++p)

#if defined(__AVX512F__)
#define YOLOV1_VECTOR_BYTES 64
#elif defined(__AVX__)
#define YOLOV1_VECTOR_BYTES 32
#else
#define YOLOV1_VECTOR_BYTES 16
#endif

// 64 bytes whatever the machine, so that sums have one order, and the same bits, everywhere.
template <typename E>
struct Lanes {
  typedef E Vector __attribute__((vector_size(YOLOV1_VECTOR_BYTES)));
  static constexpr int kCount = 64 / sizeof(E);
  static constexpr int kParts = 64 / YOLOV1_VECTOR_BYTES;
  static constexpr int kPartCount = kCount / kParts;

  Vector part[kParts];

  Lanes() = default;
  YOLOV1_HOST_DEVICE Lanes(E value) {             // every lane
    YOLOV1_EACH_PART part[p] = value - Vector{};  // not + 0: that would make 0 of -0, and cost
  }
};

// What a comparison of lanes of E gives: integers of the size of E, all bits or none.
template <typename E>
struct Mask {
  typedef decltype(typename Lanes<E>::Vector{} < typename Lanes<E>::Vector{}) Vector;
  Vector part[Lanes<E>::kParts];
};

template <typename E>
struct Element<Lanes<E>> {
  using Type = E;
};

// Every operator, part by part; a number beside lanes stands for lanes of it.
#define YOLOV1_LANES_OPERATOR(Result, op, Operand)                                     \
  template <typename E>                                                                \
  YOLOV1_HOST_DEVICE Result<E> operator op(const Operand<E>& a, const Operand<E>& b) { \
    Result<E> out;                                                                     \
    YOLOV1_EACH_PART out.part[p] = a.part[p] op b.part[p];                             \
    return out;                                                                        \
  }
#define YOLOV1_LANES_OPERATOR_WITH_NUMBER(Result, op)                                  \
  YOLOV1_LANES_OPERATOR(Result, op, Lanes)                                             \
  template <typename E>                                                                \
  YOLOV1_HOST_DEVICE Result<E> operator op(const Lanes<E>& a, ElementOf<Lanes<E>> b) { \
    return a op Lanes<E>(b);                                                           \
  }                                                                                    \
  template <typename E>                                                                \
  YOLOV1_HOST_DEVICE Result<E> operator op(ElementOf<Lanes<E>> a, const Lanes<E>& b) { \
    return Lanes<E>(a) op b;                                                           \
  }
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, +)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, -)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, *)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, /)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, &)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, |)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, <<)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Lanes, >>)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, <)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, <=)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, >)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, >=)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, ==)
YOLOV1_LANES_OPERATOR_WITH_NUMBER(Mask, !=)
YOLOV1_LANES_OPERATOR(Mask, &, Mask)
YOLOV1_LANES_OPERATOR(Mask, |, Mask)
#undef YOLOV1_LANES_OPERATOR_WITH_NUMBER
#undef YOLOV1_LANES_OPERATOR

template <typename E>
YOLOV1_HOST_DEVICE Lanes<E> operator-(const Lanes<E>& a) {
  Lanes<E> out;
  YOLOV1_EACH_PART out.part[p] = -a.part[p];
  return out;
}

template <typename E>
YOLOV1_HOST_DEVICE Lanes<E>& operator+=(Lanes<E>& a, const Lanes<E>& b) {
  return a = a + b;
}

template <typename E>
YOLOV1_HOST_DEVICE Mask<E> Not(const Mask<E>& mask) {
  Mask<E> out;
  YOLOV1_EACH_PART out.part[p] = ~mask.part[p];
  return out;
}

// The mask may be that of other lanes as wide (floats chosen by their bits).
template <typename M, typename E>
YOLOV1_HOST_DEVICE Lanes<E> Select(const Mask<M>& mask, const Lanes<E>& a, const Lanes<E>& b) {
  Lanes<E> out;
  YOLOV1_EACH_PART out.part[p] = mask.part[p] ? a.part[p] : b.part[p];
  return out;
}

// What the compiler has no operator for.
#if defined(__AVX512F__)
#define YOLOV1_INTRINSIC(name) _mm512_##name
#elif defined(__AVX__)
#define YOLOV1_INTRINSIC(name) _mm256_##name
#elif defined(__SSE2__)
#define YOLOV1_INTRINSIC(name) _mm_##name
#endif
#if defined(YOLOV1_INTRINSIC)
YOLOV1_HOST_DEVICE Lanes<float> Sqrt(Lanes<float> value) {
  YOLOV1_EACH_PART value.part[p] = YOLOV1_INTRINSIC(sqrt_ps)(value.part[p]);
  return value;
}
YOLOV1_HOST_DEVICE Lanes<double> Sqrt(Lanes<double> value) {
  YOLOV1_EACH_PART value.part[p] = YOLOV1_INTRINSIC(sqrt_pd)(value.part[p]);
  return value;
}
// Lower and Higher (below): one instruction, where compare and select would be two.
#define YOLOV1_LANES_CHOICE(Name, E, intrinsic)                                       \
  YOLOV1_HOST_DEVICE Lanes<E> Name(const Lanes<E>& a, const Lanes<E>& b) {            \
    Lanes<E> out;                                                                     \
    YOLOV1_EACH_PART out.part[p] = YOLOV1_INTRINSIC(intrinsic)(a.part[p], b.part[p]); \
    return out;                                                                       \
  }
YOLOV1_LANES_CHOICE(Lower, float, min_ps)
YOLOV1_LANES_CHOICE(Lower, double, min_pd)
YOLOV1_LANES_CHOICE(Higher, float, max_ps)
YOLOV1_LANES_CHOICE(Higher, double, max_pd)
#undef YOLOV1_LANES_CHOICE
#undef YOLOV1_INTRINSIC
#else
template <typename E>
YOLOV1_HOST_DEVICE Lanes<E> Sqrt(Lanes<E> value) {
  YOLOV1_EACH_PART for (int k = 0; k < value.kPartCount; ++k) value.part[p][k] =
      Sqrt(value.part[p][k]);
  return value;
}
#endif

template <typename To, typename From>
YOLOV1_HOST_DEVICE To BitCast(const Lanes<From>& from) {  // To: lanes, too
  To to;
  YOLOV1_EACH_PART to.part[p] = (typename To::Vector)from.part[p];
  return to;
}

template <typename To, typename From>
YOLOV1_HOST_DEVICE Lanes<To> Convert(const Lanes<From>& from) {
  Lanes<To> out;
  YOLOV1_EACH_PART
  out.part[p] = __builtin_convertvector(from.part[p], typename Lanes<To>::Vector);
  return out;
}

YOLOV1_HOST_DEVICE Lanes<int32_t> Truncate(const Lanes<float>& from) {
  return Convert<int32_t>(from);
}

// ------------------------------------------------------------------------------ lanes in memory

// Part by part: copied as a whole, lanes pass through memory in pieces that the next load waits
// for.
template <typename E>
YOLOV1_HOST_DEVICE Lanes<E> LoadLanes(const E* from) {
  Lanes<E> lanes;
  YOLOV1_EACH_PART memcpy(&lanes.part[p], from + p * lanes.kPartCount, YOLOV1_VECTOR_BYTES);
  return lanes;
}
template <typename E>
YOLOV1_HOST_DEVICE void StoreLanes(const Lanes<E>& lanes, E* to) {
  YOLOV1_EACH_PART memcpy(to + p * lanes.kPartCount, &lanes.part[p], YOLOV1_VECTOR_BYTES);
}
YOLOV1_HOST_DEVICE Lanes<float> Load(const float* from) { return LoadLanes(from); }
YOLOV1_HOST_DEVICE Lanes<double> Load(const double* from) { return LoadLanes(from); }
YOLOV1_HOST_DEVICE void Store(const Lanes<float>& lanes, float* to) { StoreLanes(lanes, to); }
YOLOV1_HOST_DEVICE void Store(const Lanes<double>& lanes, double* to) { StoreLanes(lanes, to); }

// The first `count` lanes, fewer than all; those behind them are not touched, and loaded as 0.
template <typename E>
YOLOV1_HOST_DEVICE Lanes<E> LoadFirstLanes(const E* from, int64_t count) {
  alignas(64) E values[Lanes<E>::kCount] = {};
  for (int64_t k = 0; k < count; ++k) values[k] = from[k];
  return LoadLanes(values);
}
template <typename E>
YOLOV1_HOST_DEVICE void StoreFirstLanes(const Lanes<E>& lanes, E* to, int64_t count) {
  alignas(64) E values[Lanes<E>::kCount];
  StoreLanes(lanes, values);
  for (int64_t k = 0; k < count; ++k) to[k] = values[k];
}
#if defined(__AVX512F__)
YOLOV1_HOST_DEVICE Lanes<float> LoadFirst(const float* from, int64_t count) {
  Lanes<float> lanes;
  lanes.part[0] = _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
  return lanes;
}
YOLOV1_HOST_DEVICE void StoreFirst(const Lanes<float>& lanes, float* to, int64_t count) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), lanes.part[0]);
}
#else
YOLOV1_HOST_DEVICE Lanes<float> LoadFirst(const float* from, int64_t count) {
  return LoadFirstLanes(from, count);
}
YOLOV1_HOST_DEVICE void StoreFirst(const Lanes<float>& lanes, float* to, int64_t count) {
  StoreFirstLanes(lanes, to, count);
}
#endif
YOLOV1_HOST_DEVICE Lanes<double> LoadFirst(const double* from, int64_t count) {
  return LoadFirstLanes(from, count);
}
YOLOV1_HOST_DEVICE void StoreFirst(const Lanes<double>& lanes, double* to, int64_t count) {
  StoreFirstLanes(lanes, to, count);
}

// Past the caches, to an address that is a multiple of 64. FinishStream() before another thread may
// read it.
template <typename E>
YOLOV1_HOST_DEVICE void StreamLanes(const Lanes<E>& lanes, E* to) {
#if defined(__SSE2__)
  YOLOV1_EACH_PART {
    E* const at = to + p * lanes.kPartCount;
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(at), (__m512i)lanes.part[p]);
#elif defined(__AVX__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(at), (__m256i)lanes.part[p]);
#else
    _mm_stream_si128(reinterpret_cast<__m128i*>(at), (__m128i)lanes.part[p]);
#endif
  }
#else
  StoreLanes(lanes, to);
#endif
}
YOLOV1_HOST_DEVICE void Stream(const Lanes<float>& lanes, float* to) { StreamLanes(lanes, to); }
YOLOV1_HOST_DEVICE void Stream(const Lanes<double>& lanes, double* to) { StreamLanes(lanes, to); }
YOLOV1_HOST_DEVICE void FinishStream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// The number of each lane. At namespace scope: a constant inside an inline function would be a
// symbol that the linker merges, or be built on the stack each time.
alignas(64) constexpr float kFloatNumbers[] = {0, 1, 2,  3,  4,  5,  6,  7,
                                               8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) constexpr double kDoubleNumbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
YOLOV1_HOST_DEVICE Lanes<float> Numbers(float) { return Load(kFloatNumbers); }
YOLOV1_HOST_DEVICE Lanes<double> Numbers(double) { return Load(kDoubleNumbers); }

// `lanes` with zeros in those before `first`.
template <typename E>
YOLOV1_HOST_DEVICE Lanes<E> FromLane(const Lanes<E>& lanes, int64_t first) {
  return Select(Numbers(E{}) >= static_cast<E>(first), lanes, Lanes<E>(0));
}

// The sum of all lanes: halves onto halves, so the order is the same for any width of the machine.
template <typename E, int bytes>
struct VectorSum {
  typedef E Vector __attribute__((vector_size(bytes)));
  YOLOV1_HOST_DEVICE static E Of(const Vector& vector) {
    if constexpr (bytes == sizeof(E)) {
      return vector[0];
    } else {
      typename VectorSum<E, bytes / 2>::Vector low, high;
      memcpy(&low, &vector, sizeof low);
      memcpy(&high, reinterpret_cast<const char*>(&vector) + sizeof low, sizeof high);
      return VectorSum<E, bytes / 2>::Of(low + high);
    }
  }
};
template <typename E>
YOLOV1_HOST_DEVICE E SumLanes(const Lanes<E>& lanes) {
  typename Lanes<E>::Vector parts[Lanes<E>::kParts];
  YOLOV1_EACH_PART parts[p] = lanes.part[p];
#pragma GCC unroll 2
  for (int half = Lanes<E>::kParts / 2; half > 0; half /= 2)
#pragma GCC unroll 2
    for (int p = 0; p < half; ++p) parts[p] += parts[p + half];
  return VectorSum<E, YOLOV1_VECTOR_BYTES>::Of(parts[0]);
}

#endif  // __CUDACC__

// --------------------------------------------------------------------------- of numbers and lanes

template <typename A>
YOLOV1_HOST_DEVICE A Abs(const A& value) {
  return Select(value < A(0), -value, value);
}

// a < b ? a : b and a > b ? a : b: the second where one is NaN. On a GPU the one that is not: that
// is one instruction, where compare and select would be two.
template <typename A>
YOLOV1_HOST_DEVICE A Lower(const A& a, const A& b) {
#if defined(__CUDA_ARCH__)
  return fmin(a, b);
#else
  return Select(a < b, a, b);
#endif
}
template <typename A>
YOLOV1_HOST_DEVICE A Higher(const A& a, const A& b) {
#if defined(__CUDA_ARCH__)
  return fmax(a, b);
#else
  return Select(a > b, a, b);
#endif
}

// Unlike those, these hand on a NaN from either side.
template <typename A>
YOLOV1_HOST_DEVICE A Min(const A& a, const A& b) {
  return Select((a < b) | (a != a), a, b);
}

template <typename A>
YOLOV1_HOST_DEVICE A Max(const A& a, const A& b) {
  return Select((a > b) | (a != a), a, b);
}

}  // namespace yolov1
