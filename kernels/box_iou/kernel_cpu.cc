// Batched IoU on the CPU: which version runs, and in which steps. kernels/README.md has the ladder
// of versions and their times.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/box_iou/kernel.h"
#include "kernels/box_iou/kernel_simd.h"
#include "kernels/caches.h"
#include "kernels/versions.h"
#include "levels.h"

namespace yolov1 {
namespace {

using std::int64_t;

int64_t SizeOfSum(DType type) { return type == DType::kDouble ? 8 : 4; }

// Memory aligned to a cache line, or null where there is none.
using Memory = std::unique_ptr<void, decltype(&std::free)>;
Memory Allocate(int64_t bytes) {
  return Memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free);
}

// --------------------------------------------------------------------------------- v1: one by one

// A box of one side as a pair takes it, and whether it counts.
template <typename T, typename A = typename Sum<T>::Type>
struct Side {
  const BoxIouConfig& config;
  const T* boxes;
  const bool* valid;

  bool Valid(int64_t k) const { return valid == nullptr || valid[k]; }
  IouBox<A> operator[](int64_t k) const {
    const T* const box = boxes + 4 * k;
    return MakeIouBox<A>(config.kind, config.format,
                         {static_cast<A>(box[0]), static_cast<A>(box[1]), static_cast<A>(box[2]),
                          static_cast<A>(box[3])});
  }
};

// Calls function(kind, index of the pair, box a, box b) for every pair that counts.
template <typename T, typename Function>
void EachPair(const BoxIouArgs& args, const Side<T>& a, const Side<T>& b,
              const Function& function) {
  const BoxIouSizes& sizes = args.sizes;
  WithIouKind(args.config.kind, [&](auto kind) {
    for (int64_t n = 0, pair = 0; n < sizes.N; ++n) {
      const int64_t first_a = sizes.batch.Source(0, n) * sizes.M;
      const int64_t first_b = sizes.batch.Source(1, n) * sizes.K;
      for (int64_t m = first_a; m < first_a + sizes.M; ++m)
        for (int64_t k = first_b; k < first_b + sizes.K; ++k, ++pair)
          if (a.Valid(m) && b.Valid(k)) function(kind, pair, m, k);
    }
  });
}

template <typename T>
std::array<Side<T>, 2> Sides(const BoxIouArgs& args) {
  return {Side<T>{args.config, static_cast<const T*>(args.boxes_a), args.valid_a},
          Side<T>{args.config, static_cast<const T*>(args.boxes_b), args.valid_b}};
}

void Naive(const BoxIouArgs& args) {
  WithType(args.type, [&](auto type) {
    using T = decltype(type);
    using A = typename Sum<T>::Type;
    const auto [a, b] = Sides<T>(args);
    T* const to = static_cast<T*>(args.iou);
    std::fill_n(to, args.sizes.N * args.sizes.M * args.sizes.K, T(0));
    EachPair<T>(args, a, b, [&, &a = a, &b = b](auto kind, int64_t pair, int64_t m, int64_t k) {
      to[pair] = static_cast<T>(PairIou<decltype(kind)::kind, A>(a[m], b[k]));
    });
  });
}

template <typename A>
void AddTo(IouBox<A>* sum, const IouBox<A>& box) {
  sum->x0 += box.x0;
  sum->y0 += box.y0;
  sum->x1 += box.x1;
  sum->y1 += box.y1;
  sum->area += box.area;
  sum->angle += box.angle;
}

// The sums of a side's boxes, and whether a box is in a pair at all: else nothing of it is read.
template <typename A>
struct NaiveSum {
  IouBox<A> by;
  bool in_pair;
};

template <typename T, typename A>
void WriteNaive(const BoxIouConfig& config, const Side<T>& side, const NaiveSum<A>* sums,
                int64_t count, T* to) {
  for (int64_t k = 0; k < count; ++k) {
    Coordinates<A> by = {};
    if (sums[k].in_pair) by = BoxGradient(config.kind, config.format, side[k], sums[k].by);
    const A values[] = {by.c0, by.c1, by.c2, by.c3};
    for (int c = 0; c < 4; ++c) to[4 * k + c] = static_cast<T>(values[c]);
  }
}

bool NaiveGradient(const BoxIouArgs& args) {
  const int64_t count_a = args.sizes.count_a * args.sizes.M;
  const int64_t count_b = args.sizes.count_b * args.sizes.K;
  const int64_t size =
      args.type == DType::kDouble ? sizeof(NaiveSum<double>) : sizeof(NaiveSum<float>);
  const Memory memory_a = Allocate(count_a * size), memory_b = Allocate(count_b * size);
  if (!memory_a || !memory_b) return false;
  memset(memory_a.get(), 0, count_a * size);
  memset(memory_b.get(), 0, count_b * size);
  WithType(args.type, [&](auto type) {
    using T = decltype(type);
    using A = typename Sum<T>::Type;
    const auto [a, b] = Sides<T>(args);
    auto* const by_a = static_cast<NaiveSum<A>*>(memory_a.get());
    auto* const by_b = static_cast<NaiveSum<A>*>(memory_b.get());
    const T* const upstream = static_cast<const T*>(args.upstream);
    EachPair<T>(args, a, b, [&, &a = a, &b = b](auto kind, int64_t pair, int64_t m, int64_t k) {
      const auto by =
          PairIouGradient<decltype(kind)::kind, A>(a[m], b[k], static_cast<A>(upstream[pair]));
      AddTo(&by_a[m].by, by.a);
      AddTo(&by_b[k].by, by.b);
      by_a[m].in_pair = by_b[k].in_pair = true;
    });
    if (args.gradient_a)
      WriteNaive(args.config, a, by_a, count_a, static_cast<T*>(args.gradient_a));
    if (args.gradient_b)
      WriteNaive(args.config, b, by_b, count_b, static_cast<T*>(args.gradient_b));
  });
  return true;
}

// -------------------------------------------------------------------------------------- versions

// The best first. Of "naive" the level is null.
const std::vector<Version<BoxIouLevel>>& Versions() {
#define LEVEL(name, here) {#name, &name::kBoxIou, here},
  static const auto versions =
      VersionsHere<BoxIouLevel>({YOLOV1_LEVELS(LEVEL){"naive", nullptr, true}});
#undef LEVEL
  return versions;
}

// ----------------------------------------------------------------------------------------- steps

// Nanoseconds of `pairs` pairs and `boxes` boxes made ready for them.
int64_t Cost(double pair, int64_t pairs, int64_t boxes) {
  return static_cast<int64_t>(pair * pairs) + 2 * boxes + 1;
}
constexpr double kForward = 0.3, kBackward = 0.8, kAlignedPair = 6;

int64_t TileCost(double pair, const BoxIouSizes& sizes) {
  const int64_t rows = std::min(sizes.M, kTileA), columns = std::min(sizes.K, kTileB);
  return Cost(pair, rows * columns, rows + columns);
}

bool PairwiseGradient(const BoxIouArgs& args, const BoxIouLevel& level,
                      const ParallelFor& parallel) {
  const BoxIouSizes& sizes = args.sizes;
  const BoxIouTiles tiles(sizes);
  if (tiles.a == 1 && tiles.b == 1 && !sizes.Repeats(0) && !sizes.Repeats(1)) {
    parallel(sizes.N, TileCost(kBackward, sizes),
             [&](int64_t begin, int64_t end) { level.gradient_small(args, begin, end); });
    return true;
  }
  const int64_t count = sizes.N * tiles.a * tiles.b, number = kNumbers * SizeOfSum(args.type);
  Memory sums[2] = {{nullptr, &std::free}, {nullptr, &std::free}};
  for (int side = 0; side < 2; ++side) {
    if (args.Gradient(side) == nullptr) continue;
    sums[side] = Allocate(count * tiles.Size(side) * number);
    if (!sums[side]) return false;
  }
  parallel(count, TileCost(kBackward, sizes), [&](int64_t begin, int64_t end) {
    level.sum_tiles(args, sums[0].get(), sums[1].get(), begin, end);
  });
  for (int side = 0; side < 2; ++side) {
    if (args.Gradient(side) == nullptr) continue;
    const int64_t elements = sizes.Count(side);
    const int64_t boxes = tiles.Size(side);
    const int64_t parts = tiles.Tiles(1 - side), repeats = sizes.N / elements;
    parallel(elements * tiles.Tiles(side), boxes * (4 + parts * repeats),
             [&](int64_t begin, int64_t end) {
               level.finish(args, side, sums[side].get(), begin, end);
             });
  }
  return true;
}

// Adds up what the pairs gave the boxes of one side, `by` [N, 4] in Sum<T>, pair after pair. Those
// of a box lie side by side, or those of neighbouring boxes do, which are then added up together.
void AddRepeated(const BoxIouArgs& args, int side, const void* by, int64_t begin, int64_t end) {
  constexpr int64_t kTogether = 64;
  const BoxIouSizes& sizes = args.sizes;
  const int64_t repeats = sizes.N / sizes.Count(side), last = sizes.batch.sizes[0];
  const bool repeated = sizes.batch.strides[side][0] == 0;
  WithType(args.type, [&](auto type) {
    using T = decltype(type);
    using A = typename Sum<T>::Type;
    T* const to = static_cast<T*>(args.Gradient(side));
    for (int64_t element = begin, count; element < end; element += count) {
      count = repeated ? 1 : std::min({kTogether, end - element, last - element % last});
      const int64_t run = repeated ? last : 1;
      double sums[4 * kTogether];
      std::fill_n(sums, 4 * count, 0);
      for (int64_t repeat = 0; repeat < repeats; repeat += run) {
        const A* from = static_cast<const A*>(by) + 4 * sizes.batch.User(side, element, repeat);
        for (int64_t k = 0; k < run; ++k, from += 4)
          for (int64_t c = 0; c < 4 * count; ++c) sums[c] += from[c];
      }
      for (int64_t c = 0; c < 4 * count; ++c)
        to[4 * element + c] = static_cast<T>(static_cast<A>(sums[c]));
    }
  });
}

bool AlignedGradient(const BoxIouArgs& args, const BoxIouLevel& level,
                     const ParallelFor& parallel) {
  const BoxIouSizes& sizes = args.sizes;
  Memory by[2] = {{nullptr, &std::free}, {nullptr, &std::free}};
  for (int side = 0; side < 2; ++side) {
    if (!sizes.Repeats(side) || args.Gradient(side) == nullptr) continue;
    by[side] = Allocate(sizes.N * 4 * SizeOfSum(args.type));
    if (!by[side]) return false;
  }
  parallel(sizes.N, kAlignedPair, [&](int64_t begin, int64_t end) {
    level.gradient_aligned(args, by[0].get(), by[1].get(), begin, end);
  });
  for (int side = 0; side < 2; ++side) {
    if (!by[side]) continue;
    const int64_t count = sizes.Count(side);
    parallel(count, 4 * (sizes.N / count) + 1, [&](int64_t begin, int64_t end) {
      AddRepeated(args, side, by[side].get(), begin, end);
    });
  }
  return true;
}

// Aligned boxes whose last dimension is walked through by one side alone are rows of pairs, and
// blocks of them where the other side has the dimension before for itself. Pairwise their boxes are
// made ready once, and not for each pair; the overlap of two boxes has the same bits in either
// order. False where it is not so, or where blocks are too small for the pairwise kernel.
bool AsPairwise(const BoxIouArgs& args, BoxIouArgs* pairwise) {
  constexpr int64_t kSmallest = 32;  // pairs
  const Broadcast& batch = args.sizes.batch;
  if (batch.rank == 0) return false;
  const int row = batch.strides[0][0] == 0 ? 0 : 1, column = 1 - row;  // sides: a row has one box
  if (batch.strides[row][0] != 0) return false;
  const int inner = batch.rank > 1 && batch.strides[column][1] == 0 ? 2 : 1;
  const int64_t K = batch.sizes[0], M = inner == 2 ? batch.sizes[1] : 1;
  if (M * K < kSmallest) return false;

  *pairwise = args;
  pairwise->config.shape = IouShape::kPairwise;
  pairwise->boxes_a = args.Boxes(row);
  pairwise->boxes_b = args.Boxes(column);
  pairwise->valid_a = args.Valid(row);
  pairwise->valid_b = args.Valid(column);
  BoxIouSizes& sizes = pairwise->sizes;
  sizes = {args.sizes.N / (M * K),       M, K, args.sizes.Count(row) / M,
           args.sizes.Count(column) / K, {}};
  for (int k = inner; k < batch.rank; ++k, ++sizes.batch.rank) {
    sizes.batch.sizes[k - inner] = batch.sizes[k];
    sizes.batch.strides[0][k - inner] = batch.strides[row][k] / M;
    sizes.batch.strides[1][k - inner] = batch.strides[column][k] / K;
  }
  return true;
}

void Pairwise(const BoxIouArgs& args, const BoxIouLevel& level, const ParallelFor& parallel) {
  const BoxIouSizes& sizes = args.sizes;
  const bool large = sizes.N * sizes.M * sizes.K * SizeOf(args.type) >= StreamingBound();
  const BoxIouTiles tiles(sizes);
  parallel(sizes.N * tiles.a * tiles.b, TileCost(kForward, sizes),
           [&](int64_t begin, int64_t end) { level.forward(args, large, begin, end); });
}

}  // namespace

