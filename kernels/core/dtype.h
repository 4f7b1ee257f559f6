// The dtypes of tensors, and the two 16-bit ones as storage: they are converted to float before
// anything is computed.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/core/macros.h"

namespace yolov1 {

enum class DType { kFloat, kDouble, kHalf, kBfloat16 };

template <typename To, typename From>
YOLOV1_HOST_DEVICE To BitCast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// The upper half of a float32. A NaN keeps its sign and is made quiet; all else is rounded to
// nearest, ties to even.
struct Bfloat16 {
  uint16_t bits;

  Bfloat16() = default;
  YOLOV1_HOST_DEVICE explicit Bfloat16(float value) {
    const uint32_t word = BitCast<uint32_t>(value);
    const uint32_t rounded = word + 0x7fff + ((word >> 16) & 1);
    const bool nan = (word & 0x7fffffff) > 0x7f800000;
    bits = static_cast<uint16_t>((nan ? word | 0x400000 : rounded) >> 16);
  }
  YOLOV1_HOST_DEVICE explicit operator float() const {
    return BitCast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

// IEEE binary16: sign, 5 bits of exponent, 10 of mantissa. Written without branches, so that loops
// over it become vector code on any machine.
struct Half {
  uint16_t bits;

  Half() = default;
  YOLOV1_HOST_DEVICE explicit Half(float value) {
    const uint32_t word = BitCast<uint32_t>(value);
    const uint32_t sign = word & 0x80000000, magnitude = word ^ sign;
    // Normal results: rebias the exponent and round the mantissa to nearest, ties to even.
    const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
    const uint32_t normal = (rounded - (112u << 23)) >> 13;
    // Results below 2^-14: adding 0.5 moves the mantissa to where a float's unit is 2^-24, that of
    // a subnormal half, and the addition rounds.
    const uint32_t small = BitCast<uint32_t>(BitCast<float>(magnitude) + 0.5f) - 0x3f000000;
    uint32_t result = magnitude < (113u << 23) ? small : normal;
    result = rounded >= (143u << 23) ? 0x7c00u : result;  // 65520 and more: infinity
    result = magnitude > 0x7f800000 ? 0x7e00u : result;   // NaN
    bits = static_cast<uint16_t>(result | (sign >> 16));
  }
  YOLOV1_HOST_DEVICE explicit operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
    const int32_t magnitude = bits & 0x7fff;
    // Not by scaling a subnormal float: TensorFlow's threads take those for zero.
    const uint32_t subnormal = BitCast<uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    const uint32_t wide = static_cast<uint32_t>(magnitude) << 13;
    const uint32_t finite = magnitude < 0x400 ? subnormal : wide + (112u << 23);
    return BitCast<float>((magnitude >= 0x7c00 ? wide | 0x7f800000 : finite) | sign);
  }
};

// The type of sums, loss and terms for predictions of type T.
template <typename T>
struct Sum {
  using Type = float;
};
template <>
struct Sum<double> {
  using Type = double;
};

}  // namespace yolov1
