// Batched IoU on CUDA, forward and backward. kernels/README.md has the ladder of versions.
//
// Sums are taken in one order whatever the GPU does first, so that the bits are always the same: a
// box's gradients by lanes, then by tiles, and only the sum is taken back to its coordinates.
#include <cstring>
#include <iterator>
#include <type_traits>

#include "kernels/box_iou/kernel.h"
#include "kernels/box_iou/plain.h"
#include "kernels/cuda.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kPerLane = 4;               // boxes of b: those of a Four
constexpr int kTileA = 64;                // boxes of a tile
constexpr int kTileB = kWarp * kPerLane;  // each warp has all of them, and every so many of a
constexpr int kNumbers = 7;               // of a tile's sums: those of an IouBox, and pairs

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

// ----------------------------------------------------------------------------- v1: pair by pair
//
// Still here for aligned boxes.

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

// ------------------------------------------------------------------------------------- v2: tiles
//
// A block takes kTileA boxes of a, made ready in shared memory, with kTileB of b, kPerLane of them
// in the registers of each lane. A warp has one row of pairs after another.

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

// ------------------------------------------------------------------------------------- launchers

enum Version { kTiles, kDirect };
const char* const kVersions[] = {"tiles", "direct"};

int64_t Groups(int64_t count, int64_t size) { return (count + size - 1) / size; }

// Aligned boxes, and those without a partner, have no tiles.
int VersionFor(const BoxIouArgs& args, int version) {
  return args.config.shape == IouShape::kAligned || args.empty() ? kDirect : version;
}

std::string Name(const BoxIouArgs& args, const char* what) {
  return std::string(args.config.name()) + " (" + what + ")";
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

std::vector<std::string> BoxIouCudaVersions() {
  return {std::begin(kVersions), std::end(kVersions)};
}

int64_t BoxIouWorkspace(const BoxIouArgs& args) {
  const auto bytes = [&](auto zero) {
    using A = decltype(zero);
    const int64_t direct = DirectBytes<A>(args.sizes);
    return VersionFor(args, kTiles) == kDirect ? direct
                                               : std::max(direct, Workspace<A>::Bytes(args.sizes));
  };
  return args.type == DType::kDouble ? bytes(double{}) : bytes(float{});
}

std::string BoxIouCuda(const BoxIouArgs& args, void* stream, int version) {
  if (args.empty()) return "";
  const BoxIouSizes& sizes = args.sizes;
  return WithType(args.type, [&](auto type) {
    using T = decltype(type);
    if (VersionFor(args, version) == kDirect) {
      const int64_t blocks = Groups(sizes.N * sizes.M * sizes.K, kThreads);
      return Launch(Name(args, "direct"), DirectIou<T>, Blocks(blocks), kThreads, 0, stream, args);
    }
    const Tiles tiles(sizes);
    const int64_t count = sizes.N * tiles.a * tiles.b;
    return WithIouKind(args.config.kind, [&](auto constant) {
      return Launch(Name(args, "tiles"), TileIou<decltype(constant)::kind, T>, Blocks(count),
                    kThreads, 0, stream, args, tiles, count);
    });
  });
}

std::string BoxIouGradientCuda(const BoxIouArgs& args, void* workspace, void* stream, int version) {
  if (args.gradient_a == nullptr && args.gradient_b == nullptr) return "";
  return WithType(args.type, [&](auto type) {
    using T = decltype(type);
    return VersionFor(args, version) == kDirect ? LaunchDirectGradient<T>(args, workspace, stream)
                                                : LaunchTileGradient<T>(args, workspace, stream);
  });
}

}  // namespace yolov1
