// What the bindings of all ops share: NumPy arrays and threads.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/core/dtype.h"

namespace yolov1 {

namespace py = pybind11;

// Each op's functions into the module.
void BindYoloLoss(py::module_& module);
void BindBoxIou(py::module_& module);
void BindNms(py::module_& module);

inline void Check(const std::string& error) {
  if (!error.empty()) throw py::value_error(error);
}

inline std::vector<int64_t> Sizes(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

inline DType ToDType(const char* op, const std::string& name) {  // by NumPy's name
  for (auto [known, type] : {std::pair{"float32", DType::kFloat},
                             {"float64", DType::kDouble},
                             {"float16", DType::kHalf},
                             {"bfloat16", DType::kBfloat16}})
    if (name == known) return type;
  throw py::type_error(std::string(op) + ": unknown dtype " + name);
}
inline DType ToDType(const char* op, const py::array& array) {
  return ToDType(op, std::string(py::str(array.dtype().attr("name"))));
}

// The place of `version` in `versions`; the first for "".
inline int FindVersion(const char* op, const std::vector<std::string>& versions,
                       const std::string& version) {
  const auto found = std::find(versions.begin(), versions.end(), version);
  if (!version.empty() && found == versions.end()) {
    std::string expected;
    for (const std::string& name : versions) expected += (expected.empty() ? "" : ", ") + name;
    throw py::value_error(std::string(op) + ": this processor's kernel versions are " + expected +
                          ", got " + version + ".");
  }
  return version.empty() ? 0 : static_cast<int>(found - versions.begin());
}

// Runs work(begin, end), which throws nothing, over equal parts of [0, count), one for each thread.
// Parts whose thread cannot be made are done by the calling one.
template <typename Work>
void RunThreads(int64_t threads, int64_t count, const Work& work) {
  constexpr int64_t kMostThreads = 256;
  threads = std::max<int64_t>(1, std::min({threads, count, kMostThreads}));
  const auto bound = [&](int64_t k) { return count * k / threads; };
  std::vector<std::thread> pool;
  pool.reserve(threads);
  int64_t next = 1;  // the first part that has no thread
  try {
    for (; next < threads; ++next)
      pool.emplace_back([&, k = next] { work(bound(k), bound(k + 1)); });
  } catch (const std::system_error&) {
  }
  work(0, bound(1));
  if (next < threads) work(bound(next), count);
  for (auto& thread : pool) thread.join();
}

}  // namespace yolov1
