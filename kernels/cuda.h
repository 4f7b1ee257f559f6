// What the CUDA kernels share: launches and their errors, sums over a warp, spans in shared memory.
// For .cu files alone. Without a GPU they are compiled for the host, thread by thread, with
// tests/native/cuda/ in place of the CUDA runtime: what is used here must be known there.
#pragma once

#include <cuda_pipeline_primitives.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "kernels/core/macros.h"

namespace yolov1 {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
#if defined(YOLOV1_CUDA_ON_HOST)  // so that the small tensors of a test take more than one tile
constexpr int64_t kSharedBytes = 12 << 10;
#else  // of the 48 KB that every GPU grants unasked, all but 1 KB for what a kernel declares itself
constexpr int64_t kSharedBytes = 47 << 10;
#endif

// What a launch has asked for, from its 16-byte aligned beginning.
extern __shared__ __align__(16) unsigned char shared_memory[];

// --------------------------------------------------------------------------------------- launches

// "" or, of an error of kernel `name` ("yolo_loss (staged)"), a sentence that says what to do.
inline std::string CudaError(const std::string& name, cudaError_t status) {
  if (status == cudaSuccess) return "";
  static_cast<void>(cudaGetLastError());  // or whoever asks next takes it for theirs
  const auto version = [](int number) {   // 13000 is 13.0
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  switch (status) {
    case cudaErrorNoKernelImageForDevice: {
      int device = 0, major = 0, minor = 0;
      cudaGetDevice(&device);
      cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
      return name + ": this GPU has compute capability " + std::to_string(major) + "." +
             std::to_string(minor) +
             ", this build is for " YOLOV1_CUDA_ARCHITECTURES "; use impl='reference' or the CPU.";
    }
    case cudaErrorInsufficientDriver: {
      int driver = 0;
      cudaDriverGetVersion(&driver);
      return name + ": the NVIDIA driver is for CUDA " + version(driver) +
             ", this build needs one for CUDA " + version(CUDART_VERSION / 1000 * 1000) +
             " or later; update the driver, or build with an nvcc of its version.";
    }
    default:
      return name + ": CUDA says " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status) +
             ".";
  }
}

// Queues a kernel on `stream`; there is nothing to allocate, and nothing waits, so that it may be
// recorded into a CUDA graph.
template <typename... Parameters, typename... Arguments>
std::string Launch(const std::string& name, void (*kernel)(Parameters...), int64_t blocks,
                   int threads, int64_t shared_bytes, void* stream, const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  return CudaError(name, cudaLaunchKernelEx(&config, kernel, arguments...));
}

// The blocks for `count` pieces of work: kernels go on with what is `gridDim.x` further on.
inline int64_t Blocks(int64_t count) { return std::min<int64_t>(count, 0x7fffffff); }

// ------------------------------------------------------------------------------------------- sums

// Of the lanes of a warp, in every lane: halves onto halves, in one order. All lanes must call it.
template <typename A>
__device__ A WarpSum(A value) {
  for (int half = kWarp / 2; half > 0; half /= 2) value += __shfl_xor_sync(kAllLanes, value, half);
  return value;
}

// The WarpSum of each of up to 32 values, to the bit, each in some of the lanes: in every exchange
// a lane hands over that half of its values with which it does not go on, so that five sums take
// eight exchanges and not 25. All lanes must call it.
template <int count, typename A>
__device__ A WarpSums(const A (&own)[count], int half = kWarp / 2) {
  if constexpr (count == 1) {
    A sum = own[0];
    for (; half > 0; half /= 2) sum += __shfl_xor_sync(kAllLanes, sum, half);
    return sum;
  } else {
    constexpr int next = (count + 1) / 2;
    const bool upper = (threadIdx.x & half) != 0;
    A sums[next];
#pragma unroll
    for (int k = 0; k < next; ++k) {
      const int other = k + next < count ? k + next : k;
      const A kept = upper ? own[other] : own[k], given = upper ? own[k] : own[other];
      sums[k] = kept + __shfl_xor_sync(kAllLanes, given, half);
    }
    return WarpSums(sums, half / 2);
  }
}

// The first lane that WarpSums gives the sum of value k of `count`.
YOLOV1_HOST_DEVICE constexpr int LaneOfWarpSum(int k, int count) {
  int lane = 0;
  for (int half = kWarp / 2; count > 1; half /= 2) {
    count = (count + 1) / 2;
    if (k >= count) {
      k -= count;
      lane += half;
    }
  }
  return lane;
}

// ------------------------------------------------------------------------------------------ spans
//
// Each by all threads of a block; how many those are is a constant, so that the places of a
// thread's words differ by one.

template <typename T>
__device__ int Misalignment(const T* address) {  // in elements, from a multiple of 16 bytes
  return static_cast<int>(reinterpret_cast<uintptr_t>(address) % 16 / sizeof(T));
}

// The aligned 16-byte words of `count` elements from `from` on: behind how many elements the first
// one begins, and how many there are.
template <typename T, typename Count>
struct Words {
  static constexpr int kElements = 16 / sizeof(T);
  int before;
  Count count;

