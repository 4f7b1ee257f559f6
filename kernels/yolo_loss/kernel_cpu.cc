// The fused YOLO loss on the CPU. kernels/README.md has the ladder of versions and their times.
#include <algorithm>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------------- one image

template <bool with_gradient, typename Buffers, typename A>
YOLOV1_HOST_DEVICE void Image(const Buffers& args, const CellStrides& strides,
                              const LossScale<A>& scale, int64_t image) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
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

template <bool with_gradient, typename Buffers>
YOLOV1_HOST_DEVICE void Images(const Buffers& args, int64_t begin, int64_t end) {
  const CellStrides strides(args.grid, args.layout);
  const LossScale<typename Buffers::A> scale(args.semantics, args.upstream);
  for (int64_t image = begin; image < end; ++image)
    Image<with_gradient>(args, strides, scale, image);
}

template <typename A>
void Mean(const YoloLossArgs& args, void* mean) {
  double sum = 0;
  for (int64_t image = 0; image < args.images; ++image)
    sum += static_cast<const A*>(args.loss)[image];
  *static_cast<A*>(mean) = static_cast<A>(sum * args.upstream());
}

}  // namespace

YOLOV1_SIMD void YoloLossCpu(const YoloLossArgs& args, int64_t begin, int64_t end) {
  WithTypes(args, [&](auto buffers) __attribute__((always_inline)) {
    buffers.gradient != nullptr ? Images<true>(buffers, begin, end)
                                : Images<false>(buffers, begin, end);
  });
}

void YoloLossMean(const YoloLossArgs& args, void* mean) {
  args.type == DType::kDouble ? Mean<double>(args, mean) : Mean<float>(args, mean);
}

bool YoloLossSupports(DType predictions, DType targets) {
  YoloLossArgs args;
  args.type = predictions;
  args.target_type = targets;
  return WithTypes(args, [](auto) {});
}

int64_t YoloLossCpuCost(const YoloLossArgs& args) {
  // 250 ns an image at S=7, B=2, C=20 kept two threads busy without over-splitting small batches.
  return 250 * args.config.grid.flat_size() / (7 * 7 * 30) + 1;
}

}  // namespace yolov1
