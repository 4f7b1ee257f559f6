// The fused YOLO loss on CUDA: loss, terms, gradient and batch mean in one launch.
// kernels/README.md has the ladder of versions.
//
// A block computes an image, so that nothing but its own threads adds to its sums, in one order:
// the same input gives the same bits. Compiled without fused multiply-add (CMakeLists.txt), which
// the rule "all tied boxes are responsible" relies on: it compares two evaluations of one overlap.
#include <iterator>
#include <mutex>
#include <type_traits>
#include <unordered_map>

#include "kernels/cuda.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
#if defined(YOLOV1_CUDA_ON_HOST)  // so that a test uses them up
constexpr int kMeanCounters = 8;
#else
constexpr int kMeanCounters = 4096;
#endif

// How many blocks have written their losses towards a mean; 0 between launches.
__device__ unsigned mean_counters[kMeanCounters];

// ------------------------------------------------------------------------------------------- sums

template <typename A>
struct BlockSums {
  Terms<A> warps[kWarps];
  double mean[kWarps];
  bool last;
};

// The sum over the block's threads, in thread 0. `warps` is not read before the next barrier ends.
template <typename A>
__device__ Terms<A> BlockSum(const Terms<A>& own, Terms<A>* warps) {
  const Terms<A> warp = {WarpSum(own.xy), WarpSum(own.wh), WarpSum(own.object),
                         WarpSum(own.no_object), WarpSum(own.classes)};
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = warp;
  __syncthreads();
  Terms<A> sum = {};
  if (threadIdx.x == 0) {
    for (int k = 0; k < kWarps; ++k) {
      sum.xy += warps[k].xy;
      sum.wh += warps[k].wh;
      sum.object += warps[k].object;
      sum.no_object += warps[k].no_object;
      sum.classes += warps[k].classes;
    }
  }
  return sum;
}

// By one block: the mean of `loss` [images], in double. Read past the first cache, which knows
// nothing of what other multiprocessors have written.
template <typename A>
__device__ void WriteMean(const A* loss, int64_t images, double one_image, A* mean, double* warps) {
  double sum = 0;
#pragma unroll 8
  for (int64_t image = threadIdx.x; image < images; image += kThreads) sum += __ldcg(loss + image);
  sum = WarpSum(sum);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  sum = 0;
  for (int k = 0; k < kWarps; ++k) sum += warps[k];
  *mean = static_cast<A>(sum * one_image);
}

// Where a mean goes, if anywhere, and the counter that tells which block is the last.
template <typename A>
struct Mean {
  A* to;  // null: nowhere
  double one_image;
  int counter;
};

// After all images of this block: the block that finds all others done adds up the losses.
template <typename A>
__device__ void FinishMean(const Mean<A>& mean, const A* loss, int64_t images, BlockSums<A>* sums) {
  if (mean.to == nullptr) return;
  if (threadIdx.x == 0) {  // the thread that wrote this block's losses
    __threadfence();
    const unsigned others = gridDim.x - 1;
    sums->last = atomicInc(&mean_counters[mean.counter], others) == others;
    __threadfence();
  }
  __syncthreads();
  if (sums->last) WriteMean(loss, images, mean.one_image, mean.to, sums->mean);
}

// ---------------------------------------------------------------------------- v1: cell by cell
//
// One thread a cell, straight from and to device memory. Still here for cells so large that not one
// fits into shared memory.

template <bool with_gradient, typename Buffers, typename A>
__global__ void __launch_bounds__(kThreads)
    Direct(const Buffers args, const CellStrides strides, const LossScale<A> scale,
           const int64_t images, const Mean<A> mean) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  __shared__ BlockSums<A> sums;
  const Grid& grid = args.grid;
  for (int64_t image = blockIdx.x; image < images; image += gridDim.x) {
    const T* predictions = args.predictions + image * grid.flat_size();
    const U* targets = args.targets + image * grid.flat_target_size();
    T* gradient = with_gradient ? args.gradient + image * grid.flat_size() : nullptr;
    if (with_gradient) {
      // Neighbouring threads write neighbouring values; the cells then fill in what is not zero.
      for (int64_t k = threadIdx.x; k < grid.flat_size(); k += kThreads) gradient[k] = T(0.f);
    }
    __syncthreads();  // also: the last image's sums have been read
    Terms<A> sum = {};
    for (int64_t cell = threadIdx.x; cell < grid.cells(); cell += kThreads) {
      AddCellLoss<with_gradient>(grid, args.semantics, scale, strides.At(predictions, cell),
                                 targets + cell * grid.target_channels(),
                                 with_gradient ? strides.At(gradient, cell) : Cell<T>{}, &sum);
    }
    sum = BlockSum(sum, sums.warps);
    if (threadIdx.x == 0) WriteTerms(scale, sum, args.terms + image * kTerms, args.loss + image);
  }
  FinishMean(mean, args.loss, images, &sums);
}

