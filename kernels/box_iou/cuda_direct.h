// v1 of IoU on CUDA: pair by pair. Still here for aligned boxes, and for those without a partner.
// For .cu files alone.
#pragma once

#include <algorithm>

#include "kernels/box_iou/cuda_boxes.h"

namespace yolov1 {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads) DirectIou(const BoxIouArgs args) {
  using A = typename Sum<T>::Type;
  const BoxIouSizes& sizes = args.sizes;
  const int64_t pairs = sizes.N * sizes.M * sizes.K;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t pair = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; pair < pairs;
       pair += step) {
    const int64_t n = pair / sizes.K / sizes.M;
    const int64_t a = sizes.batch.Source(0, n) * sizes.M + pair / sizes.K % sizes.M;
    const int64_t b = sizes.batch.Source(1, n) * sizes.K + pair % sizes.K;
    A iou = A(0);
    if (Counts(args.valid_a, a) && Counts(args.valid_b, b)) {
      const BoxIouConfig& config = args.config;
      const auto box_a =
          ReadyBox<A>(config.kind, config.format, static_cast<const T*>(args.boxes_a) + 4 * a);
      const auto box_b =
          ReadyBox<A>(config.kind, config.format, static_cast<const T*>(args.boxes_b) + 4 * b);
      iou = WithIouKind(config.kind, [&](auto constant) {
        return PairIou<decltype(constant)::kind, A>(box_a, box_b);
      });
    }
    static_cast<T*>(args.iou)[pair] = static_cast<T>(iou);
  }
}

// The boxes of sides [first, last], each of which shares out its pairs among `parts` of work, and
// each of these what it has to among `width` lanes (1, or a warp). If there is more than one part,
// sums [boxes, parts, kNumbers] are left for DirectFinish.
template <typename A>
struct DirectWork {
  int first, last;
  int64_t parts, size;  // pairs of a part
  A* sums;

  __device__ int64_t Boxes(const BoxIouSizes& sizes, int side) const {
    return first <= side && side <= last ? sizes.Count(side) * sizes.Boxes(side) : 0;
  }
};

template <typename T, int width>
__global__ void __launch_bounds__(kThreads)
    DirectGradient(const BoxIouArgs args, const DirectWork<typename Sum<T>::Type> work) {
  using A = typename Sum<T>::Type;
  const BoxIouSizes& sizes = args.sizes;
  const BoxIouConfig& config = args.config;
  const int64_t boxes_a = work.Boxes(sizes, 0);
  const int64_t all = (boxes_a + work.Boxes(sizes, 1)) * work.parts;
  const int64_t step = static_cast<int64_t>(gridDim.x) * (kThreads / width);
  const int lane = threadIdx.x % width;
  for (int64_t number = static_cast<int64_t>(blockIdx.x) * (kThreads / width) + threadIdx.x / width;
       number < all; number += step) {
    const int64_t of_all = work.parts == 1 ? number : number / work.parts;
    const int side = of_all < boxes_a ? 0 : 1;
    const int64_t own = side == 0 ? of_all : of_all - boxes_a;
    const int64_t of_side = sizes.Boxes(side), others = sizes.Boxes(1 - side);
    const int64_t pairs = sizes.N / sizes.Count(side) * others;
    const int64_t begin = (number - of_all * work.parts) * work.size;
    const int64_t end = pairs - begin < work.size ? pairs : begin + work.size;
    const T* const box = static_cast<const T*>(args.Boxes(side)) + 4 * own;
    const bool counts = Counts(args.Valid(side), own);
    const IouBox<A> ready = ReadyBox<A>(config.kind, config.format, box);
    IouBox<A> sum = {};
    int in_pair = 0;
    for (int64_t p = begin + lane; counts && p < end; p += width) {
      const int64_t n = sizes.batch.User(side, own / of_side, p / others);
      const int64_t other = sizes.batch.Source(1 - side, n) * others + p % others;
      if (!Counts(args.Valid(1 - side), other)) continue;
      const auto partner = ReadyBox<A>(config.kind, config.format,
                                       static_cast<const T*>(args.Boxes(1 - side)) + 4 * other);
      const int64_t m = side == 0 ? own % of_side : p % others;
      const int64_t k = side == 0 ? p % others : own % of_side;
      const A upstream =
          static_cast<A>(static_cast<const T*>(args.upstream)[(n * sizes.M + m) * sizes.K + k]);
      WithIouKind(config.kind, [&](auto constant) {
        constexpr IouKind kind = decltype(constant)::kind;
        const IouBox<A>& a = side == 0 ? ready : partner;
        const IouBox<A>& b = side == 0 ? partner : ready;
        const PairGradient<A> by = PairIouGradient<kind>(a, b, upstream);
        AddTo<kind>(&sum, side == 0 ? by.a : by.b);
      });
      in_pair = 1;
    }
    if (width == kWarp) {
      sum = BoxWarpSum<IouKind::kCiou>(sum);
      in_pair = static_cast<int>(__ballot_sync(kAllLanes, in_pair));
    }
    if (lane != 0) continue;
    if (work.parts == 1) {
      WriteGradient(config, box, sum, in_pair != 0, static_cast<T*>(args.Gradient(side)) + 4 * own);
    } else {
      A* const to = work.sums + number * kNumbers;
#pragma unroll
      for (int q = 0; q < kNumbers - 1; ++q) to[q] = Number(sum, q);
      to[kNumbers - 1] = static_cast<A>(in_pair != 0);
    }
  }
}

