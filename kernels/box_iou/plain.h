// Arithmetic for pairs of ordinary boxes on a GPU: the maths of kernels/core/iou.h with neither a
// branch nor a special case in it. For kernel.cu alone.
//
// Hopper runs compares, selects, minima and maxima at half the rate of sums and products, and a
// division has to look for its special cases, of which it has a function to call. Here a division
// is six instructions, and a choice by a sign is a product with 0, 1/2 or 1.
#pragma once

#include "kernels/core/iou.h"
#include "kernels/cuda.h"

namespace yolov1 {

// A float of which there are only some: see IsBounded and IsSound.
struct Plain {
  float value;

  Plain() = default;
  YOLOV1_HOST_DEVICE Plain(float value) : value(value) {}
  YOLOV1_HOST_DEVICE explicit operator float() const { return value; }

  YOLOV1_HOST_DEVICE Plain operator-() const { return -value; }
  YOLOV1_HOST_DEVICE Plain& operator+=(Plain other) { return *this = value + other.value; }
  YOLOV1_HOST_DEVICE friend Plain operator+(Plain a, Plain b) { return a.value + b.value; }
  YOLOV1_HOST_DEVICE friend Plain operator-(Plain a, Plain b) { return a.value - b.value; }
  YOLOV1_HOST_DEVICE friend Plain operator*(Plain a, Plain b) { return a.value * b.value; }
  YOLOV1_HOST_DEVICE friend Plain operator/(Plain a, Plain b) { return a.value / b.value; }
  YOLOV1_HOST_DEVICE friend bool operator==(Plain a, Plain b) { return a.value == b.value; }
};

template <>
struct Element<Plain> {
  using Type = float;
};

YOLOV1_HOST_DEVICE float Bare(Plain value) { return value.value; }
YOLOV1_HOST_DEVICE float Bare(float value) { return value; }
YOLOV1_HOST_DEVICE double Bare(double value) { return value; }

// Plain where there is such arithmetic for sums in A.
template <typename A>
struct PlainOf {
  using Type = A;
};
template <>
struct PlainOf<float> {
  using Type = Plain;
};

// Pairs can be computed in Plain if all their boxes are bounded and those of one side are sound.
// Then each divisor of Quotient, at least the area of either box and at most the square of a
// diagonal, is within [2^-41, 2^36]; an overlap is 0 or at least 2^-90, as one of two numbers that
// lie next to each other is an x1 or y1; and numbers that differ at all do so by more than 2^-128.
// False of a NaN.
YOLOV1_HOST_DEVICE bool IsBounded(float low, float high) {
  const float size = fabsf(low), size_high = fabsf(high);
  return size < 0x1p16f && (low == 0 || size > 0x1p-100f) && size_high < 0x1p16f &&
         (size_high > 0x1p-20f || (high == 0 && low >= 0));
}
YOLOV1_HOST_DEVICE bool IsBounded(const IouBox<float>& box) {
  return IsBounded(box.x0, box.x1) && IsBounded(box.y0, box.y1);
}
YOLOV1_HOST_DEVICE bool IsSound(const IouBox<float>& box) { return box.area >= 0x1p-40f; }
YOLOV1_HOST_DEVICE bool IsBounded(const IouBox<double>&) { return false; }
YOLOV1_HOST_DEVICE bool IsSound(const IouBox<double>&) { return false; }

// ----------------------------------------------------------- what kernels/core/iou.h is written in

__device__ inline Plain Lower(const Plain& a, const Plain& b) { return fminf(a.value, b.value); }
__device__ inline Plain Higher(const Plain& a, const Plain& b) { return fmaxf(a.value, b.value); }

// Rounded correctly, as `/` is: these are its steps without its special cases.
__device__ inline Plain Quotient(const Plain& a, const Plain& b) {
  float estimate;
#if defined(__CUDA_ARCH__)
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(estimate) : "f"(b.value));
#else
  estimate = 1 / b.value;
#endif
  const float error = __fmaf_rn(-b.value, estimate, 1.f);
  const float reciprocal = __fmaf_rn(estimate, error, estimate);
  const float quotient = a.value * reciprocal;
  const float rest = __fmaf_rn(-b.value, quotient, a.value);
  return __fmaf_rn(reciprocal, rest, quotient);
}

// 1 where `value` is above 0, 1/2 at 0, 0 below; none is nearer to 0 than 2^-128.
__device__ inline float Step(float value) { return __saturatef(__fmaf_rn(value, 0x1p127f, 0.5f)); }

__device__ inline Plain Above0(const Plain& of, const Plain& value) {
  return value.value * Step(of.value);
}
__device__ inline Plain BySide(const Plain& a, const Plain& b, const Plain& less) {
  return less.value * Step(b.value - a.value);
}
__device__ inline Shares<Plain> BySides(const Plain& a, const Plain& b, const Plain& less,
                                        const Plain& more) {
  const float share = Step(b.value - a.value), rest = 1.f - share;
  return {__fmaf_rn(less.value, share, more.value * rest),
          __fmaf_rn(less.value, rest, more.value * share)};
}

}  // namespace yolov1
