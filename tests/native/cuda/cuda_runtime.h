// As much of CUDA as kernels/ uses, on the host: a .cu file compiled by a C++ compiler with this
// folder before the CUDA toolkit runs its kernels here, block after block, each thread of a block
// on a stack of its own. So machines without a GPU can test what the threads do together, and the
// sanitizers can watch them.
//
// A warp runs until all its threads have to wait for others, and only then the next one; in which
// order is chosen by YOLOV1_CUDA_ORDER ("forward", "backward" or "shuffled": of threads, warps and
// blocks). A kernel whose result depends on that has a race. Threads that wait for each other in
// different places end the process. The address sanitizer is told of each change of stack.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/native/cuda/context.h"

#if defined(__SANITIZE_ADDRESS__)  // GCC's word for it
#define CUDA_ON_HOST_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)  // Clang's
#define CUDA_ON_HOST_ASAN
#endif
#endif
#if defined(CUDA_ON_HOST_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__ static
#define __device__
#define __host__
#define __shared__ thread_local
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)

// ------------------------------------------------------------------------------------------- types

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread that runs

// ------------------------------------------------------------------------------ threads on the
// host

namespace yolov1 {
inline constexpr size_t kMostSharedBytes = 48 << 10;
alignas(16) inline thread_local unsigned char shared_memory[kMostSharedBytes];
}  // namespace yolov1

namespace cuda_on_host {

inline void Require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "cuda_on_host: a kernel must have %s.\n", what);
  abort();
}

constexpr unsigned kWarpSize = 32;
constexpr size_t kStackBytes = 256 << 10;

enum class Wait { kNothing, kBlock, kWarp, kEnd };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct ThreadState {
  Context context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  unsigned number = 0;  // in the block
  Wait wait = Wait::kNothing;
  unsigned mask = 0;  // of the lanes that wait for each other
  // What the other lanes may read. Two, in turn: a lane can be one exchange ahead, not more.
  unsigned char exchanged[2][8];
  unsigned exchanges = 0;
  std::vector<Copy> copies;  // begun and not waited for
#if defined(CUDA_ON_HOST_ASAN)
  void* fake_stack = nullptr;
#endif
};

struct BlockState {
  size_t shared_bytes = 0;
  std::vector<std::unique_ptr<ThreadState>> threads;
  ThreadState* current = nullptr;
  bool refused = false;  // by a thread of a vote
  Context scheduler;
  void (*run)(void*) = nullptr;  // the kernel, with its arguments
  void* arguments = nullptr;
#if defined(CUDA_ON_HOST_ASAN)
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
#endif
};

inline BlockState& Block() {
  static thread_local BlockState block;
  return block;
}
inline ThreadState& Thread() { return *Block().current; }

inline bool InSharedMemory(const void* address, size_t bytes) {
  const auto* at = static_cast<const unsigned char*>(address);
  return at >= yolov1::shared_memory && at + bytes <= yolov1::shared_memory + Block().shared_bytes;
}

// Back to the scheduler, until what this thread waits for has come.
inline void Pause(Wait wait, unsigned mask = 0) {
  BlockState& block = Block();
  ThreadState& thread = *block.current;
  thread.wait = wait;
  thread.mask = mask;
#if defined(CUDA_ON_HOST_ASAN)
  __sanitizer_start_switch_fiber(wait == Wait::kEnd ? nullptr : &thread.fake_stack,
                                 block.scheduler_stack, block.scheduler_stack_bytes);
#endif
  Change(&thread.context, &block.scheduler);
#if defined(CUDA_ON_HOST_ASAN)
  __sanitizer_finish_switch_fiber(thread.fake_stack, &block.scheduler_stack,
                                  &block.scheduler_stack_bytes);
#endif
}

inline void RunThread() {
  BlockState& block = Block();
#if defined(CUDA_ON_HOST_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
  block.run(block.arguments);
  Require(block.current->copies.empty(), "waited for its copies before it ends");
  Pause(Wait::kEnd);
}

