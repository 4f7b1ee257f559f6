// XLA's foreign function interface as the ops' handlers use it. Its headers need the standard
// library alone and its calling convention is stable: one object serves TensorFlow and JAX.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/ffi_targets.h"
#include "xla/ffi/api/ffi.h"

namespace yolov1 {

namespace ffi = xla::ffi;

// Adds a handler to the table when the library is loaded.
struct FfiRegistration {
  FfiRegistration(const char* name, const char* platform, XLA_FFI_Handler* handler) {
    FfiTargets().push_back({name, platform, reinterpret_cast<void*>(handler)});
  }
};

inline std::vector<int64_t> Sizes(const ffi::AnyBuffer& buffer) {
  return {buffer.dimensions().begin(), buffer.dimensions().end()};
}

// The framework-free name of a dtype, where the kernels have it.
inline std::optional<DType> ToDType(ffi::DataType type) {
  switch (type) {
    case ffi::F32:
      return DType::kFloat;
    case ffi::F64:
      return DType::kDouble;
    case ffi::F16:
      return DType::kHalf;
    case ffi::BF16:
      return DType::kBfloat16;
    default:
      return std::nullopt;
  }
}

// Runs work(begin, end) over parts of [0, count) on the calling thread and on XLA's own. `cost` is
// the nanoseconds that one unit takes. The caller waits for nothing but parts that another thread
// has begun, as it may itself be the last free thread of the pool.
template <typename Work>
void ParallelFor(ffi::ThreadPool& pool, int64_t count, int64_t cost, Work work) {
  constexpr int64_t kLeastCost = 10000;  // nanoseconds that are worth another thread
  const int64_t threads = std::min(pool.num_threads(), count * cost / kLeastCost);
  if (threads <= 1) return work(int64_t{0}, count);
  // A few parts for each thread, as some start late. Multiples of 8 units end on a cache line.
  const int64_t size = (count / (4 * threads) + 8) / 8 * 8;
  struct Progress {
    std::atomic<int64_t> begun{0}, done{0};  // units
  };
  const auto progress = std::make_shared<Progress>();
  const auto run = [=] {
    for (int64_t begin; (begin = progress->begun.fetch_add(size)) < count;) {
      const int64_t end = std::min(begin + size, count);
      work(begin, end);
      progress->done.fetch_add(end - begin);
    }
  };
  for (int64_t k = 1; k < threads; ++k) pool.Schedule([run] { run(); });
  run();
  while (progress->done.load() < count) std::this_thread::yield();
}

}  // namespace yolov1
