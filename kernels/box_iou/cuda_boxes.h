// What the CUDA kernels of IoU share: boxes made ready, their sums and gradients. For .cu files
// alone.
#pragma once

#include <cstring>
#include <string>
#include <type_traits>

#include "kernels/box_iou/kernel.h"
#include "kernels/box_iou/plain.h"
#include "kernels/cuda.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kNumbers = 7;  // of the sums of a box: those of an IouBox, and pairs

int64_t Groups(int64_t count, int64_t size) { return (count + size - 1) / size; }

std::string Name(const BoxIouArgs& args, const char* what) {
  return std::string(args.config.name()) + " (" + what + ")";
}

// --------------------------------------------------------------------------------- four numbers
//
// The coordinates of a box or a lane's pairs of a row, in one access (two of doubles) where they
// are aligned. As numbers the compiler would take them apart, and words that are only copied not.

template <typename T>
struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) Four {
  T value[4];

  using Word = typename std::conditional<sizeof(T) == 2, uint2, uint4>::type;
  static constexpr int kWords = 4 * sizeof(T) / sizeof(Word);
};

template <typename T>
__device__ bool IsAligned(const T* address) {
  return reinterpret_cast<uintptr_t>(address) % alignof(Four<T>) == 0;
}

template <typename T>
__device__ Four<T> LoadWide(const T* from) {
  typename Four<T>::Word words[Four<T>::kWords];
#pragma unroll
  for (int k = 0; k < Four<T>::kWords; ++k)
    words[k] = reinterpret_cast<const typename Four<T>::Word*>(from)[k];
  Four<T> four;
  memcpy(&four, words, sizeof(four));
  return four;
}

// Past the first cache, and the first to leave the second.
template <typename T>
__device__ void StoreWide(const Four<T>& four, T* to) {
  typename Four<T>::Word words[Four<T>::kWords];
  memcpy(words, &four, sizeof(four));
#pragma unroll
  for (int k = 0; k < Four<T>::kWords; ++k)
    __stcs(reinterpret_cast<typename Four<T>::Word*>(to) + k, words[k]);
}

// ------------------------------------------------------------------------------------------ boxes

template <typename A, typename T>
__device__ IouBox<A> ReadyBox(IouKind kind, BoxFormat format, const T* box) {
  Four<T> four;
  if (IsAligned(box)) {
    four = LoadWide(box);
  } else {
#pragma unroll
    for (int c = 0; c < 4; ++c) four.value[c] = box[c];
  }
  const T* const value = four.value;
  return MakeIouBox<A>(kind, format,
                       {static_cast<A>(value[0]), static_cast<A>(value[1]),
                        static_cast<A>(value[2]), static_cast<A>(value[3])});
}

template <IouKind kind, typename A>
__device__ void AddTo(IouBox<A>* sum, const IouBox<A>& box) {
  sum->x0 += box.x0;
  sum->y0 += box.y0;
  sum->x1 += box.x1;
  sum->y1 += box.y1;
  sum->area += box.area;
  if (kind == IouKind::kCiou) sum->angle += box.angle;
}

template <IouKind kind, typename A>
__device__ IouBox<A> BoxWarpSum(const IouBox<A>& own) {
  return {WarpSum(own.x0), WarpSum(own.y0),   WarpSum(own.x1),
          WarpSum(own.y1), WarpSum(own.area), kind == IouKind::kCiou ? WarpSum(own.angle) : A(0)};
}

// Number q of an IouBox, by a constant q.
template <typename A>
__device__ A Number(const IouBox<A>& box, int q) {
  return q == 0   ? box.x0
         : q == 1 ? box.y0
         : q == 2 ? box.x1
         : q == 3 ? box.y1
         : q == 4 ? box.area
                  : box.angle;
}

// The number that another lane has: its number differs by `lanes` in xor.
template <IouKind kind, typename P>
__device__ IouBox<P> FromLane(const IouBox<P>& own, int lanes) {
  const auto from = [&](P value) { return P(__shfl_xor_sync(kAllLanes, Bare(value), lanes)); };
  return {from(own.x0), from(own.y0),   from(own.x1),
          from(own.y1), from(own.area), kind == IouKind::kCiou ? from(own.angle) : P(0)};
}

// The gradient of a box [4] from that of its numbers; of a box in no pair nothing is read.
template <typename A, typename T>
__device__ void WriteGradient(const BoxIouConfig& config, const T* box, const IouBox<A>& by,
                              bool in_pair, T* to) {
  Coordinates<A> gradient = {};
  if (in_pair) {
    gradient =
        BoxGradient(config.kind, config.format, ReadyBox<A>(config.kind, config.format, box), by);
  }
  const Four<T> four = {{static_cast<T>(gradient.c0), static_cast<T>(gradient.c1),
                         static_cast<T>(gradient.c2), static_cast<T>(gradient.c3)}};
  if (IsAligned(to)) {
    StoreWide(four, to);
  } else {
#pragma unroll
    for (int c = 0; c < 4; ++c) to[c] = four.value[c];
  }
}

__device__ inline bool Counts(const bool* valid, int64_t box) {
  return valid == nullptr || valid[box];
}

}  // namespace
}  // namespace yolov1
