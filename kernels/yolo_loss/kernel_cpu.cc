// The fused YOLO loss on the CPU. kernels/README.md has the ladder of versions and their times.
#include <algorithm>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------------- one image

template <bool with_gradient, typename T, typename U, typename A>
YOLOV1_HOST_DEVICE void Image(const YoloLossArgs<T, U, A>& args, const CellStrides& strides,
                              const LossScale<A>& scale, int64_t image) {
  const Grid& grid = args.grid;
  const T* predictions = args.predictions + image * grid.flat_size();
  const U* target = args.targets + image * grid.flat_target_size();
  T* gradient = with_gradient ? args.gradient + image * grid.flat_size() : nullptr;
  if (with_gradient) std::fill_n(gradient, grid.flat_size(), T(0));

  Terms<A> sum = {};
  for (int64_t cell = 0; cell < grid.cells(); ++cell, target += grid.target_channels()) {
    AddCellLoss<with_gradient>(grid, args.semantics, scale, strides.At(predictions, cell), target,
                               with_gradient ? strides.At(gradient, cell) : Cell<T>{}, &sum);
  }
  WriteTerms(scale, sum, args.terms + image * kTerms, args.loss + image);
}

template <bool with_gradient, typename T, typename U, typename A>
YOLOV1_HOST_DEVICE void Images(const YoloLossArgs<T, U, A>& args, int64_t begin, int64_t end) {
  const CellStrides strides(args.grid, args.layout);
  const LossScale<A> scale(args.semantics, args.upstream);
  for (int64_t image = begin; image < end; ++image)
    Image<with_gradient>(args, strides, scale, image);
}

// -------------------------------------------------------------------------------------- dispatch

template <typename Args>
YOLOV1_HOST_DEVICE void Dispatch(const Args& args, int64_t begin, int64_t end) {
  args.gradient != nullptr ? Images<true>(args, begin, end) : Images<false>(args, begin, end);
}

YOLOV1_SIMD void DispatchFloat(const YoloLossArgs<float>& args, int64_t begin, int64_t end) {
  Dispatch(args, begin, end);
}

YOLOV1_SIMD void DispatchDouble(const YoloLossArgs<double>& args, int64_t begin, int64_t end) {
  Dispatch(args, begin, end);
}

}  // namespace

void YoloLossCpu(const YoloLossArgs<float>& args, int64_t begin, int64_t end) {
  DispatchFloat(args, begin, end);
}

void YoloLossCpu(const YoloLossArgs<double>& args, int64_t begin, int64_t end) {
  DispatchDouble(args, begin, end);
}

int64_t YoloLossCpuCost(const Grid& grid) {
  // 250 ns an image at S=7, B=2, C=20 kept two threads busy without over-splitting small batches.
  return 250 * grid.flat_size() / (7 * 7 * 30) + 1;
}

}  // namespace yolov1
