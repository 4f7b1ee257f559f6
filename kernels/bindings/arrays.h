// What the bindings share: pybind11, errors and threads.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace yolov1 {

namespace py = pybind11;

// The calls of the table's ops, into the module.
void BindCalls(py::module_& module);

inline void Check(const std::string& error) {
  if (!error.empty()) throw py::value_error(error);
}

// Runs work(begin, end) over equal parts of [0, count), one for each thread.
template <typename Work>
void RunThreads(int64_t threads, int64_t count, const Work& work) {
  constexpr int64_t kMostThreads = 256;  // one that cannot be made would end the process
  threads = std::max<int64_t>(1, std::min({threads, count, kMostThreads}));
  const auto bound = [&](int64_t k) { return count * k / threads; };
  std::vector<std::thread> pool;
  for (int64_t k = 1; k < threads; ++k) pool.emplace_back([&, k] { work(bound(k), bound(k + 1)); });
  work(0, bound(1));
  for (auto& thread : pool) thread.join();
}

}  // namespace yolov1
