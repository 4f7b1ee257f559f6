// The fused YOLO loss on the CPU: which version runs. kernels/README.md has the ladder of versions
// and their times.
#include <algorithm>

#include "kernels/yolo_loss/kernel.h"
#include "kernels/yolo_loss/kernel_simd.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------------- v1: naive

template <bool with_gradient, typename Buffers>
void NaiveImage(const Buffers& args, int64_t image) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  using A = typename Buffers::A;
  const Grid& grid = args.grid;
  const CellStrides strides(grid, args.layout);
  const LossScale<A> scale(args.semantics, args.upstream);
  const T* predictions = args.predictions + image * grid.flat_size();
  T* gradient = with_gradient ? args.gradient + image * grid.flat_size() : nullptr;

  Terms<A> sum = {};
  for (int64_t cell = 0; cell < grid.cells(); ++cell) {
    const CellView<A, T> view = {strides.At(predictions, cell),
                                 with_gradient ? strides.At(gradient, cell) : Cell<T>{}};
    AnyRow<U> target = {};
    bool object;
    if (args.targets == nullptr) {
      const ImageBoxes boxes(args.boxes, image);
      const int64_t m = ObjectOf(grid, args.on_collision, boxes, cell);
      object = m >= 0;
      if (object) target.object = ObjectRow(grid, boxes, m);
    } else {
      target.row = args.targets + (image * grid.cells() + cell) * grid.target_channels();
      object = !(static_cast<A>(target[grid.target_object_channel()]) == 0);
    }
    if (object) {
      AddObjectCell<with_gradient>(grid, args.semantics, args.activations, scale, view, target,
                                   &sum);
      continue;
    }
    const ActivatedView<A, CellView<A, T>> seen = {view, args.activations};
    AddEmptyCell<with_gradient>(grid, scale, seen, &sum);
    if (!with_gradient) continue;
    std::fill_n(view.gradient.classes, grid.C, T(0));
    std::fill_n(view.gradient.boxes, 4 * grid.B, T(0));
  }
  WriteTerms(scale, sum, args.terms + image * kTerms, args.loss + image);
}

bool Naive(const YoloLossArgs& args, int64_t begin, int64_t end, bool) {
  return WithTypes(args, [&](const auto& buffers) {
    for (int64_t image = begin; image < end; ++image)
      buffers.gradient ? NaiveImage<true>(buffers, image) : NaiveImage<false>(buffers, image);
  });
}

// -------------------------------------------------------------------------------------- versions

struct Version {
  const char* name;
  YoloLossSimd* run;
  bool here;  // whether this processor has what it needs
};

// The best first.
const std::vector<Version>& Versions() {
  static const std::vector<Version> versions = [] {
    std::vector<Version> all;
#if defined(YOLOV1_X86_LEVELS)
    const bool v3 = __builtin_cpu_supports("x86-64-v3"), v4 = __builtin_cpu_supports("x86-64-v4");
    all.push_back({"avx512", avx512::YoloLossLanes, v4});
    all.push_back({"avx2", avx2::YoloLossLanes, v3});
#endif
    all.push_back({"baseline", baseline::YoloLossLanes, true});
    all.push_back({"naive", Naive, true});
    all.erase(std::remove_if(all.begin(), all.end(), [](const Version& v) { return !v.here; }),
              all.end());
    return all;
  }();
  return versions;
}

// Whether the batch does not stay in the caches. Where the bound lies was measured: at 17 MB
// writing past them takes 1.3 times as long, at 34 MB 0.85 times, at 68 MB 0.8 times.
bool IsLarge(const YoloLossArgs& args) {
  constexpr int64_t kBytes = 24 << 20;
  int64_t image = 0;
  WithTypes(args, [&](const auto& buffers) {
    const int64_t tensors = args.gradient == args.predictions ? 1 : 2;
    image = tensors * args.config.grid.flat_size() * sizeof(*buffers.predictions);
    if (args.targets)
      image += args.config.grid.flat_target_size() * sizeof(*buffers.targets);
    else
      image += args.boxes.most * (4 * sizeof(float) + sizeof(int32_t));
  });
  return image > 0 && args.images >= kBytes / image;  // 0: no kernel for these dtypes
}

template <typename A>
void Mean(const YoloLossArgs& args, void* mean) {
  const A* loss = static_cast<const A*>(args.loss);
  double sum = 0;
  for (int64_t image = 0; image < args.images; ++image) sum += loss[image];
  *static_cast<A*>(mean) = static_cast<A>(sum * args.one_image());
}

}  // namespace

std::vector<std::string> YoloLossVersions() {
  std::vector<std::string> names;
  for (const Version& version : Versions()) names.push_back(version.name);
  return names;
}

void YoloLossCpu(const YoloLossArgs& args, int64_t begin, int64_t end, int version) {
  if (!Versions()[version].run(args, begin, end, IsLarge(args))) Naive(args, begin, end, false);
}

void YoloLossMean(const YoloLossArgs& args, void* mean) {
  args.type == DType::kDouble ? Mean<double>(args, mean) : Mean<float>(args, mean);
}

bool YoloLossSupports(DType predictions, DType targets) {
  YoloLossArgs args;
  args.type = predictions;
  args.target_type = targets;
  return WithTypes(args, [](const auto&) {});
}

int64_t YoloLossCpuCost(const YoloLossArgs& args) {
  // About what an image of S=7, B=2, C=20 takes with its gradient when called from TensorFlow.
  return 250 * args.config.grid.flat_size() / (7 * 7 * 30) + 1;
}

}  // namespace yolov1
