// XLA's foreign function interface as the ops' handlers use it. Its headers need the standard
// library alone and its calling convention is stable: one object serves TensorFlow and JAX.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/ffi_targets.h"
#include "kernels/parallel.h"
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

// Runs work(begin, end) over parts of [0, count), on XLA's own threads too (kernels/parallel.h).
template <typename Work>
void ParallelFor(ffi::ThreadPool& pool, int64_t count, int64_t cost, Work work) {
  ShareOut(pool.num_threads(), count, cost, [&](auto run) { pool.Schedule(std::move(run)); }, work);
}

}  // namespace yolov1
