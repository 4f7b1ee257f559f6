// Batched IoU on the CPU: which version runs, and in which steps. kernels/README.md has the ladder
// of versions and their times.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/box_iou/kernel.h"
#include "kernels/box_iou/kernel_simd.h"

namespace yolov1 {
namespace {

using std::int64_t;

int64_t SizeOfSum(DType type) { return type == DType::kDouble ? 8 : 4; }

// Memory aligned to a cache line, or null where there is none.
using Memory = std::unique_ptr<void, decltype(&std::free)>;
Memory Allocate(int64_t bytes) {
  return Memory(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free);
}

// The elements n of the result that use each element of one side, [count, N / count], in rising
// order.
Memory UsersOf(const BoxIouSizes& sizes, int side) {
  const int64_t count = sizes.Count(side), repeats = sizes.N / count;
  Memory users = Allocate(sizes.N * sizeof(int64_t)), found = Allocate(count * sizeof(int64_t));
  if (!users || !found) return Memory(nullptr, &std::free);
  auto* const list = static_cast<int64_t*>(users.get());
  auto* const filled = static_cast<int64_t*>(found.get());
  std::fill_n(filled, count, 0);
  for (int64_t n = 0; n < sizes.N; ++n) {
    const int64_t source = sizes.batch.Source(side, n);
    list[source * repeats + filled[source]++] = n;
  }
  return users;
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

struct Version {
  const char* name;
  const BoxIouLevel* level;  // null: naive
  bool here;                 // whether this processor has what it needs
};

// The best first.
const std::vector<Version>& Versions() {
  static const std::vector<Version> versions = [] {
    std::vector<Version> all;
#if defined(YOLOV1_X86_LEVELS)
    const bool v3 = __builtin_cpu_supports("x86-64-v3"), v4 = __builtin_cpu_supports("x86-64-v4");
    all.push_back({"avx512", &avx512::kBoxIou, v4});
    all.push_back({"avx2", &avx2::kBoxIou, v3});
#endif
    all.push_back({"baseline", &baseline::kBoxIou, true});
    all.push_back({"naive", nullptr, true});
    all.erase(std::remove_if(all.begin(), all.end(), [](const Version& v) { return !v.here; }),
              all.end());
    return all;
  }();
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
    Memory users(nullptr, &std::free);
    if (sizes.Repeats(side)) {
      users = UsersOf(sizes, side);
      if (!users) return false;
    }
    parallel(elements * tiles.Tiles(side), boxes * (4 + parts * repeats),
             [&](int64_t begin, int64_t end) {
               level.finish(args, side, sums[side].get(), static_cast<const int64_t*>(users.get()),
                            begin, end);
             });
  }
  return true;
}

// Adds up what the pairs gave the boxes of one side, `by` [N, 4] in Sum<T>, pair after pair.
void AddRepeated(const BoxIouArgs& args, int side, const void* by, const int64_t* users,
                 int64_t begin, int64_t end) {
  WithType(args.type, [&](auto type) {
    using T = decltype(type);
    using A = typename Sum<T>::Type;
    const int64_t count = args.sizes.Count(side);
    const int64_t repeats = args.sizes.N / count;
    T* const to = static_cast<T*>(args.Gradient(side));
    for (int64_t element = begin; element < end; ++element) {
      double sums[4] = {};
      for (int64_t user = element * repeats; user < (element + 1) * repeats; ++user)
        for (int c = 0; c < 4; ++c) sums[c] += static_cast<const A*>(by)[4 * users[user] + c];
      for (int c = 0; c < 4; ++c) to[4 * element + c] = static_cast<T>(static_cast<A>(sums[c]));
    }
  });
}

bool AlignedGradient(const BoxIouArgs& args, const BoxIouLevel& level,
                     const ParallelFor& parallel) {
  const BoxIouSizes& sizes = args.sizes;
  Memory by[2] = {{nullptr, &std::free}, {nullptr, &std::free}};
  Memory users[2] = {{nullptr, &std::free}, {nullptr, &std::free}};
  for (int side = 0; side < 2; ++side) {
    if (!sizes.Repeats(side) || args.Gradient(side) == nullptr) continue;
    by[side] = Allocate(sizes.N * 4 * SizeOfSum(args.type));
    users[side] = UsersOf(sizes, side);
    if (!by[side] || !users[side]) return false;
  }
  parallel(sizes.N, kAlignedPair, [&](int64_t begin, int64_t end) {
    level.gradient_aligned(args, by[0].get(), by[1].get(), begin, end);
  });
  for (int side = 0; side < 2; ++side) {
    if (!by[side]) continue;
    const int64_t count = sizes.Count(side);
    parallel(count, 4 * (sizes.N / count) + 1, [&](int64_t begin, int64_t end) {
      AddRepeated(args, side, by[side].get(), static_cast<const int64_t*>(users[side].get()), begin,
                  end);
    });
  }
  return true;
}

}  // namespace

std::vector<std::string> BoxIouVersions() {
  std::vector<std::string> names;
  for (const Version& version : Versions()) names.push_back(version.name);
  return names;
}

bool BoxIouCpu(const BoxIouArgs& args, const ParallelFor& parallel, int version) {
  const BoxIouSizes& sizes = args.sizes;
  const BoxIouLevel* const level = Versions()[version].level;
  if (args.empty()) return true;
  if (level == nullptr) {
    Naive(args);
  } else if (args.config.shape == IouShape::kAligned) {
    parallel(sizes.N, kAlignedPair,
             [&](int64_t begin, int64_t end) { level->forward_aligned(args, begin, end); });
  } else {
    // As with the loss: from about this size on the result does not stay in the caches.
    const bool large = sizes.N * sizes.M * sizes.K * SizeOf(args.type) >= 24 << 20;
    const BoxIouTiles tiles(sizes);
    parallel(sizes.N * tiles.a * tiles.b, TileCost(kForward, sizes),
             [&](int64_t begin, int64_t end) { level->forward(args, large, begin, end); });
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
