// v2 of IoU on CUDA: tiles. For .cu files alone.
//
// A block takes kTileA boxes of a, made ready in shared memory, with kTileB of b, kPerLane of them
// in the registers of each lane. A warp has one row of pairs after another.
#pragma once

#include "kernels/box_iou/cuda_boxes.h"

namespace yolov1 {
namespace {

constexpr int kPerLane = 4;               // boxes of b: those of a Four
constexpr int kTileA = 64;                // boxes of a tile
constexpr int kTileB = kWarp * kPerLane;  // each warp has all of them, and every so many of a

struct Tiles {
  int64_t a, b;  // how many there are in [M, K]

  explicit Tiles(const BoxIouSizes& sizes)
      : a((sizes.M + kTileA - 1) / kTileA), b((sizes.K + kTileB - 1) / kTileB) {}
};

// A tile's place. Tiles are numbered as [N, tiles.a, tiles.b].
struct Place {
  int64_t n, tile_a, tile_b;
  int64_t first_a, first_b;  // its boxes
  int64_t first;             // its first pair, in [N, M, K]
  int rows, columns;
  bool wide;      // whether a lane's pairs can be moved at once
  bool together;  // whether they lie together, and not in each kWarp-th column

  // `sums`: over pairs will be taken, whose order must not depend on where `pairs` lies.
  template <typename T>
  __device__ Place(const BoxIouSizes& sizes, const Tiles& tiles, int64_t number, const T* pairs,
                   bool sums)
      : n(number / tiles.b / tiles.a),
        tile_a(number / tiles.b % tiles.a),
        tile_b(number % tiles.b) {
    const int64_t row = tile_a * kTileA, column = tile_b * kTileB;
    first_a = sizes.batch.Source(0, n) * sizes.M + row;
    first_b = sizes.batch.Source(1, n) * sizes.K + column;
    first = (n * sizes.M + row) * sizes.K + column;
    const int64_t left_a = sizes.M - row, left_b = sizes.K - column;
    rows = static_cast<int>(left_a < kTileA ? left_a : kTileA);
    columns = static_cast<int>(left_b < kTileB ? left_b : kTileB);
    wide = sizes.K % kPerLane == 0 && IsAligned(pairs);
    together = wide || sums;
  }

  // The column of a lane's pair c.
  __device__ int Column(int c) const {
    const int lane = threadIdx.x % kWarp;
    return together ? lane * kPerLane + c : lane + c * kWarp;
  }
};

// A box of a, in shared memory; in two words of 16 bytes, of which a thread reads one at once.
template <typename A>
struct alignas(16) RowBox {
  IouBox<A> box;
  int counts;
};

template <typename A>
struct ColumnBoxes {
  IouBox<A> box[kPerLane];
  bool counts[kPerLane];
};

template <typename To, typename A>
__device__ IouBox<To> Convert(const IouBox<A>& box) {
  return {static_cast<To>(box.x0), static_cast<To>(box.y0),   static_cast<To>(box.x1),
          static_cast<To>(box.y1), static_cast<To>(box.area), static_cast<To>(box.angle)};
}

// Makes the tile's boxes ready: a unit box for each that does not count, so that there is something
// to divide by. Waits for all threads, which then see `a` [kTileA], and says whether every pair can
// be computed in Plain.
template <typename T, typename A>
__device__ bool MakeReady(const BoxIouArgs& args, const Place& place, RowBox<A>* a,
                          ColumnBoxes<A>* b) {
  const BoxIouConfig& config = args.config;
  const T* const boxes_a = static_cast<const T*>(args.boxes_a) + 4 * place.first_a;
  const T* const boxes_b = static_cast<const T*>(args.boxes_b) + 4 * place.first_b;
  const IouBox<A> unit = {A(0), A(0), A(1), A(1), A(1), A(0)};
  bool bounded = true, sound_a = true, sound_b = true;
  for (int m = threadIdx.x; m < kTileA; m += kThreads) {
    RowBox<A> row = {unit, m < place.rows && Counts(args.valid_a, place.first_a + m)};
    if (row.counts) row.box = ReadyBox<A>(config.kind, config.format, boxes_a + 4 * m);
    bounded &= IsBounded(row.box);
    sound_a &= IsSound(row.box);
    a[m] = row;
  }
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) {
    const int k = place.Column(c);
    b->counts[c] = k < place.columns && Counts(args.valid_b, place.first_b + k);
    b->box[c] = unit;
    if (b->counts[c]) b->box[c] = ReadyBox<A>(config.kind, config.format, boxes_b + 4 * k);
    bounded &= IsBounded(b->box[c]);
    sound_b &= IsSound(b->box[c]);
  }
  return __syncthreads_and(bounded && sound_a) || __syncthreads_and(bounded && sound_b);
}

// A lane's pairs of one row [columns]; 0 behind the last.
template <typename T, typename A>
__device__ void LoadRow(const Place& place, const T* row, A* values) {
  Four<T> four = {};
  if (place.wide) {
    const int k = place.Column(0);
    if (k < place.columns) four = LoadWide(row + k);
  } else {
#pragma unroll
    for (int c = 0; c < kPerLane; ++c) {
      const int k = place.Column(c);
      if (k < place.columns) four.value[c] = row[k];
    }
  }
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) values[c] = static_cast<A>(four.value[c]);
}

