// The fused YOLO loss on CUDA, v1: correct and simple. One block an image, one thread a cell, a tree
// in shared memory for the sums; no atomics, so that the same input gives the same bits.
// Compiled without fused multiply-add (CMakeLists.txt), which the rule "all tied boxes are
// responsible" relies on: it compares two evaluations of one overlap.
#include <cuda_runtime.h>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;  // a power of two: the tree below halves it

// ---------------------------------------------------------------------------------------- kernel

template <Layout layout, bool with_gradient, typename T, typename U, typename A>
__global__ void __launch_bounds__(kThreads)
    YoloLossKernel(const YoloLossArgs<T, U, A> args, const LossScale<A> scale) {
  __shared__ A sums[kTerms][kThreads];
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

  Terms<A> sum;
  for (int64_t cell = threadIdx.x; cell < grid.cells(); cell += kThreads) {
    AddCellLoss<with_gradient>(grid, args.semantics, scale, CellAt<layout>(grid, predictions, cell),
                               targets + cell * grid.target_channels(),
                               CellAt<layout>(grid, gradient, cell), &sum);
  }
  const A own[kTerms] = {scale.value.xy * sum.xy, scale.value.wh * sum.wh,
                         scale.value.object * sum.object, scale.value.no_object * sum.no_object,
                         scale.value.classes * sum.classes};
  for (int term = 0; term < kTerms; ++term) sums[term][threadIdx.x] = own[term];
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      for (int term = 0; term < kTerms; ++term)
        sums[term][threadIdx.x] += sums[term][threadIdx.x + half];
    }
  }
  if (threadIdx.x == 0) {
    A loss = 0;
    for (int term = 0; term < kTerms; ++term) {
      args.terms[image * kTerms + term] = sums[term][0];
      loss += sums[term][0];
    }
    args.loss[image] = loss;
  }
}

// -------------------------------------------------------------------------------------- launcher

template <typename T, typename U, typename A>
int Launch(const YoloLossArgs<T, U, A>& args, int64_t images, void* stream) {
  if (images == 0) return cudaSuccess;  // a grid of no blocks is an error
  const LossScale<A> scale(args.semantics, args.upstream);
  const bool cells = args.layout == Layout::kCells, with_gradient = args.gradient != nullptr;
  const auto kernel = cells ? (with_gradient ? YoloLossKernel<Layout::kCells, true, T, U, A>
                                             : YoloLossKernel<Layout::kCells, false, T, U, A>)
                            : (with_gradient ? YoloLossKernel<Layout::kPlanes, true, T, U, A>
                                             : YoloLossKernel<Layout::kPlanes, false, T, U, A>);
  kernel<<<static_cast<unsigned>(images), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(args,
                                                                                           scale);
  return cudaGetLastError();
}

}  // namespace

int YoloLossCuda(const YoloLossArgs<float>& args, int64_t images, void* stream) {
  return Launch(args, images, stream);
}

int YoloLossCuda(const YoloLossArgs<double>& args, int64_t images, void* stream) {
  return Launch(args, images, stream);
}

}  // namespace yolov1