inline void Resume(ThreadState* thread) {
  BlockState& block = Block();
  block.current = thread;
  threadIdx = dim3(thread->number, 0, 0);
#if defined(CUDA_ON_HOST_ASAN)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, thread->stack.get(), kStackBytes);
#endif
  Change(&block.scheduler, &thread->context);
#if defined(CUDA_ON_HOST_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

using Threads = std::vector<std::unique_ptr<ThreadState>>;

// Lets go the threads of a block if all of them, but those that have ended, wait at a barrier.
inline void ReleaseBlock(const Threads& threads) {
  for (const auto& thread : threads)
    if (thread->wait != Wait::kBlock && thread->wait != Wait::kEnd) return;
  for (const auto& thread : threads)
    if (thread->wait == Wait::kBlock) thread->wait = Wait::kNothing;
}

// The same of the lanes of a warp [first, end), each of which waits for those of its mask.
inline void ReleaseWarp(const Threads& threads, size_t first, size_t end) {
  for (size_t k = first; k < end; ++k) {
    if (threads[k]->wait != Wait::kWarp) continue;
    const unsigned mask = threads[k]->mask;
    bool met = true;
    for (size_t other = first; other < end; ++other) {
      const bool waits = threads[other]->wait == Wait::kWarp && threads[other]->mask == mask;
      if (mask >> (other - first) & 1) met &= waits;
    }
    for (size_t other = first; met && other < end; ++other)
      if (mask >> (other - first) & 1) threads[other]->wait = Wait::kNothing;
  }
}

inline const std::string& Order() {
  static const std::string order = [] {
    const char* name = getenv("YOLOV1_CUDA_ORDER");
    return std::string(name == nullptr ? "forward" : name);
  }();
  return order;
}

inline std::vector<size_t> InOrder(size_t count) {
  std::vector<size_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), size_t{0});
  static thread_local std::mt19937 generator(1);
  if (Order() == "backward") std::reverse(numbers.begin(), numbers.end());
  if (Order() == "shuffled") std::shuffle(numbers.begin(), numbers.end(), generator);
  return numbers;
}

// Runs a warp until no lane can go on; false if none could.
inline bool RunWarp(size_t first) {
  const Threads& threads = Block().threads;
  const size_t end = std::min<size_t>(first + kWarpSize, threads.size());
  bool ran = false;
  for (bool again = true; again; ReleaseWarp(threads, first, end)) {
    again = false;
    for (size_t lane : InOrder(end - first)) {
      if (threads[first + lane]->wait != Wait::kNothing) continue;
      Resume(threads[first + lane].get());
      ran = again = true;
    }
  }
  return ran;
}

inline void RunBlock(unsigned number) {
  BlockState& block = Block();
  blockIdx = dim3(number, 0, 0);
  memset(yolov1::shared_memory, 0xcd, sizeof yolov1::shared_memory);  // nobody has cleared it
#if defined(CUDA_ON_HOST_ASAN)
  __asan_poison_memory_region(yolov1::shared_memory + block.shared_bytes,
                              sizeof yolov1::shared_memory - block.shared_bytes);
#endif
  while (block.threads.size() < blockDim.x) block.threads.emplace_back(new ThreadState);
  block.threads.resize(blockDim.x);
  for (unsigned k = 0; k < blockDim.x; ++k) {
    ThreadState& thread = *block.threads[k];
    thread.number = k;
    thread.exchanges = 0;
    thread.wait = Wait::kNothing;
#if defined(CUDA_ON_HOST_ASAN)  // what the last thread on it has left
    __asan_unpoison_memory_region(thread.stack.get(), kStackBytes);
#endif
    Begin(&thread.context, thread.stack.get(), kStackBytes, RunThread);
  }
  const size_t warps = (block.threads.size() + kWarpSize - 1) / kWarpSize;
  for (bool ran = true; ran; ReleaseBlock(block.threads)) {
    ran = false;
    for (size_t warp : InOrder(warps)) ran |= RunWarp(warp * kWarpSize);
  }
  for (const auto& thread : block.threads)
    Require(thread->wait == Wait::kEnd, "threads that wait for each other in the same place");
#if defined(CUDA_ON_HOST_ASAN)
  __asan_unpoison_memory_region(yolov1::shared_memory, sizeof yolov1::shared_memory);
#endif
}

