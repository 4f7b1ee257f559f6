// The fused YOLO loss on the CPU: which version runs. kernels/README.md has the ladder of versions
// and their times.
#include <algorithm>

#include "kernels/caches.h"
#include "kernels/versions.h"
#include "kernels/yolo_loss/kernel.h"
#include "kernels/yolo_loss/kernel_simd.h"
#include "levels.h"

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
      object = MarksObject(static_cast<A>(target[grid.target_object_channel()]));
    }
    if (object) {
      AddObjectCell<with_gradient>(grid, args.semantics, args.activations, scale, view, target,
                                   &sum);
      continue;
    }
    const ActivatedView<A, CellView<A, T>> seen = {view, args.activations};
    AddEmptyCell<with_gradient, false>(grid, args.semantics, scale, seen, &sum);
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

void NaiveScale(const YoloLossScaleArgs& args, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto type) {
    using T = decltype(type);
    using A = typename Sum<T>::Type;
    for (int64_t k = begin * args.size; k < end * args.size; ++k) {
      const A factor = static_cast<const A*>(args.upstream)[args.scalar ? 0 : k / args.size];
      const A value = static_cast<A>(static_cast<const T*>(args.gradient)[k]);
      static_cast<T*>(args.product)[k] = static_cast<T>(factor * value);
    }
  });
}

constexpr YoloLossLevel kNaive = {Naive, NaiveScale};

// -------------------------------------------------------------------------------------- versions

// The best first.
const std::vector<Version<YoloLossLevel>>& Versions() {
#define LEVEL(name, here) {#name, &name::kYoloLoss, here},
  static const auto versions =
      VersionsHere<YoloLossLevel>({YOLOV1_LEVELS(LEVEL){"naive", &kNaive, true}});
#undef LEVEL
  return versions;
}

// Whether the batch does not stay in the caches.
bool IsLarge(const YoloLossArgs& args) {
  int64_t image = 0;
  WithTypes(args, [&](const auto& buffers) {
    const int64_t tensors = args.gradient == args.predictions ? 1 : 2;
    image = tensors * args.config.grid.flat_size() * sizeof(*buffers.predictions);
    if (args.targets)
      image += args.config.grid.flat_target_size() * sizeof(*buffers.targets);
    else
      image += args.boxes.most * (4 * sizeof(float) + sizeof(int32_t));
  });
  return image > 0 && args.images >= StreamingBound() / image;  // 0: no kernel for these dtypes
}

template <typename A>
void Mean(const YoloLossArgs& args, void* mean) {
  const A* loss = static_cast<const A*>(args.loss);
  double sum = 0;
  for (int64_t image = 0; image < args.images; ++image) sum += loss[image];
  *static_cast<A*>(mean) = static_cast<A>(sum * args.one_image());
}

}  // namespace

std::vector<std::string> YoloLossVersions() { return NamesOf(Versions()); }

void YoloLossCpu(const YoloLossArgs& args, int64_t begin, int64_t end, int version) {
  if (!Versions()[version].level->loss(args, begin, end, IsLarge(args)))
    Naive(args, begin, end, false);
}

void YoloLossScaleCpu(const YoloLossScaleArgs& args, int64_t begin, int64_t end, int version) {
  if (begin < end) Versions()[version].level->scale(args, begin, end);
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