template <typename T, typename A>
__device__ void StoreRow(const Place& place, const A* values, T* row) {
  Four<T> four;
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) four.value[c] = static_cast<T>(values[c]);
  if (place.wide) {
    const int k = place.Column(0);
    if (k < place.columns) StoreWide(four, row + k);
  } else {
#pragma unroll
    for (int c = 0; c < kPerLane; ++c) {
      const int k = place.Column(c);
      if (k < place.columns) row[k] = four.value[c];
    }
  }
}

// The rows of a tile, computed in P.
template <IouKind kind, typename P, typename T, typename A>
__device__ void TileRows(const BoxIouArgs& args, const Place& place, const RowBox<A>* a,
                         const ColumnBoxes<A>& b) {
  T* row = static_cast<T*>(args.iou) + place.first + threadIdx.x / kWarp * args.sizes.K;
  for (int m = threadIdx.x / kWarp; m < place.rows; m += kWarps, row += kWarps * args.sizes.K) {
    A values[kPerLane] = {};
    if (a[m].counts) {  // the same for all lanes
      const IouBox<P> box = Convert<P>(a[m].box);
#pragma unroll
      for (int c = 0; c < kPerLane; ++c) {
        const A iou = static_cast<A>(PairIou<kind, P>(box, Convert<P>(b.box[c])));
        values[c] = b.counts[c] ? iou : A(0);
      }
    }
    StoreRow(place, values, row);
  }
}

template <IouKind kind, typename T>
__global__ void __launch_bounds__(kThreads)
    TileIou(const BoxIouArgs args, const Tiles tiles, const int64_t count) {
  using A = typename Sum<T>::Type;
  using P = typename PlainOf<A>::Type;
  __shared__ RowBox<A> a[kTileA];
  const T* const to = static_cast<const T*>(args.iou);
  for (int64_t number = blockIdx.x; number < count; number += gridDim.x) {
    const Place place(args.sizes, tiles, number, to, /*sums=*/false);
    ColumnBoxes<A> b;
    const bool plain = MakeReady<T>(args, place, a, &b);
    if (std::is_same<P, A>::value || !plain) {
      TileRows<kind, A, T>(args, place, a, b);
    } else {
      TileRows<kind, P, T>(args, place, a, b);
    }
    __syncthreads();  // before the next tile's boxes are made
  }
}

// What the tiles give the boxes of one side: [N, tiles of the other side, kNumbers, boxes].
template <typename A>
struct TileSums {
  A* sums;
  int64_t tiles, boxes;

  __device__ A& At(int64_t n, int64_t tile, int number, int64_t box) const {
    return sums[((n * tiles + tile) * kNumbers + number) * boxes + box];
  }
};

template <typename A>
struct Workspace {
  TileSums<A> side[2];

  Workspace(const BoxIouSizes& sizes, void* memory) {
    const Tiles tiles(sizes);
    A* const sums = static_cast<A*>(memory);
    side[0] = {sums, tiles.b, sizes.M};
    side[1] = {sums + sizes.N * tiles.b * kNumbers * sizes.M, tiles.a, sizes.K};
  }
  static int64_t Bytes(const BoxIouSizes& sizes) {
    const Tiles tiles(sizes);
    return sizes.N * kNumbers * (tiles.b * sizes.M + tiles.a * sizes.K) *
           static_cast<int64_t>(sizeof(A));
  }
};

// The rows of a warp's tile are taken eight at a time. Of these each four lanes have one, another
// one at each step, and its sums go along from lane to lane: all lanes but four have then added to
// them without a sum over lanes.
constexpr int kRound = 8;
constexpr int kLanesOfRow = kWarp / kRound;

