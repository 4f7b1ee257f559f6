// The fused YOLO loss, without any framework: arguments and launch functions.
#pragma once

#include <cstdint>

#include "kernels/core/cell_loss.h"
#include "kernels/core/grid.h"

namespace yolov1 {

// T: dtype of predictions and gradient, U: of the targets, A: of loss, terms and all sums.
template <typename T, typename U = T, typename A = T>
struct YoloLossArgs {
  Grid grid;
  Layout layout;
  LossSemantics semantics;
  double upstream;       // multiplies the gradient: 1, or 1 / N for a batch mean
  const T* predictions;  // [N, S, S, D] or [N, L * D], by layout
  const U* targets;      // [N, S, S, C + 5]
  A* loss;               // [N]
  A* terms;              // [N, 5]: xy, wh, object, no_object, class
  T* gradient;           // like predictions, or null: then none is computed
};

// Images [begin, end) on the calling thread. Each image's result depends on that image alone, so
// any split of the batch gives the same bits.
void YoloLossCpu(const YoloLossArgs<float>& args, int64_t begin, int64_t end);
void YoloLossCpu(const YoloLossArgs<double>& args, int64_t begin, int64_t end);

// Nanoseconds that an image takes on one core, roughly: what a thread pool wants to know.
int64_t YoloLossCpuCost(const Grid& grid);

// N images of device memory, queued on `stream` (a cudaStream_t). Returns a cudaError_t. Built
// where CUDA is (YOLOV1_CUDA).
int YoloLossCuda(const YoloLossArgs<float>& args, int64_t images, void* stream);
int YoloLossCuda(const YoloLossArgs<double>& args, int64_t images, void* stream);

}  // namespace yolov1