std::vector<std::string> BoxIouVersions() { return NamesOf(Versions()); }

bool BoxIouCpu(const BoxIouArgs& args, const ParallelFor& parallel, int version) {
  const BoxIouLevel* const level = Versions()[version].level;
  BoxIouArgs pairwise;
  if (args.empty()) return true;
  if (level == nullptr) {
    Naive(args);
  } else if (args.config.shape == IouShape::kPairwise) {
    Pairwise(args, *level, parallel);
  } else if (AsPairwise(args, &pairwise)) {
    Pairwise(pairwise, *level, parallel);
  } else {
    parallel(args.sizes.N, kAlignedPair,
             [&](int64_t begin, int64_t end) { level->forward_aligned(args, begin, end); });
  }
  return true;
}

bool BoxIouGradientCpu(const BoxIouArgs& args, const ParallelFor& parallel, int version) {
  const BoxIouSizes& sizes = args.sizes;
  if (args.empty()) {
    for (int side : {0, 1}) {
      const int64_t bytes = 4 * sizes.Count(side) * sizes.Boxes(side) * SizeOf(args.type);
      if (args.Gradient(side)) memset(args.Gradient(side), 0, bytes);
    }
    return true;
  }
  const BoxIouLevel* const level = Versions()[version].level;
  if (level == nullptr) return NaiveGradient(args);
  return args.config.shape == IouShape::kAligned ? AlignedGradient(args, *level, parallel)
                                                 : PairwiseGradient(args, *level, parallel);
}

}  // namespace yolov1
