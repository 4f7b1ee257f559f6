// What kernel_simd.cc works on: rows of tensors as float or double, and boxes made ready for lanes.
// Compiled once for each level of SIMD, as that file is: nothing here may become a weak symbol.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/box_iou/kernel_simd.h"
#include "kernels/core/dtype.h"
#include "kernels/core/iou.h"
#include "kernels/core/simd.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

YOLOV1_HOST_DEVICE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---------------------------------------------------------------------------- 16 bits in memory
//
// All that is computed is computed in A, float or double: what lies in memory as 16 bits is widened
// a row at a time, so that there is one copy of the large functions for all three dtypes.

// Calls function(A{}) for the type that tensors of `type` are computed in.
template <typename Function>
YOLOV1_HOST_DEVICE void WithSum(DType type, const Function& function) {
  type == DType::kDouble ? function(double{}) : function(float{});
}

template <typename From, typename To>  // one of them float
__attribute__((noinline)) void ConvertRow(const From* from, int64_t count, To* to) {
  constexpr int64_t kLanes = Lanes<float>::kCount;
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) Store(Load(from + k), to + k);
  if (k < count) StoreFirst(LoadFirst(from + k, count - k), to + k, count - k);
}

YOLOV1_HOST_DEVICE bool Narrower(DType type) {
  return type == DType::kHalf || type == DType::kBfloat16;
}

// Elements [first, first + count) of a tensor: where they are, or widened into `buffer`.
YOLOV1_HOST_DEVICE const double* Read(DType, const void* tensor, int64_t first, int64_t, double*) {
  return static_cast<const double*>(tensor) + first;
}
YOLOV1_HOST_DEVICE const float* Read(DType type, const void* tensor, int64_t first, int64_t count,
                                     float* buffer) {
  if (type == DType::kHalf) {
    ConvertRow(static_cast<const Half*>(tensor) + first, count, buffer);
  } else if (type == DType::kBfloat16) {
    ConvertRow(static_cast<const Bfloat16*>(tensor) + first, count, buffer);
  } else {
    return static_cast<const float*>(tensor) + first;
  }
  return buffer;
}

// Where elements from `first` on are to be written: in place, or in `buffer`, for Wrote().
YOLOV1_HOST_DEVICE double* ToWrite(DType, void* tensor, int64_t first, double*) {
  return static_cast<double*>(tensor) + first;
}
YOLOV1_HOST_DEVICE float* ToWrite(DType type, void* tensor, int64_t first, float* buffer) {
  return Narrower(type) ? buffer : static_cast<float*>(tensor) + first;
}
YOLOV1_HOST_DEVICE void Wrote(DType, const double*, int64_t, void*, int64_t) {}
YOLOV1_HOST_DEVICE void Wrote(DType type, const float* buffer, int64_t count, void* tensor,
                              int64_t first) {
  if (type == DType::kHalf) ConvertRow(buffer, count, static_cast<Half*>(tensor) + first);
  if (type == DType::kBfloat16) ConvertRow(buffer, count, static_cast<Bfloat16*>(tensor) + first);
}

// ------------------------------------------------------------------------------------ ready boxes

// One array for each number of a box.
template <typename A, int64_t kBoxes>
struct Ready {
  static constexpr int64_t kLanes = Lanes<A>::kCount;
  alignas(64) A numbers[kNumbers][kBoxes];
  alignas(64) A valid[kBoxes];  // 1, or 0 for a masked box and behind the last
  bool masked;

  YOLOV1_HOST_DEVICE IouBox<Lanes<A>> At(int64_t k) const {
    return {Load(numbers[0] + k), Load(numbers[1] + k), Load(numbers[2] + k),
            Load(numbers[3] + k), Load(numbers[4] + k), Load(numbers[5] + k)};
  }
  YOLOV1_HOST_DEVICE IouBox<Lanes<A>> One(int64_t k) const {  // the same box in every lane
    return {numbers[0][k], numbers[1][k], numbers[2][k],
            numbers[3][k], numbers[4][k], numbers[5][k]};
  }
  YOLOV1_HOST_DEVICE Mask<A> Valid(int64_t k) const { return Load(valid + k) != A(0); }

  // Boxes [first, first + count) of `boxes` [..., 4] with `mask` [...], or null.
  YOLOV1_HOST_DEVICE void Make(const BoxIouArgs& args, const void* boxes, const bool* mask,
                               int64_t first, int64_t count) {
    alignas(64) A buffer[4 * kBoxes];
    Make(args.config, Read(args.type, boxes, 4 * first, 4 * count, buffer),
         mask ? mask + first : nullptr, count);
  }

  YOLOV1_HOST_DEVICE bool AnyValid(int64_t count) const {
    bool any = false;
    for (int64_t k = 0; k < count; ++k) any |= valid[k] != 0;
    return any;
  }

  // Boxes that meet none become zeros: of one that is NaN the gradient would be 0 * NaN.
  YOLOV1_HOST_DEVICE void Hide(int64_t count) {
    for (int k = 0; k < kNumbers; ++k) memset(numbers[k], 0, count * sizeof(A));
  }

  // A box of which `mask` has a 0 is taken for zeros, whatever it is.
  __attribute__((noinline)) void Make(const BoxIouConfig& config, const A* boxes,  // [count, 4]
                                      const bool* mask, int64_t count) {
    Transpose(boxes, count);
    const int64_t end = (count + kLanes - 1) / kLanes * kLanes;
    masked = mask != nullptr;
    for (int64_t k = 0; k < end; ++k) {
      valid[k] = static_cast<A>(k < count && (!masked || mask[k]));
      if (valid[k] == 0)
        for (int c = 0; c < 4; ++c) numbers[c][k] = 0;
    }
    for (int64_t k = 0; k < end; k += kLanes) {
      const Coordinates<Lanes<A>> box = {Load(numbers[0] + k), Load(numbers[1] + k),
                                         Load(numbers[2] + k), Load(numbers[3] + k)};
      Put(MakeIouBox(config.kind, config.format, box), &numbers[0][k]);
    }
  }