// Hands `value` to the lanes of `mask` and waits for theirs: which of the two exchanges it is.
template <typename T>
unsigned Exchange(unsigned mask, const T& value) {
  static_assert(sizeof(T) <= sizeof ThreadState::exchanged[0], "at most 8 bytes");
  ThreadState& thread = Thread();
  Require(mask >> thread.number % kWarpSize & 1, "only lanes of the mask in an exchange");
  const unsigned turn = thread.exchanges++ % 2;
  memcpy(thread.exchanged[turn], &value, sizeof value);
  Pause(Wait::kWarp, mask);
  return turn;
}

// What a lane of this thread's warp handed over.
template <typename T>
T Exchanged(unsigned lane, unsigned turn) {
  const unsigned first = Thread().number / kWarpSize * kWarpSize;
  T value;
  memcpy(&value, Block().threads[first + lane]->exchanged[turn], sizeof value);
  return value;
}

}  // namespace cuda_on_host

// ----------------------------------------------------------------------------- inside the kernels

inline void __syncthreads() { cuda_on_host::Pause(cuda_on_host::Wait::kBlock); }
inline int __syncthreads_and(int predicate) {
  bool& refused = cuda_on_host::Block().refused;
  refused |= predicate == 0;
  __syncthreads();
  const int all = !refused;
  __syncthreads();  // all have read it
  refused = false;
  __syncthreads();  // and nobody is a vote ahead
  return all;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_on_host::Pause(cuda_on_host::Wait::kWarp, mask);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
  const unsigned from = threadIdx.x % cuda_on_host::kWarpSize ^ static_cast<unsigned>(lanes);
  cuda_on_host::Require(from < cuda_on_host::kWarpSize && (mask >> from & 1),
                        "sources within the mask");
  return cuda_on_host::Exchanged<T>(from, cuda_on_host::Exchange(mask, value));
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  const unsigned from = static_cast<unsigned>(lane);
  cuda_on_host::Require(from < cuda_on_host::kWarpSize && (mask >> from & 1),
                        "sources within the mask");
  return cuda_on_host::Exchanged<T>(from, cuda_on_host::Exchange(mask, value));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned turn = cuda_on_host::Exchange(mask, predicate);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < cuda_on_host::kWarpSize; ++lane)
    if (mask >> lane & 1 && cuda_on_host::Exchanged<int>(lane, turn)) ballot |= 1u << lane;
  return ballot;
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline void __threadfence() {}
inline unsigned atomicInc(unsigned* at, unsigned most) {
  const unsigned before = *at;
  *at = before >= most ? 0 : before + 1;
  return before;
}
template <typename T>
T __ldcg(const T* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  cuda_on_host::Require(reinterpret_cast<uintptr_t>(to) % sizeof(T) == 0, "aligned stores");
  *to = value;
}
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float value) { return value > 0 ? value < 1 ? value : 1.f : 0.f; }
template <typename T>
void __stwb(T* to, T value) {
  *to = value;
}

// ---------------------------------------------------------------------------------- the runtime

#define CUDART_VERSION 13000

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
};
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
typedef void* cudaStream_t;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

inline const char* cudaGetErrorName(cudaError_t) { return "an error of the host"; }
inline const char* cudaGetErrorString(cudaError_t) { return "there is no CUDA here"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 12040, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 6 : 1;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  memset(at, value, bytes);
  return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  cuda_on_host::BlockState& block = cuda_on_host::Block();
  const bool fits = config->gridDim.x >= 1 && config->gridDim.x <= 0x7fffffff &&
                    config->blockDim.x >= 1 && config->blockDim.x <= 1024 &&
                    config->dynamicSmemBytes <= yolov1::kMostSharedBytes;
  if (!fits) return cudaErrorInvalidValue;
  auto call = [&] { kernel(arguments...); };
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  block.shared_bytes = config->dynamicSmemBytes;
  block.run = [](void* call_of_kernel) { (*static_cast<decltype(call)*>(call_of_kernel))(); };
  block.arguments = &call;
  for (size_t k : cuda_on_host::InOrder(config->gridDim.x))
    cuda_on_host::RunBlock(static_cast<unsigned>(k));
  return cudaSuccess;
}