// ----------------------------------------------------------------- v2: through shared memory
//
// Predictions and targets come in 16 bytes at a time, all of them asked for before one is used, and
// the gradient goes out so; both layouts alike. A lane takes a cell for its boxes and confidences,
// and all lanes of a warp take the classes of one object cell after another.

// The cells [first, first + count) of an image in shared memory: the spans of device memory that
// hold them, one of each kind of block in "planes", and one for all in "cells". Each lies between
// multiples of 16 bytes as it does in device memory.
template <typename T>
struct TileOfCells {
  static constexpr int kSpans = 3;
  int64_t from[kSpans] = {};  // in the image
  int at[kSpans];             // in shared memory
  int size[kSpans] = {};
  CellStrides strides;  // within the tile: its offsets are those of the tile's first cell

  __device__ TileOfCells(const Grid& grid, Layout layout, const CellStrides& of_image,
                         const T* image, int64_t first, int64_t count)
      : strides(of_image) {
    if (layout == Layout::kCells) {
      from[0] = first * grid.channels();
      size[0] = static_cast<int>(count * grid.channels());
    } else {
      from[0] = first * of_image.classes;
      from[1] = of_image.confidences_offset + first * of_image.confidences;
      from[2] = of_image.boxes_offset + first * of_image.boxes;
      size[0] = static_cast<int>(count * of_image.classes);
      size[1] = static_cast<int>(count * of_image.confidences);
      size[2] = static_cast<int>(count * of_image.boxes);
    }
    constexpr int kPerWord = 16 / sizeof(T);
    int end = 0;
#pragma unroll
    for (int k = 0; k < kSpans; ++k) {
      at[k] = (end + kPerWord - 1) / kPerWord * kPerWord + Misalignment(image + from[k]);
      end = at[k] + size[k];
    }
    if (layout == Layout::kPlanes) {
      strides.confidences_offset = at[1] - at[0];
      strides.boxes_offset = at[2] - at[0];
    }
  }

  template <typename U>  // T or const T
  __device__ Cell<U> At(U* shared, int64_t cell) const {
    return strides.At(shared + at[0], cell);
  }
  __device__ void Load(const T* image, T* shared) const {
#pragma unroll
    for (int k = 0; k < kSpans; ++k) BeginLoad(image + from[k], shared + at[k], size[k]);
  }
  __device__ void Store(const T* shared, T* image) const {
#pragma unroll
    for (int k = 0; k < kSpans; ++k) yolov1::Store(shared + at[k], image + from[k], size[k]);
  }
};

// Bytes for `elements` in up to three spans, as TileOfCells lays them out.
template <typename T>
int64_t TileBytes(int64_t elements, int spans) {
  return (elements * static_cast<int64_t>(sizeof(T)) + spans * 32 + 15) / 16 * 16;
}

// How a block's shared memory is cut: in bytes, and in cells.
struct TileSizes {
  int64_t cells;  // of a tile; 0 where not one fits
  int predictions, targets;
  int64_t total;
};

template <typename Buffers>
TileSizes SizesOfTiles(const Grid& grid, bool with_gradient) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  const int copies = with_gradient ? 2 : 1;
  const int64_t cell = copies * grid.channels() * static_cast<int64_t>(sizeof(T)) +
                       grid.target_channels() * static_cast<int64_t>(sizeof(U));
  const int64_t rest = kSharedBytes - copies * 112 - 48;
  TileSizes sizes = {std::min(rest / cell, grid.cells()), 0, 0, 0};
  sizes.predictions = static_cast<int>(TileBytes<T>(sizes.cells * grid.channels(), 3));
  sizes.targets = static_cast<int>(TileBytes<U>(sizes.cells * grid.target_channels(), 1));
  sizes.total = copies * sizes.predictions + sizes.targets;
  return sizes;
}

