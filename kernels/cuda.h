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

// ------------------------------------------------------------------------------------------ spans
//
// Each by all threads of a block.

template <typename T>
__device__ int Misalignment(const T* address) {  // in elements, from a multiple of 16 bytes
  return static_cast<int>(reinterpret_cast<uintptr_t>(address) % 16 / sizeof(T));
}

// Calls vector(k) for each 16-byte word k of `count` elements from `from` on that is aligned, with
// its first element, and scalar(element) for those before and behind.
template <typename T, typename Vector, typename Scalar>
__device__ void EachWord(const T* from, int count, const Vector& vector, const Scalar& scalar) {
  constexpr int kPerWord = 16 / sizeof(T);
  const int threads = static_cast<int>(blockDim.x), thread = static_cast<int>(threadIdx.x);
  const int before = (kPerWord - Misalignment(from)) % kPerWord;
  const int head = before < count ? before : count;
  const int tail = head + (count - head) / kPerWord * kPerWord;
  for (int k = head + thread * kPerWord; k < tail; k += threads * kPerWord) vector(k);
  if (thread < head) scalar(thread);
  if (tail + thread < count) scalar(tail + thread);
}

// Begins to copy to shared memory: complete for this thread after FinishLoads(), and for the others
// after a barrier behind it. `from` and `to` must lie alike between multiples of 16 bytes.
template <typename T>
__device__ void BeginLoad(const T* from, T* to, int count) {
  EachWord(
      from, count, [=](int k) { __pipeline_memcpy_async(to + k, from + k, 16); },
      [=](int k) { to[k] = from[k]; });
}
__device__ inline void FinishLoads() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
}

// From shared memory, lying alike.
template <typename T>
__device__ void Store(const T* from, T* to, int count) {
  EachWord(
      from, count,
      [=](int k) { *reinterpret_cast<uint4*>(to + k) = *reinterpret_cast<const uint4*>(from + k); },
      [=](int k) { to[k] = from[k]; });
}

}  // namespace yolov1
