// What the bindings share: pybind11, errors and threads.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace yolov1 {

namespace py = pybind11;

// The calls of the table's ops, into the module.
void BindCalls(py::module_& module);

inline void Check(const std::string& error) {
  if (!error.empty()) throw py::value_error(error);
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
