// Memory as kernel_simd.cc uses it: cache lines, past the caches, and ahead of its use. Compiled
// once for each level of SIMD, as that file is: nothing here may become a weak symbol.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/core/macros.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

constexpr int64_t kLine = 64;

YOLOV1_HOST_DEVICE int64_t RoundUp(int64_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

// Copies past the caches: what is written is not read again soon, and need not be fetched first.
YOLOV1_HOST_DEVICE void StreamOut(const char* from, int64_t bytes, char* to) {
  const int64_t head =
      (kLine - static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % kLine)) % kLine;
  int64_t k = head < bytes ? head : bytes;
  memcpy(to, from, k);
  for (; k + kLine <= bytes; k += kLine) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + k), _mm512_loadu_si512(from + k));
#elif defined(__AVX__)
    for (int part = 0; part < 64; part += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + k + part),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k + part)));
#elif defined(__SSE2__)
    for (int part = 0; part < 64; part += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k + part),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k + part)));
#else
    memcpy(to + k, from + k, kLine);
#endif
  }
  memcpy(to + k, from + k, bytes - k);
}

// Asks for what is read next. It may lie behind the end of a buffer: then nothing happens.
YOLOV1_HOST_DEVICE void Prefetch(const void* from, int64_t bytes) {
  const char* const line = static_cast<const char*>(from);
  for (int64_t k = 0; k < bytes; k += kLine) __builtin_prefetch(line + k);
}

}  // namespace
}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
