// The fused YOLO loss, without any framework: configuration, arguments and launch functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/cell_loss.h"
#include "kernels/core/dtype.h"
#include "kernels/core/grid.h"
#include "kernels/core/objects.h"
#include "kernels/core/one_cell.h"
#include "kernels/op.h"

namespace yolov1 {

enum class Reduction {
  kNone,      // a loss for each image; the gradient is that of their sum
  kMean,      // the batch mean, and its gradient
  kMeanLoss,  // the batch mean, but the gradient of the sum: divided by N, float16 would underflow
};

// What is the same for every batch.
struct YoloLossConfig {
  Grid grid = {};
  Layout layout = Layout::kCells;
  Reduction reduction = Reduction::kNone;
  LossSemantics semantics;
  Activations activations;                         // of what comes in as predictions
  OnCollision on_collision = OnCollision::kFirst;  // of objects given as boxes

  bool mean() const { return reduction != Reduction::kNone; }
};

// Reads the one text that every caller configures the loss with, as yolov1/kernels/ writes it:
// "S=7 B=2 C=20 layout=cells reduction=none weight_xy=5.0 ... box=squared". All of these keys are
// needed; those of activations, on_collision, confidence_loss and class_loss are not. Returns "",
// or what is wrong.
std::string ParseYoloLossConfig(std::string_view text, YoloLossConfig* config);

// Whether the shapes fit the configuration and each other. Returns "", or what is wrong.
std::string CheckYoloLossShapes(const YoloLossConfig& config, const Shape& predictions,
                                const Shape& targets);
// The same for objects as boxes; `valid` is the shape of the counts or of the mask.
std::string CheckYoloLossBoxes(const YoloLossConfig& config, const Shape& predictions,
                               const Shape& boxes, const Shape& labels, const Shape& valid);

// Sums, loss and terms are float, or double for double predictions. Targets are of the dtype of
// the predictions, or float where those are of 16 bits.
struct YoloLossArgs {
  YoloLossConfig config;
  int64_t images = 0;  // N
  DType type = DType::kFloat;
  DType target_type = DType::kFloat;
  const void* predictions = nullptr;  // [N, S, S, D] or [N, L * D], by layout
  const void* targets = nullptr;      // [N, S, S, C + 5], or null:
  ObjectBoxes boxes;                  // what they are encoded from; `target_type` is that of sums
  void* loss = nullptr;               // [N], with a mean too
  void* terms = nullptr;              // [N, 5]: xy, wh, object, no_object, class
  void* gradient = nullptr;           // like predictions, or null: then none is computed; on a CPU
                                      // it may be the predictions themselves