// A warp adds up the parts of a box.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    DirectFinish(const BoxIouArgs args, const DirectWork<typename Sum<T>::Type> work) {
  using A = typename Sum<T>::Type;
  const int side = work.first, lane = threadIdx.x % kWarp;
  const int64_t boxes = work.Boxes(args.sizes, side);
  for (int64_t box = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp; box < boxes;
       box += static_cast<int64_t>(gridDim.x) * kWarps) {
    A own[kNumbers] = {};
    for (int64_t part = lane; part < work.parts; part += kWarp) {
#pragma unroll
      for (int q = 0; q < kNumbers; ++q)
        own[q] += work.sums[(box * work.parts + part) * kNumbers + q];
    }
#pragma unroll
    for (int q = 0; q < kNumbers; ++q) own[q] = WarpSum(own[q]);
    if (lane == 0) {
      WriteGradient(args.config, static_cast<const T*>(args.Boxes(side)) + 4 * box,
                    IouBox<A>{own[0], own[1], own[2], own[3], own[4], own[5]},
                    own[kNumbers - 1] != A(0), static_cast<T*>(args.Gradient(side)) + 4 * box);
    }
  }
}

#if defined(YOLOV1_CUDA_ON_HOST)  // so that the small tensors of a test take more than one part
constexpr int64_t kLeastPart = 12, kMostParts = 8;
#else
constexpr int64_t kLeastPart = 1024, kMostParts = 4096;
#endif

// How the boxes of a side share out their pairs: by the sizes alone, so that the sums are too.
template <typename A>
DirectWork<A> DirectWorkOf(const BoxIouSizes& sizes, int side, void* sums) {
  const int64_t pairs =
      sizes.Count(side) == 0 ? 0 : sizes.N / sizes.Count(side) * sizes.Boxes(1 - side);
  const int64_t size = std::max(kLeastPart, Groups(pairs, kMostParts));
  return {side, side, std::max<int64_t>(Groups(pairs, size), 1), size, static_cast<A*>(sums)};
}

template <typename A>
int64_t DirectBytes(const BoxIouSizes& sizes) {
  int64_t most = 0;
  for (int side : {0, 1}) {
    const int64_t parts = DirectWorkOf<A>(sizes, side, nullptr).parts;
    const int64_t boxes = sizes.Count(side) * sizes.Boxes(side);
    if (parts > 1) most = std::max(most, boxes * parts * kNumbers);
  }
  return most * static_cast<int64_t>(sizeof(A));
}

template <typename T>
std::string LaunchDirectSides(const BoxIouArgs& args, const DirectWork<typename Sum<T>::Type>& work,
                              bool warps, void* stream) {
  int64_t boxes = 0;
  for (int side = work.first; side <= work.last; ++side)
    boxes += args.sizes.Count(side) * args.sizes.Boxes(side);
  if (boxes == 0) return "";
  std::string error = Launch(Name(args, "gradient, direct"),
                             warps ? DirectGradient<T, kWarp> : DirectGradient<T, 1>,
                             Blocks(Groups(boxes * work.parts, warps ? kWarps : kThreads)),
                             kThreads, 0, stream, args, work);
  if (!error.empty() || work.parts == 1) return error;
  return Launch(Name(args, "gradient, direct sums"), DirectFinish<T>, Blocks(Groups(boxes, kWarps)),
                kThreads, 0, stream, args, work);
}

template <typename T>
std::string LaunchDirectGradient(const BoxIouArgs& args, void* memory, void* stream) {
  using A = typename Sum<T>::Type;
  DirectWork<A> work[2];
  bool warps[2];
  for (int side : {0, 1}) {
    work[side] = DirectWorkOf<A>(args.sizes, side, memory);
    const int64_t count = args.sizes.Count(side);
    warps[side] = count > 0 && args.sizes.N / count * args.sizes.Boxes(1 - side) >= 8;
  }
  const bool both = args.gradient_a != nullptr && args.gradient_b != nullptr;
  if (both && warps[0] == warps[1] && work[0].parts == 1 && work[1].parts == 1) {
    work[0].last = 1;  // in one launch
    work[0].size = std::max(work[0].size, work[1].size);
    return LaunchDirectSides<T>(args, work[0], warps[0], stream);
  }
  for (int side : {0, 1}) {
    if (args.Gradient(side) == nullptr) continue;
    const std::string error = LaunchDirectSides<T>(args, work[side], warps[side], stream);
    if (!error.empty()) return error;
  }
  return "";
}

}  // namespace
}  // namespace yolov1
