// Arrays in device memory, of whatever library: what a DLPack capsule tells of one.
#pragma once

#include <cstdint>
#include <stdexcept>
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

// Runs launch() without Python's lock; what it complains of becomes a RuntimeError.
template <typename Function>
void CheckLaunch(const Function& launch) {
  std::string error;
  {
    py::gil_scoped_release release;
    error = launch();
  }
  if (!error.empty()) throw std::runtime_error(error);
}

}  // namespace yolov1
