// Arrays in device memory, of whatever library: what a DLPack capsule tells of one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/bindings/arrays.h"

namespace yolov1 {

// It does not keep the array alive: that is its owner's to do until the stream has come that far.
struct DeviceArray {
  uintptr_t pointer = 0;
  std::vector<int64_t> shape;
  std::string dtype;  // by NumPy's name
  int device = -1;    // its number; -1: unknown
  bool read_only = false;

  template <typename T = void>
  T* data() const {
    return reinterpret_cast<T*>(pointer);
  }
};

// The array of a capsule named "dltensor" or "dltensor_versioned", which is used up.
DeviceArray FromDlpack(const py::capsule& capsule);

void BindDeviceArrays(py::module_& module);

inline DType ToDType(const char* op, const DeviceArray& array) {
  for (auto [known, type] : {std::pair{"float32", DType::kFloat},
                             {"float64", DType::kDouble},
                             {"float16", DType::kHalf},
                             {"bfloat16", DType::kBfloat16}})
    if (array.dtype == known) return type;
  throw py::type_error(std::string(op) + ": unknown dtype " + array.dtype);
}

// A launch's complaint as a RuntimeError.
inline void CheckLaunch(const std::string& error) {
  if (!error.empty()) throw std::runtime_error(error);
}

}  // namespace yolov1