  // What makes a mean of a sum, and what the gradient is multiplied by.
  double one_image() const { return images > 0 ? 1.0 / images : 1.0; }
  double upstream() const { return config.reduction == Reduction::kMean ? one_image() : 1.0; }
};

// Objects as boxes: float boxes [N, most, 4], int32 labels [N, most], and an int32 count [N] or a
// bool mask [N, most].
inline void SetBoxes(int64_t most, const void* boxes, const void* labels, const void* valid,
                     bool is_mask, YoloLossArgs* args) {
  args->boxes.most = most;
  args->boxes.boxes_cxcywh = static_cast<const float*>(boxes);
  args->boxes.labels = static_cast<const int32_t*>(labels);
  if (is_mask)
    args->boxes.mask = static_cast<const bool*>(valid);
  else
    args->boxes.count = static_cast<const int32_t*>(valid);
  args->target_type = args->type == DType::kDouble ? DType::kDouble : DType::kFloat;
}

// Whether there is a kernel for these dtypes.
bool YoloLossSupports(DType predictions, DType targets);

// Images [begin, end) on the calling thread. Each image's result depends on that image alone, so
// any split of the batch gives the same bits. `version` is a place in YoloLossVersions().
void YoloLossCpu(const YoloLossArgs& args, int64_t begin, int64_t end, int version = 0);

// The versions of the CPU kernel that this processor can run, the best first: a level of SIMD each,
// all of the same bits, and "naive", whose sums have another order.
std::vector<std::string> YoloLossVersions();

// The mean of args.loss [N] into *mean (float or double like it; 0 for an empty batch): the last
// step of reduction="mean", on one thread and in order, so that the bits are always the same.
void YoloLossMean(const YoloLossArgs& args, void* mean);

// Nanoseconds that an image takes on one core, roughly: what a thread pool wants to know.
int64_t YoloLossCpuCost(const YoloLossArgs& args);

// The gradient [images, size] of `type` times what comes from above (float, or double like the
// gradient): one value, or one for each image. `product` may be `gradient` itself, and then on
// a GPU an upstream gradient of 1 leaves nothing to do.
struct YoloLossScaleArgs {
  DType type = DType::kFloat;
  int64_t images = 0, size = 0;
  bool scalar = false;
  const void* upstream = nullptr;
  const void* gradient = nullptr;
  void* product = nullptr;
};

// Images [begin, end) of the product; all versions have the same bits.
void YoloLossScaleCpu(const YoloLossScaleArgs& args, int64_t begin, int64_t end, int version = 0);

// ---------------------------------------------------------------------------------- on a GPU
//
// Where the build has CUDA (YOLOV1_CUDA). All pointers are to device memory, `stream` is a
// cudaStream_t. A call queues kernels and neither allocates nor waits, so a CUDA graph may record
// it. Returns "", or what is wrong.

// All images in one launch: the same bits each time, but not those of the CPU. `mean`: where the
// mean of args.loss goes where the configuration asks for one, else not used. Two calls that write
// to one `mean` must not run at the same time. `version` is a place in YoloLossCudaVersions().
std::string YoloLossCuda(const YoloLossArgs& args, void* mean, void* stream, int version = 0);

// The versions of the CUDA kernel, the best first.
std::vector<std::string> YoloLossCudaVersions();

// As YoloLossScaleCpu.
std::string YoloLossScaleCuda(const YoloLossScaleArgs& args, void* stream);

// ----------------------------------------------------------------------------- inside the kernels

// The arguments with their types. T: predictions and gradient, U: targets, A: sums, loss and terms.
template <typename T_, typename U_, typename A_ = typename Sum<T_>::Type>
struct YoloLossBuffers {
  using T = T_;
  using U = U_;
  using A = A_;
  Grid grid;
  Layout layout;
  LossSemantics semantics;
  Activations activations;
  OnCollision on_collision;
  double upstream;
  const T* predictions;
  const U* targets;  // null where there are boxes
  ObjectBoxes boxes;
  A* loss;
  A* terms;
  T* gradient;

  explicit YoloLossBuffers(const YoloLossArgs& args)
      : grid(args.config.grid),
        layout(args.config.layout),
        semantics(args.config.semantics),
        activations(args.config.activations),
        on_collision(args.config.on_collision),
        upstream(args.upstream()),
        predictions(static_cast<const T*>(args.predictions)),
        targets(static_cast<const U*>(args.targets)),
        boxes(args.boxes),
        loss(static_cast<A*>(args.loss)),
        terms(static_cast<A*>(args.terms)),
        gradient(static_cast<T*>(args.gradient)) {}
};

// Calls function(YoloLossBuffers<T, U>) for the dtypes of `args`; false where there is no kernel.
template <typename Function>
bool WithTypes(const YoloLossArgs& args, Function&& function) {
  const bool same = args.type == args.target_type, from_float = args.target_type == DType::kFloat;
  switch (args.type) {
    case DType::kFloat:
      return same && (function(YoloLossBuffers<float, float>(args)), true);
    case DType::kDouble:
      return same && (function(YoloLossBuffers<double, double>(args)), true);
    case DType::kHalf:
      if (same) return function(YoloLossBuffers<Half, Half>(args)), true;
      return from_float && (function(YoloLossBuffers<Half, float>(args)), true);
    case DType::kBfloat16:
      if (same) return function(YoloLossBuffers<Bfloat16, Bfloat16>(args)), true;
      return from_float && (function(YoloLossBuffers<Bfloat16, float>(args)), true);
    default:
      return false;
  }
}

}  // namespace yolov1
