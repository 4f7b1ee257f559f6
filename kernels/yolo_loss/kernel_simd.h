// The levels of SIMD that kernel_simd.cc is compiled for.
#pragma once

#include <cstdint>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {

// What one level computes, of images [begin, end).
struct YoloLossLevel {
  // `large`: the batch does not stay in the caches, so memory is asked for ahead, and the gradient
  // is written past them. False, with nothing computed, where there was no memory to work in.
  bool (*loss)(const YoloLossArgs& args, int64_t begin, int64_t end, bool large);
  void (*scale)(const YoloLossScaleArgs& args, int64_t begin, int64_t end);
};

namespace baseline {
extern const YoloLossLevel kYoloLoss;
}
namespace avx2 {
extern const YoloLossLevel kYoloLoss;
}
namespace avx512 {
extern const YoloLossLevel kYoloLoss;
}

}  // namespace yolov1
