// The levels of SIMD that kernel_simd.cc is compiled for.
#pragma once

#include <cstdint>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {

// Images [begin, end). `large`: the batch does not stay in the caches, so memory is asked for
// ahead, and the gradient is written past them. False, with nothing computed, where there was no
// memory to work in.
using YoloLossSimd = bool(const YoloLossArgs& args, int64_t begin, int64_t end, bool large);

namespace baseline {
YoloLossSimd YoloLossLanes;
}
namespace avx2 {
YoloLossSimd YoloLossLanes;
}
namespace avx512 {
YoloLossSimd YoloLossLanes;
}

}  // namespace yolov1