  __device__ Words(const T* from, Count elements)
      : before(-Misalignment(from) & (kElements - 1)), count((elements - before) / kElements) {}
};

// Calls word(k) for each k below `words`, of the threads in turn and four of a thread at a time.
template <int threads, typename Count, typename Word>
__device__ void EachWord(Count words, const Word& word) {
  constexpr int kAtOnce = 4;
#pragma unroll 1
  for (Count first = threadIdx.x; first < words; first += kAtOnce * threads) {
    const Count left = words - first;
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k)
      if (k * threads < left) word(first + k * threads);
  }
}

// Calls scalar(k) for each of the elements before those words and behind them.
template <typename T, typename Count, typename Scalar>
__device__ void EachEdge(const T* from, Count count, const Scalar& scalar) {
  constexpr int kPerWord = 16 / sizeof(T);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread >= 2 * kPerWord) return;
  const Words<T, Count> words(from, count);
  const bool in_head = thread < kPerWord;
  const Count k = in_head ? thread : words.before + words.count * kPerWord + (thread - kPerWord);
  if (k < count && (k < words.before) == in_head) scalar(k);  // without a word, all is head
}

// Begin to copy to shared memory: complete for this thread after FinishLoads(), and for the others
// after a barrier behind it. `from` and `to` must lie alike between multiples of 16 bytes. The
// edges of 16-bit elements are waited for at once: begin them behind the words of all spans.
template <int threads, typename T>
__device__ void BeginWords(const T* from, T* to, int count) {
  const Words<T, int> words(from, count);
  const auto* const in = reinterpret_cast<const uint4*>(from + words.before);
  auto* const out = reinterpret_cast<uint4*>(to + words.before);
  EachWord<threads>(words.count, [=](int k) { __pipeline_memcpy_async(out + k, in + k, 16); });
}
template <typename T>
__device__ void BeginEdges(const T* from, T* to, int count) {
  EachEdge(from, count, [=](int k) {
    if constexpr (sizeof(T) >= 4) {
      __pipeline_memcpy_async(to + k, from + k, sizeof(T));
    } else {
      to[k] = from[k];
    }
  });
}
__device__ inline void FinishLoads() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
}

// From shared memory, lying alike.
template <int threads, typename T>
__device__ void Store(const T* from, T* to, int count) {
  const Words<T, int> words(to, count);
  const auto* const in = reinterpret_cast<const uint4*>(from + words.before);
  auto* const out = reinterpret_cast<uint4*>(to + words.before);
  EachWord<threads>(words.count, [=](int k) { out[k] = in[k]; });
  EachEdge(to, count, [=](int k) { to[k] = from[k]; });
}

}  // namespace yolov1