template <bool with_gradient, bool squared, typename Buffers, typename A>
__global__ void __launch_bounds__(kThreads)
    Staged(const Buffers args, const CellStrides strides, const LossScale<A> scale,
           const TileSizes sizes, const int64_t images, const Mean<A> mean) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  __shared__ BlockSums<A> sums;
  static_assert(sizeof sums <= 1 << 10, "kSharedBytes leaves 1 KB");
  T* const shared = reinterpret_cast<T*>(shared_memory);
  U* const shared_targets = reinterpret_cast<U*>(shared_memory + sizes.predictions);
  T* const shared_gradient =
      reinterpret_cast<T*>(shared_memory + sizes.predictions + sizes.targets);
  const Grid& grid = args.grid;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t image = blockIdx.x; image < images; image += gridDim.x) {
    const T* const predictions = args.predictions + image * grid.flat_size();
    const U* const targets = args.targets + image * grid.flat_target_size();
    T* const gradient = with_gradient ? args.gradient + image * grid.flat_size() : nullptr;
    Terms<A> sum = {};
    for (int64_t first = 0; first < grid.cells(); first += sizes.cells) {
      const int64_t left = grid.cells() - first;
      const int count = static_cast<int>(left < sizes.cells ? left : sizes.cells);
      const TileOfCells<T> tile(grid, args.layout, strides, predictions, first, count);
      const U* const tile_targets = targets + first * grid.target_channels();
      U* const target = shared_targets + Misalignment(tile_targets);
      const TileOfCells<T> tile_out(grid, args.layout, strides,
                                    with_gradient ? gradient : predictions, first, count);
      tile.Load(predictions, shared);
      BeginLoad(tile_targets, target, count * static_cast<int>(grid.target_channels()));
      if (with_gradient) {  // while they come
        uint4* const words = reinterpret_cast<uint4*>(shared_gradient);
        for (int k = threadIdx.x; k < sizes.predictions / 16; k += kThreads)
          words[k] = uint4{0, 0, 0, 0};
      }
      FinishLoads();
      __syncthreads();

      const auto view = [&](int cell) {
        return CellView<A, T>{tile.At(static_cast<const T*>(shared), cell),
                              with_gradient ? tile_out.At(shared_gradient, cell) : Cell<T>{}};
      };
      for (int begin = warp * kWarp; begin < count; begin += kThreads) {
        const int cell = begin + lane;
        bool object = false;
        if (cell < count) {
          const U* const own = target + cell * grid.target_channels();
          object = MarksObject(static_cast<A>(own[grid.target_object_channel()]));
          if (object) {
            AddObject<with_gradient, squared>(grid, args.semantics, scale, view(cell), own, &sum);
          } else {
            AddEmptyCell<with_gradient>(grid, scale, view(cell), &sum);
          }
        }
        for (unsigned objects = __ballot_sync(kAllLanes, object); objects != 0;
             objects &= objects - 1) {
          const int other = begin + __ffs(objects) - 1;
          const CellView<A, T> of_other = view(other);
          const U* const its_target = target + other * grid.target_channels();
          for (int64_t k = lane; k < grid.C; k += kWarp)
            AddClass<with_gradient>(scale, of_other, its_target, k, &sum.classes);
        }
      }
      __syncthreads();  // the tile's gradient is there, and its inputs have been read
      if (with_gradient) {
        tile_out.Store(shared_gradient, gradient);
        if (first + count < grid.cells()) __syncthreads();  // before it is cleared for the next
      }
    }
    sum = BlockSum(sum, sums.warps);
    if (threadIdx.x == 0) WriteTerms(scale, sum, args.terms + image * kTerms, args.loss + image);
    if (image + gridDim.x < images) __syncthreads();  // before the next image's sums are written
  }
  FinishMean(mean, args.loss, images, &sums);
}

// --------------------------------------------------------------------------------- other kernels

template <typename A>
__global__ void __launch_bounds__(kThreads)
    MeanOfLosses(const A* loss, const int64_t images, const Mean<A> mean) {
  __shared__ double warps[kWarps];
  WriteMean(loss, images, mean.one_image, mean.to, warps);
}

