// Tensors on heap buffers of the exact size, so that the address sanitizer sees each access outside
// of them, and how results are compared.
#pragma once

#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"

namespace yolov1 {

inline void Require(bool holds, const std::string& what) {
  if (holds) return;
  dprintf(STDERR_FILENO, "Wrong: %s\n", what.c_str());  // whatever became of the stream
  abort();
}

// ---------------------------------------------------------------------------------------- buffers

inline void Store(DType type, double value, uint8_t* to) {
  const float narrow = static_cast<float>(value);
  const Half half(narrow);
  const Bfloat16 bfloat(narrow);
  const int32_t whole = IsFloating(type) ? 0 : static_cast<int32_t>(value);
  const bool truth = whole != 0;
  if (type == DType::kDouble) memcpy(to, &value, sizeof value);
  if (type == DType::kFloat) memcpy(to, &narrow, sizeof narrow);
  if (type == DType::kHalf) memcpy(to, &half, sizeof half);
  if (type == DType::kBfloat16) memcpy(to, &bfloat, sizeof bfloat);
  if (type == DType::kInt32) memcpy(to, &whole, sizeof whole);
  if (type == DType::kBool) memcpy(to, &truth, sizeof truth);
}

template <typename T>
double LoadAs(const uint8_t* from) {
  T value;
  memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) == 2) {
    return static_cast<float>(value);  // all that the 16-bit types convert to
  } else {
    return value;
  }
}

inline double Load(DType type, const uint8_t* from) {
  if (type == DType::kDouble) return LoadAs<double>(from);
  if (type == DType::kFloat) return LoadAs<float>(from);
  return type == DType::kHalf ? LoadAs<Half>(from) : LoadAs<Bfloat16>(from);
}

// `count` elements that end where the memory ends and begin `offset` elements after its start, a
// multiple of 64 bytes. What lies before them must never be written.
class Buffer {
 public:
  Buffer(DType type, int64_t count, int64_t offset, uint8_t fill)
      : type_(type),
        fill_(fill),
        count_(count),
        bytes_(count * SizeOf(type)),
        skipped_(offset * SizeOf(type)) {
    Require(posix_memalign(&memory_, 64, skipped_ + bytes_) == 0, "memory");
    memset(memory_, fill, skipped_ + bytes_);
  }

  Buffer(DType type, const std::vector<double>& values, int64_t offset)
      : Buffer(type, values.size(), offset, 0) {
    for (int64_t k = 0; k < count_; ++k) Store(type, values[k], data() + k * SizeOf(type));
  }

  Buffer(const Buffer&) = delete;

  ~Buffer() {
    for (const uint8_t* at = data(); at-- != memory_;)
      Require(*at == fill_, "nothing is written before a tensor");
    free(memory_);
  }

  uint8_t* data() { return static_cast<uint8_t*>(memory_) + skipped_; }
  const uint8_t* data() const { return static_cast<const uint8_t*>(memory_) + skipped_; }
  int64_t count() const { return count_; }
  double operator[](int64_t k) const { return Load(type_, data() + k * SizeOf(type_)); }

  void CopyFrom(const Buffer& other) { memcpy(data(), other.data(), bytes_); }

  bool HoldsOnly(uint8_t fill) const {
    for (int64_t k = 0; k < bytes_; ++k)
      if (data()[k] != fill) return false;
    return true;
  }

  // Equal bits, but for those of a NaN: they say which of two NaN operands came first.
  void RequireSame(const Buffer& other, const std::string& what) const {
    if (bytes_ > 0 && memcmp(data(), other.data(), bytes_) != 0) {
      RequireEach(other, what, [](double a, double b) {
        return (a == b && std::signbit(a) == std::signbit(b)) || (std::isnan(a) && std::isnan(b));
      });
    }
  }

  // Sums of up to a thousand squares in another order, infinite from about the same size on; or
  // what is made of other sums, and may be off by `slack` then.
  void RequireNear(const Buffer& other, const std::string& what, double slack = 1e-36) const {
    const bool half = type_ == DType::kHalf;
    const double relative = type_ == DType::kDouble ? 1e-12 : type_ == DType::kFloat ? 1e-4 : 0.01;
    const double huge = type_ == DType::kDouble ? 1e307 : half ? 65000 : 1e38;
    if (half) slack += 1e-7;  // between its least numbers
    RequireEach(other, what, [=](double a, double b) {
      if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
      if (std::abs(a) >= huge && std::abs(b) >= huge) return std::signbit(a) == std::signbit(b);
      return std::abs(a - b) <= relative * std::abs(b) + slack;
    });
  }

 private:
  template <typename Agree>
  void RequireEach(const Buffer& other, const std::string& what, const Agree& agree) const {
    for (int64_t k = 0; k < count_; ++k) {
      const double one = (*this)[k], two = other[k];
      if (!agree(one, two)) {
        Require(false, what + ", element " + std::to_string(k) + ": " + std::to_string(one) +
                           " for " + std::to_string(two));
      }
    }
  }

  DType type_;
  uint8_t fill_;
  int64_t count_, bytes_, skipped_;
  void* memory_ = nullptr;
};

}  // namespace yolov1
