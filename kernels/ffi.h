// XLA's foreign function interface as the ops' handlers use it. Its headers need the standard
// library alone and its calling convention is stable: one object serves TensorFlow and JAX.
#pragma once

#include <optional>
#include <string>
#include <string_view>
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

template <typename Buffer>  // ffi::AnyBuffer, or one of a known dtype
std::vector<int64_t> Sizes(const Buffer& buffer) {
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

// Of what a launch returns: "", or what is wrong.
inline ffi::Error Launched(const std::string& wrong) {
  return wrong.empty() ? ffi::Error::Success() : ffi::Error::Internal(wrong);
}

// Parsing takes a microsecond, as much as a few images: each thread keeps its last configuration.
template <auto parse, typename Config>
std::string ReadConfig(std::string_view text, Config* config) {
  thread_local std::string last_text;
  thread_local Config last;
  if (text.empty() || text != last_text) {
    const std::string error = parse(text, &last);
    last_text = error.empty() ? text : "";
    if (!error.empty()) return error;
  }
  *config = last;
  return "";
}

// Runs work(begin, end) over parts of [0, count), on XLA's own threads too (kernels/parallel.h).
template <typename Work>
void ShareOut(ffi::ThreadPool& pool, int64_t count, int64_t cost, Work work) {
  ShareOut(pool.num_threads(), count, cost, [&](auto run) { pool.Schedule(std::move(run)); }, work);
}

}  // namespace yolov1
