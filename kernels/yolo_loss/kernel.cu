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
#include "kernels/yolo_loss/tiles.h"

namespace yolov1 {
namespace {

constexpr int kWarps = kThreads / kWarp;
constexpr int kScaleThreads = 128;
#if defined(YOLOV1_CUDA_ON_HOST)  // so that a test uses them up
constexpr int kMeanCounters = 8;
#else
constexpr int kMeanCounters = 4096;
#endif

// How many blocks have written their losses towards a mean; 0 between launches.
__device__ unsigned mean_counters[kMeanCounters];

// ------------------------------------------------------------------------------------------- sums

// Of the 32 lanes, as many get the same sum.
constexpr int kLanesOfSum = 4;
static_assert(LaneOfWarpSum(kTerms - 1, kTerms) % kLanesOfSum == 0 && kTerms * kLanesOfSum <= kWarp,
              "each sum has lanes of its own");

template <typename A>
struct BlockSums {
  A sums[kThreads / kLanesOfSum];  // over a warp
  double mean[kWarps];
  bool last;
};

// Puts the sums over each warp where thread 0 finds them behind a barrier.
template <typename A>
__device__ void PutSums(const Terms<A>& own, BlockSums<A>* block) {
  const A values[] = {own.xy, own.wh, own.object, own.no_object, own.classes};
  block->sums[threadIdx.x / kLanesOfSum] = WarpSums(values);
}

// By thread 0: an image's sums to its terms and its loss.
template <typename A>
__device__ void WriteSums(const LossScale<A>& scale, const BlockSums<A>& block, A* terms, A* loss) {
  const auto sum = [&](int term) {
    A total = {};
    for (int first = 0; first < kThreads; first += kWarp)
      total += block.sums[(first + LaneOfWarpSum(term, kTerms)) / kLanesOfSum];
    return total;
  };
  WriteTerms(scale, Terms<A>{sum(0), sum(1), sum(2), sum(3), sum(4)}, terms, loss);
}

// By one block: the mean of `loss` [images], in double and in one order at any alignment. Read past
// the first cache, which knows nothing of what other multiprocessors have written, and many words
// at once: the other blocks have ended, and all wait for this one.
template <typename A>
__device__ void WriteMean(const A* loss, int64_t images, double one_image, A* mean, double* warps) {
  constexpr int kPerWord = 16 / sizeof(A), kAtOnce = 8;
  const int64_t words = Misalignment(loss) == 0 ? images / kPerWord : 0;
  double sum = 0;
  int64_t word = threadIdx.x;
  while (word < words) {
    uint4 loaded[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (word + k * kThreads < words)
        loaded[k] = __ldcg(reinterpret_cast<const uint4*>(loss) + word + k * kThreads);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (word >= words) break;
      A values[kPerWord];
      memcpy(values, &loaded[k], sizeof values);
      for (A value : values) sum += value;
      word += kThreads;
    }
  }
  for (; word * kPerWord < images; word += kThreads) {
    for (int64_t image = word * kPerWord; image < images && image < (word + 1) * kPerWord; ++image)
      sum += __ldcg(loss + image);
  }
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
    if (sums->last) __threadfence();
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
    PutSums(sum, &sums);
    __syncthreads();
    if (threadIdx.x == 0) WriteSums(scale, sums, args.terms + image * kTerms, args.loss + image);
  }
  FinishMean(mean, args.loss, images, &sums);
}

// ----------------------------------------------------------------- v2: through shared memory
//
// Predictions and targets come in 16 bytes at a time, all of them asked for before one is used, and
// the gradient goes out so; both layouts alike. A lane takes a cell for its boxes and confidences,
// and all lanes of a warp take the classes of one object cell after another.

template <bool with_gradient, bool squares, Layout layout, typename Buffers, typename A>
__global__ void __launch_bounds__(kThreads)
    Staged(const Buffers args, const LossScale<A> scale, const Tiles tiles, const int64_t images,
           const Mean<A> mean) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  __shared__ BlockSums<A> sums;
  static_assert(sizeof sums <= 1 << 10, "kSharedBytes leaves 1 KB");
  T* const shared = reinterpret_cast<T*>(shared_memory);
  U* const shared_targets = reinterpret_cast<U*>(shared_memory + tiles.predictions);
  T* const shared_gradient =
      reinterpret_cast<T*>(shared_memory + tiles.predictions + tiles.targets);
  const Grid grid = {tiles.side, tiles.boxes, tiles.classes};  // seen to be small numbers
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  for (int64_t image = blockIdx.x; image < images; image += gridDim.x) {
    const int64_t offset = image * tiles.flat_size;
    TileOfCells<const T, layout> tile(tiles, args.predictions + offset);
    TileOfCells<T, layout> tile_out(
        tiles, offset + (with_gradient ? args.gradient : const_cast<T*>(args.predictions)));
    const U* targets = args.targets + image * tiles.flat_target_size;
    Terms<A> sum = {};
    int count;
    for (int left = tiles.image_cells; left > 0; left -= count) {
      count = left < tiles.cells ? left : tiles.cells;
      tile.Next(tiles, count);
      if (with_gradient) tile_out.Next(tiles, count);
      U* const target = shared_targets + Misalignment(targets);
      const int target_size = count * tiles.target_channels;
      tile.LoadWords(shared);
      BeginWords<kThreads>(targets, target, target_size);
      if (with_gradient) {  // while they come
        uint4* const words = reinterpret_cast<uint4*>(shared_gradient);
        EachWord<kThreads>(tiles.predictions / 16, [=](int k) { words[k] = uint4{}; });
      }
      tile.LoadEdges(shared);
      BeginEdges(targets, target, target_size);
      FinishLoads();
      __syncthreads();

      const auto view = [&](int cell) {
        return CellView<A, T>{
            tile.At(tiles, static_cast<const T*>(shared), cell),
            with_gradient ? tile_out.At(tiles, shared_gradient, cell) : Cell<T>{}};
      };
      bool object = false;
      if (thread < count) {
        const U* const own = target + thread * tiles.target_channels;
        object = MarksObject(static_cast<A>(own[tiles.classes]));
        if (object) {
          AddObject<with_gradient, squares>(grid, args.semantics, scale, view(thread), own, &sum);
        } else {
          AddEmptyCell<with_gradient, squares>(grid, args.semantics, scale, view(thread), &sum);
        }
      }
      for (unsigned objects = __ballot_sync(kAllLanes, object); objects != 0;
           objects &= objects - 1) {
        const int other = thread - lane + __ffs(objects) - 1;
        const CellView<A, T> of_other = view(other);
        const U* const its_target = target + other * tiles.target_channels;
#pragma unroll 1
        for (int k = lane; k < tiles.classes; k += kWarp)
          AddClass<with_gradient, squares>(args.semantics, scale, of_other, its_target, k,
                                           &sum.classes);
      }
      if (count == left) PutSums(sum, &sums);
      __syncthreads();  // the sums and the gradient are there, and the inputs have been read
      if (with_gradient) tile_out.Store(shared_gradient);
      if (count < left) __syncthreads();  // before the gradient is cleared for the next tile
      targets += target_size;
    }
    if (thread == 0) WriteSums(scale, sums, args.terms + image * kTerms, args.loss + image);
    if (image + gridDim.x < images) __syncthreads();  // before the next image comes
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
__global__ void __launch_bounds__(kScaleThreads) Scale(const YoloLossScaleArgs args) {
  for (int64_t image = blockIdx.x; image < args.images; image += gridDim.x) {
    const A scale = static_cast<const A*>(args.upstream)[args.scalar ? 0 : image];
    const T* const gradient = static_cast<const T*>(args.gradient) + image * args.size;
    T* const product = static_cast<T*>(args.product) + image * args.size;
    if (scale == A(1) && gradient == product) continue;
    const auto scaled = [=](T value) { return static_cast<T>(scale * static_cast<A>(value)); };
    if (Misalignment(gradient) == Misalignment(product)) {
      const Words<T, int64_t> words(product, args.size);
      const auto* const in = reinterpret_cast<const uint4*>(gradient + words.before);
      auto* const out = reinterpret_cast<uint4*>(product + words.before);
      EachWord<kScaleThreads>(words.count, [=](int64_t k) {
        uint4 word = in[k];
        T values[16 / sizeof(T)];
        memcpy(values, &word, sizeof word);
        for (T& value : values) value = scaled(value);
        memcpy(&word, values, sizeof word);
        __stwb(out + k, word);  // an assignment would be torn up
      });
      EachEdge(product, args.size, [=](int64_t k) { product[k] = scaled(gradient[k]); });
    } else {
      for (int64_t k = threadIdx.x; k < args.size; k += kScaleThreads)
        product[k] = scaled(gradient[k]);
    }
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

template <bool with_gradient, typename Buffers>
std::string LaunchVersion(const Buffers& args, int64_t images,
                          const Mean<typename Buffers::A>& mean, void* stream, int version) {
  using A = typename Buffers::A;
  const LossScale<A> scale(args.semantics, args.upstream);
  const Tiles tiles = MakeTiles<Buffers>(args.grid, args.layout, with_gradient);
  if (tiles.cells == 0) version = kDirect;
  const std::string name = std::string("yolo_loss (") + kVersions[version] + ")";
  if (version == kDirect) {
    return Launch(name, Direct<with_gradient, Buffers, A>, Blocks(images), kThreads, 0, stream,
                  args, CellStrides(args.grid, args.layout), scale, images, mean);
  }
  constexpr Layout kCells = Layout::kCells, kPlanes = Layout::kPlanes;
  const bool cells = args.layout == kCells, squares = args.semantics.squares();
  const auto kernel = cells     ? squares ? Staged<with_gradient, true, kCells, Buffers, A>
                                          : Staged<with_gradient, false, kCells, Buffers, A>
                      : squares ? Staged<with_gradient, true, kPlanes, Buffers, A>
                                : Staged<with_gradient, false, kPlanes, Buffers, A>;
  return Launch(name, kernel, Blocks(images), kThreads, tiles.shared, stream, args, scale, tiles,
                images, mean);
}

template <typename Buffers>
std::string LaunchLoss(const Buffers& args, int64_t images, Mean<typename Buffers::A> mean,
                       void* stream, int version) {
  using A = typename Buffers::A;
  const Mean<A> asked = mean;
  if (mean.counter < 0) mean.to = nullptr;
  std::string error = args.gradient != nullptr
                          ? LaunchVersion<true>(args, images, mean, stream, version)
                          : LaunchVersion<false>(args, images, mean, stream, version);
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
  if (!args.config.activations.linear())
    return "yolo_loss: on a GPU predictions must be activated before the call.";
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
  return Launch("yolo_loss (gradient)", kernel, Blocks(args.images), kScaleThreads, 0, stream,
                args);
}

}  // namespace yolov1
