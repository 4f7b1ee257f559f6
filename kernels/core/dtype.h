// The dtypes of tensors, and the two 16-bit ones as storage: they are converted to float before
// anything is computed.
#pragma once

#include <cstdint>

#include "kernels/core/macros.h"
#include "kernels/core/simd.h"

namespace yolov1 {

// What is computed with, and what masks, labels, pixels and memory to work in are made of. An
// element of kString is a std::string_view, and there are no results of it.
enum class DType { kFloat, kDouble, kHalf, kBfloat16, kBool, kInt32, kUint8, kInt64, kString };

YOLOV1_HOST_DEVICE int64_t SizeOf(DType type) {  // in bytes
  if (type == DType::kString) return 16;
  if (type == DType::kDouble || type == DType::kInt64) return 8;
  if (type == DType::kFloat || type == DType::kInt32) return 4;
  return type == DType::kHalf || type == DType::kBfloat16 ? 2 : 1;
}

YOLOV1_HOST_DEVICE bool IsFloating(DType type) { return type <= DType::kBfloat16; }

inline const char* DTypeName(DType type) {  // NumPy's
  constexpr const char* kNames[] = {"float32", "float64", "float16", "bfloat16", "bool",
                                    "int32",   "uint8",   "int64",   "string"};
  return kNames[static_cast<int>(type)];
}

// Widen and Narrow below work on one value (F = float, W = uint32_t, the bits in its lower half) or
// on lanes of them.

// The upper half of a float32. A NaN keeps its sign and is made quiet; all else is rounded to
// nearest, ties to even.
struct Bfloat16 {
  uint16_t bits;

  template <typename F, typename W>
  YOLOV1_HOST_DEVICE static F Widen(const W& word) {
    return BitCast<F>(word << 16u);
  }
  template <typename W, typename F>
  YOLOV1_HOST_DEVICE static W Narrow(const F& value) {
    const W word = BitCast<W>(value);
    const W rounded = word + 0x7fffu + ((word >> 16u) & 1u);
    return Select((word & 0x7fffffffu) > 0x7f800000u, word | 0x400000u, rounded) >> 16u;
  }

  Bfloat16() = default;
  YOLOV1_HOST_DEVICE explicit Bfloat16(float value)
      : bits(static_cast<uint16_t>(Narrow<uint32_t>(value))) {}
  YOLOV1_HOST_DEVICE explicit operator float() const { return Widen<float>(uint32_t{bits}); }
};

// IEEE binary16: sign, 5 bits of exponent, 10 of mantissa; rounded to nearest, ties to even, to
// infinity from 65520 on.
struct Half {
  uint16_t bits;

  template <typename F, typename W>
  YOLOV1_HOST_DEVICE static F Widen(const W& word) {
    const W magnitude = word & 0x7fffu, wide = magnitude << 13u;
    // Not by scaling a subnormal float: TensorFlow's threads take those for zero.
    const W subnormal = BitCast<W>(Convert<float>(Convert<int32_t>(magnitude)) * 0x1p-24f);
    const W finite = Select(magnitude < 0x400u, subnormal, wide + (112u << 23));
    const W result = Select(magnitude >= 0x7c00u, wide | 0x7f800000u, finite);
    return BitCast<F>(result | ((word & 0x8000u) << 16u));
  }
  template <typename W, typename F>
  YOLOV1_HOST_DEVICE static W Narrow(const F& value) {
    const W word = BitCast<W>(value), magnitude = word & 0x7fffffffu;
    const W rounded = magnitude + 0xfffu + ((magnitude >> 13u) & 1u);
    // Below 2^-14 a half is subnormal: adding 0.5 moves its unit, 2^-24, to that of the sum, and
    // the addition rounds.
    const W small = BitCast<W>(BitCast<F>(magnitude) + 0.5f) - 0x3f000000u;
    W result = Select(magnitude < (113u << 23), small, (rounded - (112u << 23)) >> 13u);
    result = Select(rounded >= (143u << 23), W(0x7c00u), result);
    result = Select(magnitude > 0x7f800000u, W(0x7e00u), result);  // NaN
    return result | ((word >> 16u) & 0x8000u);
  }

  Half() = default;
#if defined(__CUDA_ARCH__)  // a GPU has instructions for it
  YOLOV1_HOST_DEVICE explicit Half(float value) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  }
  YOLOV1_HOST_DEVICE explicit operator float() const {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  }
#else
  YOLOV1_HOST_DEVICE explicit Half(float value)
      : bits(static_cast<uint16_t>(Narrow<uint32_t>(value))) {}
  YOLOV1_HOST_DEVICE explicit operator float() const { return Widen<float>(uint32_t{bits}); }
#endif
};

// Calls function(T{}) for the type of tensors of `type`.
template <typename Function>
auto WithType(DType type, const Function& function) {
  switch (type) {
    case DType::kDouble:
      return function(double{});
    case DType::kHalf:
      return function(Half{});
    case DType::kBfloat16:
      return function(Bfloat16{});
    default:
      return function(float{});
  }
}

// The type of sums, loss and terms for predictions of type T.
template <typename T>
struct Sum {
  using Type = float;
};
template <>
struct Sum<double> {
  using Type = double;
};

#if !defined(__CUDACC__)
typedef uint16_t Uint16Vector __attribute__((vector_size(YOLOV1_VECTOR_BYTES / 2)));

template <typename Storage>  // Half or Bfloat16
YOLOV1_HOST_DEVICE Lanes<float> Load(const Storage* from) {
  using Words = Lanes<uint32_t>;
  Words words;
  YOLOV1_EACH_PART {
    Uint16Vector bits;
    memcpy(&bits, from + p * Words::kPartCount, sizeof bits);
    words.part[p] = __builtin_convertvector(bits, Words::Vector);
  }
  return Storage::template Widen<Lanes<float>>(words);
}
template <typename Storage>
YOLOV1_HOST_DEVICE void Store(const Lanes<float>& lanes, Storage* to) {
  using Words = Lanes<uint32_t>;
  const Words words = Storage::template Narrow<Words>(lanes);
  YOLOV1_EACH_PART {
    const Uint16Vector bits = __builtin_convertvector(words.part[p], Uint16Vector);
    memcpy(to + p * Words::kPartCount, &bits, sizeof bits);
  }
}
template <typename Storage>
YOLOV1_HOST_DEVICE void Stream(const Lanes<float>& lanes, Storage* to) {
  Store(lanes, to);  // half a cache line: it goes through the caches
}
template <typename Storage>
YOLOV1_HOST_DEVICE Lanes<float> LoadFirst(const Storage* from, int64_t count) {
  Storage values[Lanes<float>::kCount] = {};
  for (int64_t k = 0; k < count; ++k) values[k] = from[k];
  return Load(values);
}
template <typename Storage>
YOLOV1_HOST_DEVICE void StoreFirst(const Lanes<float>& lanes, Storage* to, int64_t count) {
  Storage values[Lanes<float>::kCount];
  Store(lanes, values);
  for (int64_t k = 0; k < count; ++k) to[k] = values[k];
}
#endif

}  // namespace yolov1