// A block an image, or every so many. Multiplied in A.
template <typename T, typename A>
__global__ void __launch_bounds__(kThreads) Scale(const YoloLossScaleArgs args) {
  const T* const gradient = static_cast<const T*>(args.gradient);
  T* const product = static_cast<T*>(args.product);
  for (int64_t image = blockIdx.x; image < args.images; image += gridDim.x) {
    const A scale = static_cast<const A*>(args.upstream)[args.scalar ? 0 : image];
    if (scale == A(1) && gradient == product) continue;
    const int64_t end = (image + 1) * args.size;
    for (int64_t k = image * args.size + threadIdx.x; k < end; k += kThreads)
      product[k] = static_cast<T>(scale * static_cast<A>(gradient[k]));
  }
}

// ------------------------------------------------------------------------------------- launchers

// The counter for means at an address, or -1 where there are too many addresses. Two launches may
// count with one counter only if they write one mean, and those do not run at the same time.
int CounterOf(const void* mean) {
  static std::mutex mutex;
  static std::unordered_map<const void*, int> counters;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto known = counters.find(mean);
  if (known != counters.end()) return known->second;
  const int next = static_cast<int>(counters.size());
  if (next == kMeanCounters) return -1;
  return counters[mean] = next;
}

enum Version { kStaged, kDirect };
const char* const kVersions[] = {"staged", "direct"};

template <typename Buffers>
std::string LaunchLoss(const Buffers& args, int64_t images, Mean<typename Buffers::A> mean,
                       void* stream, int version) {
  using A = typename Buffers::A;
  const bool with_gradient = args.gradient != nullptr;
  const CellStrides strides(args.grid, args.layout);
  const LossScale<A> scale(args.semantics, args.upstream);
  const TileSizes sizes = SizesOfTiles<Buffers>(args.grid, with_gradient);
  if (sizes.cells == 0) version = kDirect;
  const Mean<A> asked = mean;
  if (mean.counter < 0) mean.to = nullptr;
  const std::string name = std::string("yolo_loss (") + kVersions[version] + ")";
  std::string error;
  if (version == kDirect) {
    const auto kernel = with_gradient ? Direct<true, Buffers, A> : Direct<false, Buffers, A>;
    error = Launch(name, kernel, Blocks(images), kThreads, 0, stream, args, strides, scale, images,
                   mean);
  } else {
    const bool squared = args.semantics.box == BoxTerm::kSquared;
    const auto kernel =
        with_gradient ? squared ? Staged<true, true, Buffers, A> : Staged<true, false, Buffers, A>
        : squared     ? Staged<false, true, Buffers, A>
                      : Staged<false, false, Buffers, A>;
    error = Launch(name, kernel, Blocks(images), kThreads, sizes.total, stream, args, strides,
                   scale, sizes, images, mean);
  }
  if (error.empty() && asked.to != mean.to) {
    error = Launch("yolo_loss (mean)", MeanOfLosses<A>, 1, kThreads, 0, stream,
                   static_cast<const A*>(args.loss), images, asked);
  }
  return error;
}

}  // namespace

std::vector<std::string> YoloLossCudaVersions() {
  return {std::begin(kVersions), std::end(kVersions)};
}

std::string YoloLossCuda(const YoloLossArgs& args, void* mean, void* stream, int version) {
  const bool with_mean = args.config.mean();
  if (args.images == 0) {  // a grid of no blocks is an error
    if (!with_mean) return "";
    const int64_t bytes = args.type == DType::kDouble ? 8 : 4;
    return CudaError("yolo_loss",
                     cudaMemsetAsync(mean, 0, bytes, static_cast<cudaStream_t>(stream)));
  }
  std::string error = "yolo_loss: there is no CUDA kernel for these dtypes.";
  WithTypes(args, [&](const auto& buffers) {
    using A = typename std::decay_t<decltype(buffers)>::A;
    Mean<A> to = {nullptr, args.one_image(), 0};
    if (with_mean) to = {static_cast<A*>(mean), args.one_image(), CounterOf(mean)};
    error = LaunchLoss(buffers, args.images, to, stream, version);
  });
  return error;
}

std::string YoloLossScaleCuda(const YoloLossScaleArgs& args, void* stream) {
  if (args.images == 0 || args.size == 0) return "";
  const auto kernel = args.type == DType::kDouble  ? Scale<double, double>
                      : args.type == DType::kFloat ? Scale<float, float>
                      : args.type == DType::kHalf  ? Scale<Half, float>
                                                   : Scale<Bfloat16, float>;
  return Launch("yolo_loss (gradient)", kernel, Blocks(args.images), kThreads, 0, stream, args);
}

}  // namespace yolov1