  YOLOV1_HOST_DEVICE static void Put(const IouBox<Lanes<A>>& box, A* to) {
    Store(box.x0, to);
    Store(box.y0, to + kBoxes);
    Store(box.x1, to + 2 * kBoxes);
    Store(box.y1, to + 3 * kBoxes);
    Store(box.area, to + 4 * kBoxes);
    Store(box.angle, to + 5 * kBoxes);
  }

 private:
  // Coordinate c of box k to numbers[c][k].
  YOLOV1_HOST_DEVICE void Transpose(const A* boxes, int64_t count) {
    int64_t k = 0;
    if constexpr (sizeof(A) == 4) {
      typedef float Four __attribute__((vector_size(16)));
      for (; k + 4 <= count; k += 4) {
        Four box[4];
        memcpy(box, boxes + 4 * k, sizeof box);
        const Four low_01 = YOLOV1_SHUFFLE(box[0], box[1], 0, 4, 1, 5);
        const Four low_23 = YOLOV1_SHUFFLE(box[2], box[3], 0, 4, 1, 5);
        const Four high_01 = YOLOV1_SHUFFLE(box[0], box[1], 2, 6, 3, 7);
        const Four high_23 = YOLOV1_SHUFFLE(box[2], box[3], 2, 6, 3, 7);
        const Four side[] = {YOLOV1_SHUFFLE(low_01, low_23, 0, 1, 4, 5),
                             YOLOV1_SHUFFLE(low_01, low_23, 2, 3, 6, 7),
                             YOLOV1_SHUFFLE(high_01, high_23, 0, 1, 4, 5),
                             YOLOV1_SHUFFLE(high_01, high_23, 2, 3, 6, 7)};
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) memcpy(&numbers[c][k], &side[c], sizeof side[c]);
      }
    }
    for (; k < count; ++k)
      for (int c = 0; c < 4; ++c) numbers[c][k] = boxes[4 * k + c];
  }
};

template <typename A>
YOLOV1_HOST_DEVICE IouBox<A> operator+(const IouBox<A>& a, const IouBox<A>& b) {
  return {a.x0 + b.x0, a.y0 + b.y0, a.x1 + b.x1, a.y1 + b.y1, a.area + b.area, a.angle + b.angle};
}

template <typename A>
YOLOV1_HOST_DEVICE IouBox<A> Keep(const Mask<ElementOf<A>>& mask, const IouBox<A>& box) {
  const A zero = A(0);
  return {Select(mask, box.x0, zero), Select(mask, box.y0, zero),   Select(mask, box.x1, zero),
          Select(mask, box.y1, zero), Select(mask, box.area, zero), Select(mask, box.angle, zero)};
}

// ------------------------------------------------------------------------------------- broadcast

// A place in the result of a broadcast, and the element of one side there. It goes on without the
// divisions of Broadcast::Source.
struct Walk {
  const Broadcast& batch;
  const int64_t* const strides;
  int64_t source = 0;
  int64_t place[Broadcast::kMaxRank];

  YOLOV1_HOST_DEVICE Walk(const Broadcast& batch, int side, int64_t index)
      : batch(batch), strides(batch.strides[side]) {
    for (int k = 0; k < batch.rank; ++k) {
      place[k] = index % batch.sizes[k];
      index /= batch.sizes[k];
      source += place[k] * strides[k];
    }
  }

  // How far it is to the end of the last dimension, and no further can it go at once.
  YOLOV1_HOST_DEVICE int64_t Left() const { return batch.sizes[0] - place[0]; }
  YOLOV1_HOST_DEVICE void Go(int64_t count) {
    place[0] += count;
    source += count * strides[0];
    for (int k = 0; place[k] == batch.sizes[k] && k + 1 < batch.rank; ++k) {
      source += strides[k + 1] - batch.sizes[k] * strides[k];
      place[k] = 0;
      ++place[k + 1];
    }
  }
};

// ------------------------------------------------------------------------------------------ tiles

// A tile's place, and its boxes made ready.
template <typename A>
struct Tile {
  int64_t rows, columns;  // how many boxes there are of a, and of b
  int64_t stride;         // from one row's pairs to the next one's
  int64_t first;          // the first pair in [N, M, K]
  Ready<A, kTileA> a;
  Ready<A, kTileB> b;

  __attribute__((noinline)) Tile(const BoxIouArgs& args, int64_t number) {
    const BoxIouSizes& sizes = args.sizes;
    const BoxIouTiles tiles(sizes);
    const int64_t column = number % tiles.b * kTileB, row = number / tiles.b % tiles.a * kTileA;
    const int64_t n = number / tiles.b / tiles.a;
    rows = Least(kTileA, sizes.M - row);
    columns = Least(kTileB, sizes.K - column);
    stride = sizes.K;
    first = (n * sizes.M + row) * sizes.K + column;
    const int64_t at_a = sizes.batch.Source(0, n) * sizes.M + row;
    const int64_t at_b = sizes.batch.Source(1, n) * sizes.K + column;
    a.Make(args, args.boxes_a, args.valid_a, at_a, rows);
    b.Make(args, args.boxes_b, args.valid_b, at_b, columns);
  }
};

}  // namespace
}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
