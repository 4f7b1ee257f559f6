// From what size on memory is written past the caches.
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/op.h"

namespace yolov1 {

// What a call reads and writes, in bytes, from which on it does not stay in the caches: three
// quarters of the last one. Measured where it has 32 MB: at 17 MB writing past it took 1.3 times as
// long, at 34 MB 0.85 times, at 68 MB 0.8 times; where it has 260 MB: 1.18 times at 68 MB, 0.75
// times at 273 MB. Tests set it: results have the same bits either way.
YOLOV1_EXPORT std::atomic<int64_t>& StreamingBound();

}  // namespace yolov1