template <typename A>
struct GradientSums {
  A by_row[kNumbers][kTileA], by_column[kWarps][kNumbers][kTileB];
};

// The gradients of a tile by its boxes, computed in P.
template <IouKind kind, typename P, typename T, typename A>
__device__ void TileGradientRows(const BoxIouArgs& args, const Place& place, const RowBox<A>* a,
                                 const ColumnBoxes<A>& b, GradientSums<A>* sums) {
  constexpr int kUsed = kind == IouKind::kCiou ? kNumbers - 1 : kNumbers - 2;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const T* const upstream = static_cast<const T*>(args.upstream) + place.first;
  const bool with_a = args.gradient_a != nullptr;
  IouBox<P> by_b[kPerLane] = {};
  int columns = 0, rows = 0;  // that count, of this lane and this warp
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) columns += b.counts[c];
  columns = WarpSum(columns);
  for (int first = warp * kRound; first < place.rows; first += kWarps * kRound) {
    IouBox<P> by_a = {};
#pragma unroll 1
    for (int step = 0; step < kRound; ++step) {
      const int m = first + (lane / kLanesOfRow ^ step);
      const int counts = a[m].counts;
      rows += counts;
      A from_above[kPerLane] = {};
      if (counts) LoadRow(place, upstream + m * args.sizes.K, from_above);
      const IouBox<P> box = Convert<P>(a[m].box);
#pragma unroll
      for (int c = 0; c < kPerLane; ++c) {
        if (std::is_same<P, A>::value && !(counts && b.counts[c])) continue;
        const P own = b.counts[c] ? from_above[c] : A(0);
        const PairGradient<P> by = PairIouGradient<kind, P>(box, Convert<P>(b.box[c]), own);
        AddTo<kind>(&by_a, by.a);
        AddTo<kind>(&by_b[c], by.b);
      }
      if (with_a && step + 1 < kRound)
        by_a = FromLane<kind>(by_a, (step ^ (step + 1)) * kLanesOfRow);
    }
    if (!with_a) continue;
    for (int half = kLanesOfRow / 2; half > 0; half /= 2)
      AddTo<kind>(&by_a, FromLane<kind>(by_a, half));
    const int m = first + (lane / kLanesOfRow ^ (kRound - 1));
    if (lane % kLanesOfRow == 0) {
#pragma unroll
      for (int q = 0; q < kNumbers - 1; ++q)
        sums->by_row[q][m] = q < kUsed ? static_cast<A>(Number(by_a, q)) : A(0);
      sums->by_row[kNumbers - 1][m] = static_cast<A>(a[m].counts ? columns : 0);
    }
  }
  if (args.gradient_b == nullptr) return;
#pragma unroll
  for (int c = 0; c < kPerLane; ++c) {
    const int k = place.Column(c);
#pragma unroll
    for (int q = 0; q < kNumbers - 1; ++q)
      sums->by_column[warp][q][k] = q < kUsed ? static_cast<A>(Number(by_b[c], q)) : A(0);
    sums->by_column[warp][kNumbers - 1][k] = static_cast<A>(b.counts[c] ? rows : 0);
  }
}

// How many blocks of TileGradient a multiprocessor is to hold at once: as many as leave the loop
// over steps all its registers.
template <typename A>
constexpr int GradientBlocks(IouKind kind) {
  return sizeof(A) == 8 ? 2 : kind == IouKind::kIou ? 6 : kind == IouKind::kCiou ? 4 : 5;
}

