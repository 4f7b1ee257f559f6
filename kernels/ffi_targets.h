// The table's ops as functions that XLA may call (ffi.cc): TensorFlow's XLA is told of them by
// xla.cc, JAX by whoever uses it there.
#pragma once

#include <vector>

#include "kernels/op.h"

namespace yolov1 {

struct FfiTarget {
  const char* name;      // what a custom call names: "Yolov1>YoloLoss"
  const char* platform;  // "Host" or "CUDA"
  void* handler;         // an XLA_FFI_Handler
};

// None in a build without XLA.
YOLOV1_EXPORT std::vector<FfiTarget> FfiTargets();

}  // namespace yolov1
