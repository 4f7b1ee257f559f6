// The table of functions that XLA may call: each op's ffi.cc adds its own, the TensorFlow op
// library and the NumPy module (for JAX) hand them out.
#pragma once

#include <vector>

namespace yolov1 {

struct FfiTarget {
  const char* name;      // what a custom call names: "Yolov1>YoloLoss"
  const char* platform;  // "Host" or "CUDA"
  void* handler;         // an XLA_FFI_Handler
};

inline std::vector<FfiTarget>& FfiTargets() {
  static std::vector<FfiTarget> targets;
  return targets;
}

}  // namespace yolov1
