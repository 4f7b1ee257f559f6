// The levels of SIMD that kernel_simd.cc is compiled for.
#pragma once

#include <cstdint>

#include "kernels/box_iou/kernel.h"

namespace yolov1 {

// Pairs are computed in tiles of boxes a times boxes b: as many that what a tile needs of b stays
// in the first cache, and few enough that there is work for every thread.
constexpr int64_t kTileA = 128, kTileB = 512;
constexpr int kNumbers = 6;  // of an IouBox: x0, y0, x1, y1, area, angle

struct BoxIouTiles {
  int64_t a, b;            // how many tiles there are in [M, K]
  int64_t size_a, size_b;  // places for the boxes of one: fewer where there are few boxes

  explicit BoxIouTiles(const BoxIouSizes& sizes)
      : a(Divide(sizes.M, kTileA)),
        b(Divide(sizes.K, kTileB)),
        size_a(a > 1 ? kTileA : Divide(sizes.M, 16) * 16),
        size_b(b > 1 ? kTileB : Divide(sizes.K, 16) * 16) {}

  int64_t Tiles(int side) const { return side == 0 ? a : b; }
  int64_t Size(int side) const { return side == 0 ? size_a : size_b; }

 private:
  static int64_t Divide(int64_t boxes, int64_t by) { return (boxes + by - 1) / by; }
};

// What one level computes. The work of a function is numbered: it does [begin, end).
struct BoxIouLevel {
  // Tiles, numbered as [N, tiles.a, tiles.b]. `large`: the result does not stay in the caches, and
  // is written past them.
  void (*forward)(const BoxIouArgs& args, bool large, int64_t begin, int64_t end);
  // The same tiles: sums of the gradients over a tile, by the numbers of the ready boxes, into
  // sums_a [N, tiles.a, tiles.b, 6, size_a] and sums_b [N, tiles.a, tiles.b, 6, size_b], unless
  // null.
  void (*sum_tiles)(const BoxIouArgs& args, void* sums_a, void* sums_b, int64_t begin, int64_t end);
  // Boxes of one side in tiles, numbered as [count, tiles]: adds up what their tiles gave them and
  // writes the gradient.
  void (*finish)(const BoxIouArgs& args, int side, const void* sums, int64_t begin, int64_t end);
  // Both gradients of elements n in [begin, end), each of which is one tile and shares no box with
  // another: the two steps above in one, without memory for the sums.
  void (*gradient_small)(const BoxIouArgs& args, int64_t begin, int64_t end);
  // Aligned pairs [begin, end).
  void (*forward_aligned)(const BoxIouArgs& args, int64_t begin, int64_t end);
  // Of each pair the gradient by the coordinates of its boxes, [N, 4], in Sum<T>; a null pointer
  // stands for the gradient in `args` itself, in T.
  void (*gradient_aligned)(const BoxIouArgs& args, void* by_a, void* by_b, int64_t begin,
                           int64_t end);
};

namespace baseline {
extern const BoxIouLevel kBoxIou;
}
namespace avx2 {
extern const BoxIouLevel kBoxIou;
}
namespace avx512 {
extern const BoxIouLevel kBoxIou;
}

}  // namespace yolov1