template <IouKind kind, typename T>
__global__ void __launch_bounds__(kThreads, GradientBlocks<typename Sum<T>::Type>(kind))
    TileGradient(const BoxIouArgs args, const Tiles tiles, const int64_t count,
                 const Workspace<typename Sum<T>::Type> workspace) {
  using A = typename Sum<T>::Type;
  using P = typename PlainOf<A>::Type;
  __shared__ RowBox<A> a[kTileA];
  __shared__ GradientSums<A> sums;
  for (int64_t number = blockIdx.x; number < count; number += gridDim.x) {
    const Place place(args.sizes, tiles, number, static_cast<const T*>(args.upstream),
                      /*sums=*/true);
    ColumnBoxes<A> b;
    const bool plain = MakeReady<T>(args, place, a, &b);
    if (std::is_same<P, A>::value || !plain) {
      TileGradientRows<kind, A, T>(args, place, a, b, &sums);
    } else {
      TileGradientRows<kind, P, T>(args, place, a, b, &sums);
    }
    __syncthreads();
    for (int k = threadIdx.x; args.gradient_a && k < kNumbers * kTileA; k += kThreads) {
      const int q = k / kTileA, m = k % kTileA;
      if (m < place.rows)
        workspace.side[0].At(place.n, place.tile_b, q, place.tile_a * kTileA + m) =
            sums.by_row[q][m];
    }
    for (int k = threadIdx.x; args.gradient_b && k < kNumbers * kTileB; k += kThreads) {
      const int q = k / kTileB, column = k % kTileB;
      if (column >= place.columns) continue;
      A sum = A(0);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += sums.by_column[w][q][column];
      workspace.side[1].At(place.n, place.tile_a, q, place.tile_b * kTileB + column) = sum;
    }
    __syncthreads();  // before the next tile's sums are made
  }
}

// A block adds up what the tiles gave kWarp boxes of one side, a box a lane. Each warp takes every
// kFinishWarps-th of the tiles that have the box.
constexpr int kFinishWarps = 8;

template <typename T>
__global__ void __launch_bounds__(kWarp* kFinishWarps)
    Finish(const BoxIouArgs args, const Workspace<typename Sum<T>::Type> workspace,
           const int64_t groups_a, const int64_t groups) {
  using A = typename Sum<T>::Type;
  __shared__ A by_warp[kFinishWarps][kNumbers][kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const BoxIouSizes& sizes = args.sizes;
  for (int64_t group = blockIdx.x; group < groups; group += gridDim.x) {
    const int side = group < groups_a ? 0 : 1;
    const TileSums<A>& sums = workspace.side[side];
    const int64_t of_element = (sums.boxes + kWarp - 1) / kWarp;
    const int64_t number = side == 0 ? group : group - groups_a;
    const int64_t element = number / of_element, box = number % of_element * kWarp + lane;
    const int64_t parts = sizes.N / sizes.Count(side) * sums.tiles;
    A own[kNumbers] = {};
    if (box < sums.boxes) {
#pragma unroll 4
      for (int64_t part = warp; part < parts; part += kFinishWarps) {
        const int64_t n = sizes.batch.User(side, element, part / sums.tiles);
#pragma unroll
        for (int q = 0; q < kNumbers; ++q) own[q] += sums.At(n, part % sums.tiles, q, box);
      }
    }
#pragma unroll
    for (int q = 0; q < kNumbers; ++q) by_warp[warp][q][lane] = own[q];
    __syncthreads();
    if (warp == 0 && box < sums.boxes) {
#pragma unroll
      for (int q = 0; q < kNumbers; ++q)
        for (int w = 1; w < kFinishWarps; ++w) own[q] += by_warp[w][q][lane];
      const int64_t at = 4 * (element * sums.boxes + box);
      WriteGradient(args.config, static_cast<const T*>(args.Boxes(side)) + at,
                    IouBox<A>{own[0], own[1], own[2], own[3], own[4], own[5]},
                    own[kNumbers - 1] != A(0), static_cast<T*>(args.Gradient(side)) + at);
    }
    __syncthreads();  // before the next group's sums are written
  }
}

template <typename T>
std::string LaunchTileGradient(const BoxIouArgs& args, void* memory, void* stream) {
  using A = typename Sum<T>::Type;
  const BoxIouSizes& sizes = args.sizes;
  const Tiles tiles(sizes);
  const Workspace<A> workspace(sizes, memory);
  const int64_t count = sizes.N * tiles.a * tiles.b;
  std::string error = WithIouKind(args.config.kind, [&](auto constant) {
    return Launch(Name(args, "gradient, tiles"), TileGradient<decltype(constant)::kind, T>,
                  Blocks(count), kThreads, 0, stream, args, tiles, count, workspace);
  });
  if (!error.empty()) return error;
  const int64_t groups_a = args.gradient_a ? sizes.count_a * Groups(sizes.M, kWarp) : 0;
  const int64_t groups_b = args.gradient_b ? sizes.count_b * Groups(sizes.K, kWarp) : 0;
  return Launch(Name(args, "gradient, sums"), Finish<T>, Blocks(groups_a + groups_b),
                kWarp * kFinishWarps, 0, stream, args, workspace, groups_a, groups_a + groups_b);
}

}  // namespace
}  // namespace yolov1
