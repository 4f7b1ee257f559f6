// The fused YOLO loss on CUDA, v1: correct and simple. One block an image, one thread a cell, a
// tree in shared memory for the sums; no atomics, so that the same input gives the same bits.
// Compiled without fused multiply-add (CMakeLists.txt), which the rule "all tied boxes are
// responsible" relies on: it compares two evaluations of one overlap.
#include <cuda_runtime.h>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;  // a power of two: the tree below halves it

// ---------------------------------------------------------------------------------------- kernel

template <bool with_gradient, typename Buffers, typename A>
__global__ void __launch_bounds__(kThreads)
    YoloLossKernel(const Buffers args, const CellStrides strides, const LossScale<A> scale) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  __shared__ Terms<A> sums[kThreads];
  const Grid& grid = args.grid;
  const int64_t image = blockIdx.x;
  const T* predictions = args.predictions + image * grid.flat_size();
  const U* targets = args.targets + image * grid.flat_target_size();
  T* gradient = with_gradient ? args.gradient + image * grid.flat_size() : nullptr;
  if (with_gradient) {
    // Neighbouring threads write neighbouring values; the cells then fill in what is not zero.
    for (int64_t k = threadIdx.x; k < grid.flat_size(); k += kThreads) gradient[k] = T(0);
    __syncthreads();
  }

  Terms<A> sum = {};
  for (int64_t cell = threadIdx.x; cell < grid.cells(); cell += kThreads) {
    AddCellLoss<with_gradient>(grid, args.semantics, scale, strides.At(predictions, cell),
                               targets + cell * grid.target_channels(),
                               with_gradient ? strides.At(gradient, cell) : Cell<T>{}, &sum);
  }
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      const Terms<A>& other = sums[threadIdx.x + half];
      sum.xy += other.xy;
      sum.wh += other.wh;
      sum.object += other.object;
      sum.no_object += other.no_object;
      sum.classes += other.classes;
      sums[threadIdx.x] = sum;
    }
  }
  if (threadIdx.x == 0) WriteTerms(scale, sum, args.terms + image * kTerms, args.loss + image);
}

// One block: each thread sums every kThreads-th image, then a tree. The sums are small beside the
// kernel above, and their order never changes.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    MeanKernel(const A* loss, int64_t images, double scale, A* mean) {
  __shared__ double sums[kThreads];
  double sum = 0;
  for (int64_t image = threadIdx.x; image < images; image += kThreads) sum += loss[image];
  sums[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *mean = static_cast<A>(sums[0] * scale);
}

// ------------------------------------------------------------------------------------- launchers

template <typename Buffers>
int Launch(const Buffers& args, int64_t images, cudaStream_t stream) {
  if (images == 0) return cudaSuccess;  // a grid of no blocks is an error
  using A = typename Buffers::A;
  const CellStrides strides(args.grid, args.layout);
  const LossScale<A> scale(args.semantics, args.upstream);
  const auto kernel = args.gradient != nullptr ? YoloLossKernel<true, Buffers, A>
                                               : YoloLossKernel<false, Buffers, A>;
  kernel<<<static_cast<unsigned>(images), kThreads, 0, stream>>>(args, strides, scale);
  return cudaGetLastError();
}

template <typename A>
int LaunchMean(const YoloLossArgs& args, void* mean, cudaStream_t stream) {
  MeanKernel<<<1, kThreads, 0, stream>>>(static_cast<const A*>(args.loss), args.images,
                                         args.one_image(), static_cast<A*>(mean));
  return cudaGetLastError();
}

}  // namespace

int YoloLossCuda(const YoloLossArgs& args, void* stream) {
  int status = cudaErrorNotSupported;
  WithTypes(args, [&](const auto& buffers) {
    status = Launch(buffers, args.images, static_cast<cudaStream_t>(stream));
  });
  return status;
}

int YoloLossMeanCuda(const YoloLossArgs& args, void* mean, void* stream) {
  const auto launch = args.type == DType::kDouble ? LaunchMean<double> : LaunchMean<float>;
  return launch(args, mean, static_cast<cudaStream_t>(stream));
}

}  // namespace yolov1
