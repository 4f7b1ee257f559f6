// How fast can these cores copy memory, or only store: what a kernel that memory bandwidth bounds
// is held against.
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace {

constexpr size_t kLine = 64;

void CopyPlain(char* to, const char* from, size_t bytes) {
#if defined(__SSE2__)
  // Not memcpy, which goes over to non-temporal stores by itself where it sees fit.
  for (size_t k = 0; k < bytes; k += kLine) {
    for (size_t part = 0; part < kLine; part += sizeof(__m128i)) {
      const __m128i value = _mm_load_si128(reinterpret_cast<const __m128i*>(from + k + part));
      _mm_store_si128(reinterpret_cast<__m128i*>(to + k + part), value);
    }
  }
#else
  std::memcpy(to, from, bytes);
#endif
}

void CopyNonTemporal(char* to, const char* from, size_t bytes) {
#if defined(__SSE2__)
  for (size_t k = 0; k < bytes; k += kLine) {
    for (size_t part = 0; part < kLine; part += sizeof(__m128i)) {
      const __m128i value = _mm_load_si128(reinterpret_cast<const __m128i*>(from + k + part));
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k + part), value);
    }
  }
  _mm_sfence();
#else
  std::memcpy(to, from, bytes);
#endif
}

// Zeros, past the caches; reads nothing.
void StoreNonTemporal(char* to, const char*, size_t bytes) {
#if defined(__SSE2__)
  for (size_t k = 0; k < bytes; k += sizeof(__m128i)) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + k), _mm_setzero_si128());
  }
  _mm_sfence();
#else
  std::memset(to, 0, bytes);
#endif
}

}  // namespace

// Copies `bytes` (a multiple of 64, both sides aligned to 64) `rounds` times, or stores as many
// where there is nothing to copy from (`from` null; then always past the caches). Each thread has
// its own part and does not wait for the others: starting the threads then counts once.
extern "C" void memory_transfer(char* to, const char* from, size_t bytes, int threads, int rounds,
                                int non_temporal) {
  const auto move = !from ? StoreNonTemporal : non_temporal ? CopyNonTemporal : CopyPlain;
  const size_t lines = bytes / kLine;
  std::vector<std::thread> others;
  const auto part = [=](int thread) {
    const size_t begin = lines * thread / threads * kLine;
    const size_t end = lines * (thread + 1) / threads * kLine;
    for (int round = 0; round < rounds; ++round) {
      move(to + begin, from ? from + begin : nullptr, end - begin);
    }
  };
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(part, thread);
  part(0);
  for (std::thread& thread : others) thread.join();
}
