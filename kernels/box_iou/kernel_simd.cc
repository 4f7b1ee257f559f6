// Batched IoU on the CPU, in lanes. This file is compiled once for each level of SIMD, with
// YOLOV1_LEVEL naming it (CMakeLists.txt); kernel_cpu.cc picks one when the program runs. Nothing
// here may become a weak symbol: the linker could take the AVX-512 copy for everyone.
//
// The boxes of a tile are made ready once, each of their numbers in an array of its own. Then a few
// boxes of a go through all boxes of b, as many at once as there are lanes. In the backward pass
// the gradients of these boxes a are summed in registers, those of the boxes b in the first cache.
#include "kernels/box_iou/kernel_simd.h"

#include <type_traits>

#include "kernels/core/simd.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

constexpr int kNumbers = 6;    // of an IouBox: x0, y0, x1, y1, area, angle
constexpr int64_t kGroup = 4;  // boxes of a that go through b together in the forward pass

// Calls function(pointer to T) for the dtype of `args`.
template <typename Function>
YOLOV1_HOST_DEVICE void WithType(DType type, const Function& function) {
  switch (type) {
    case DType::kFloat:
      return function(static_cast<const float*>(nullptr));
    case DType::kDouble:
      return function(static_cast<const double*>(nullptr));
    case DType::kHalf:
      return function(static_cast<const Half*>(nullptr));
    case DType::kBfloat16:
      return function(static_cast<const Bfloat16*>(nullptr));
  }
}

YOLOV1_HOST_DEVICE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// ------------------------------------------------------------------------------------ ready boxes

// One array for each number of a box. kBoxes is a multiple of the lanes.
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

  // Boxes of which `mask` has a 0 are read as zeros, whatever is there.
  template <typename T>
  YOLOV1_HOST_DEVICE void Make(const BoxIouConfig& config, const T* boxes,  // [count, 4]
                               const bool* mask, int64_t count) {
    masked = mask != nullptr;
    for (int64_t k = 0; k < count; ++k) {
      const bool is_valid = !masked || mask[k];
      valid[k] = static_cast<A>(is_valid);
      for (int c = 0; c < 4; ++c)
        numbers[c][k] = is_valid ? static_cast<A>(boxes[4 * k + c]) : A(0);
    }
    const int64_t end = (count + kLanes - 1) / kLanes * kLanes;
    for (int64_t k = count; k < end; ++k) {
      valid[k] = 0;
      for (int c = 0; c < 4; ++c) numbers[c][k] = 0;
    }
    for (int64_t k = 0; k < end; k += kLanes) {
      const Coordinates<Lanes<A>> box = {Load(numbers[0] + k), Load(numbers[1] + k),
                                         Load(numbers[2] + k), Load(numbers[3] + k)};
      Put(MakeIouBox(config.kind, config.format, box), &numbers[0][k], kBoxes);
    }
  }

  YOLOV1_HOST_DEVICE static void Put(const IouBox<Lanes<A>>& box, A* to, int64_t stride) {
    Store(box.x0, to);
    Store(box.y0, to + stride);
    Store(box.x1, to + 2 * stride);
    Store(box.y1, to + 3 * stride);
    Store(box.area, to + 4 * stride);
    Store(box.angle, to + 5 * stride);
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

// ------------------------------------------------------------------------------------------ tiles

// A tile's place, and its boxes made ready.
template <typename T>
struct Tile {
  using A = typename Sum<T>::Type;
  int64_t n, row, column;  // of the batch, and the first box of each side
  int64_t rows, columns;   // how many there are
  int64_t offset;          // of the first pair in [N, M, K]
  Ready<A, kTileA> a;
  Ready<A, kTileB> b;

  YOLOV1_HOST_DEVICE Tile(const BoxIouArgs& args, int64_t number) {
    const BoxIouSizes& sizes = args.sizes;
    const BoxIouTiles tiles(sizes);
    column = number % tiles.b * kTileB;
    row = number / tiles.b % tiles.a * kTileA;
    n = number / tiles.b / tiles.a;
    rows = Least(kTileA, sizes.M - row);
    columns = Least(kTileB, sizes.K - column);
    offset = (n * sizes.M + row) * sizes.K + column;
    const int64_t at_a = sizes.batch.Source(0, n) * sizes.M + row;
    const int64_t at_b = sizes.batch.Source(1, n) * sizes.K + column;
    a.Make(args.config, static_cast<const T*>(args.boxes_a) + 4 * at_a,
           args.valid_a ? args.valid_a + at_a : nullptr, rows);
    b.Make(args.config, static_cast<const T*>(args.boxes_b) + 4 * at_b,
           args.valid_b ? args.valid_b + at_b : nullptr, columns);
  }
};

// Boxes [row, row + count) of a with all of b. Where lanes do not divide `columns`, the last pairs
// are computed once more.
template <IouKind kind, int64_t count, bool streams, typename T>
YOLOV1_HOST_DEVICE void Rows(const Tile<T>& tile, int64_t row, T* to, int64_t stride) {
  using A = typename Tile<T>::A;
  constexpr int64_t kLanes = Lanes<A>::kCount;
  IouBox<Lanes<A>> a[count];
#pragma GCC unroll 4
  for (int64_t k = 0; k < count; ++k) a[k] = tile.a.One(row + k);
  const auto columns = [&](int64_t column, const auto& store) __attribute__((always_inline)) {
    const IouBox<Lanes<A>> b = tile.b.At(column);
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; ++k) {
      Lanes<A> value = PairIou<kind>(a[k], b);
      if (tile.b.masked) value = Select(tile.b.Valid(column), value, Lanes<A>(0));
      store(value, to + k * stride + column);
    }
  };
  const auto whole = [](const Lanes<A>& value, T* at) __attribute__((always_inline)) {
    streams ? Stream(value, at) : Store(value, at);
  };
  int64_t column = 0;
  for (; column + kLanes <= tile.columns; column += kLanes) columns(column, whole);
  const int64_t left = tile.columns - column;
  if (left > 0) {
    columns(column, [=](const Lanes<A>& value, T* at)
                        __attribute__((always_inline)) { StoreFirst(value, at, left); });
  }
}

template <IouKind kind, bool streams, typename T>
__attribute__((noinline)) void ForwardTile(const BoxIouArgs& args, int64_t number) {
  const Tile<T> tile(args, number);
  T* const to = static_cast<T*>(args.iou) + tile.offset;
  const int64_t stride = args.sizes.K;
  int64_t row = 0;
  for (; row + kGroup <= tile.rows; row += kGroup)
    Rows<kind, kGroup, streams>(tile, row, to + row * stride, stride);
  for (; row < tile.rows; ++row) Rows<kind, 1, streams>(tile, row, to + row * stride, stride);
  if (!tile.a.masked) return;
  for (row = 0; row < tile.rows; ++row)
    if (tile.a.valid[row] == 0)
      for (int64_t k = 0; k < tile.columns; ++k) to[row * stride + k] = T(0);
}

void Forward(const BoxIouArgs& args, bool large, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
    // Streaming takes lines that begin where lanes do.
    const bool streams = large && sizeof(T) >= 4 && args.sizes.K * sizeof(T) % 64 == 0 &&
                         reinterpret_cast<uintptr_t>(args.iou) % 64 == 0;
    WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t number = begin; number < end; ++number)
        streams ? ForwardTile<constant.kind, true, T>(args, number)
                : ForwardTile<constant.kind, false, T>(args, number);
    });
    if (streams) FinishStream();
  });
}

// --------------------------------------------------------------------------------------- gradients

template <IouKind kind, typename T>
__attribute__((noinline)) void SumTile(const BoxIouArgs& args, int64_t number, void* sums_a,
                                       void* sums_b) {
  using A = typename Tile<T>::A;
  constexpr int64_t kLanes = Lanes<A>::kCount;
  const Tile<T> tile(args, number);
  const T* const upstream = static_cast<const T*>(args.upstream) + tile.offset;
  const BoxIouTiles tiles(args.sizes);
  A* const to_a = static_cast<A*>(sums_a) + number * kNumbers * tiles.size_a;
  A* const to_b = static_cast<A*>(sums_b) + number * kNumbers * tiles.size_b;
  alignas(64) A columns[kNumbers][kTileB];
  constexpr int kUsed = kind == IouKind::kCiou ? 6 : 5;
  for (int k = 0; k < kNumbers; ++k)
    for (int64_t c = 0; c < tile.columns; c += kLanes) Store(Lanes<A>(0), columns[k] + c);
  for (int64_t row = 0; row < tile.rows; ++row) {
    IouBox<Lanes<A>> sum = {A(0), A(0), A(0), A(0), A(0), A(0)};
    if (tile.a.valid[row] != 0) {
      const IouBox<Lanes<A>> a = tile.a.One(row);
      const T* const from = upstream + row * args.sizes.K;
      const auto pairs = [&](int64_t c, const Lanes<A>& up,
                             bool keep) __attribute__((always_inline)) {
        // A row goes on where it ends in the next tile: the machine cannot foresee the next one.
        __builtin_prefetch(from + args.sizes.K + c);
        PairGradient<Lanes<A>> by = PairIouGradient<kind>(a, tile.b.At(c), up);
        if (keep) {
          by.a = Keep<Lanes<A>>(tile.b.Valid(c), by.a);
          by.b = Keep<Lanes<A>>(tile.b.Valid(c), by.b);
        }
        sum = sum + by.a;
        const auto add = [&](int k, const Lanes<A>& value) __attribute__((always_inline)) {
          Store(Load(columns[k] + c) + value, columns[k] + c);
        };
        add(0, by.b.x0);
        add(1, by.b.y0);
        add(2, by.b.x1);
        add(3, by.b.y1);
        add(4, by.b.area);
        if (kind == IouKind::kCiou) add(5, by.b.angle);
      };
      int64_t c = 0;
      for (; c + kLanes <= tile.columns; c += kLanes) pairs(c, Load(from + c), tile.b.masked);
      if (c < tile.columns) pairs(c, LoadFirst(from + c, tile.columns - c), true);
    }
    const Lanes<A> sums[] = {sum.x0, sum.y0, sum.x1, sum.y1, sum.area, sum.angle};
    for (int k = 0; k < kUsed; ++k) to_a[k * tiles.size_a + row] = SumLanes(sums[k]);
  }
  for (int k = 0; k < kUsed; ++k)
    for (int64_t c = 0; c < tile.columns; c += kLanes)
      Store(Load(columns[k] + c), to_b + k * tiles.size_b + c);
}

void SumTiles(const BoxIouArgs& args, void* sums_a, void* sums_b, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
    WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t number = begin; number < end; ++number)
        SumTile<constant.kind, T>(args, number, sums_a, sums_b);
    });
  });
}

// The gradient of the boxes that `ready` holds, from its sums by their numbers (which it
// overwrites).
template <typename T, typename A, int64_t kBoxes>
YOLOV1_HOST_DEVICE void WriteGradient(const BoxIouConfig& config, const Ready<A, kBoxes>& ready,
                                      A (*sums)[kBoxes], int64_t count, T* to) {  // [count, 4]
  for (int64_t k = 0; k < count; k += Lanes<A>::kCount) {
    const IouBox<Lanes<A>> sum = {Load(sums[0] + k), Load(sums[1] + k), Load(sums[2] + k),
                                  Load(sums[3] + k), Load(sums[4] + k), Load(sums[5] + k)};
    const Coordinates<Lanes<A>> by = BoxGradient(config.kind, config.format, ready.At(k), sum);
    Store(by.c0, sums[0] + k);
    Store(by.c1, sums[1] + k);
    Store(by.c2, sums[2] + k);
    Store(by.c3, sums[3] + k);
  }
  for (int64_t k = 0; k < count; ++k)
    for (int c = 0; c < 4; ++c) to[4 * k + c] = static_cast<T>(sums[c][k]);
}

// Boxes of one side in tiles of kTile, each of which has sums from the tiles of the other side.
template <int64_t kTile, typename T>
__attribute__((noinline)) void FinishTile(const BoxIouArgs& args, int side, const void* sums,
                                          const int64_t* users, int64_t number) {
  using A = typename Sum<T>::Type;
  const BoxIouSizes& sizes = args.sizes;
  const BoxIouTiles all(sizes);
  const int64_t boxes = side == 0 ? sizes.M : sizes.K;
  const int64_t tiles = side == 0 ? all.a : all.b, others = side == 0 ? all.b : all.a;
  const int64_t size = side == 0 ? all.size_a : all.size_b;
  const int64_t tile = number % tiles, element = number / tiles;
  const int64_t count = Least(kTile, boxes - tile * kTile);
  const int64_t at = element * boxes + tile * kTile;
  const void* const from = side == 0 ? args.boxes_a : args.boxes_b;
  const bool* const mask = side == 0 ? args.valid_a : args.valid_b;
  Ready<A, kTile> ready;
  ready.Make(args.config, static_cast<const T*>(from) + 4 * at, mask ? mask + at : nullptr, count);
  alignas(64) A total[kNumbers][kTile];
  const int used = args.config.kind == IouKind::kCiou ? 6 : 5;
  for (int k = 0; k < kNumbers; ++k)
    for (int64_t c = 0; c < count; c += Lanes<A>::kCount) Store(Lanes<A>(0), total[k] + c);
  const int64_t repeats = sizes.N / (side == 0 ? sizes.count_a : sizes.count_b);
  for (int64_t user = 0; user < repeats; ++user) {
    const int64_t n = users ? users[element * repeats + user] : element;
    for (int64_t other = 0; other < others; ++other) {
      const int64_t pairs =
          side == 0 ? (n * tiles + tile) * others + other : (n * others + other) * tiles + tile;
      const A* const part = static_cast<const A*>(sums) + pairs * kNumbers * size;
      for (int k = 0; k < used; ++k)
        for (int64_t c = 0; c < count; c += Lanes<A>::kCount)
          Store(Load(total[k] + c) + Load(part + k * size + c), total[k] + c);
    }
  }
  void* const to = side == 0 ? args.gradient_a : args.gradient_b;
  WriteGradient(args.config, ready, total, count, static_cast<T*>(to) + 4 * at);
}

void Finish(const BoxIouArgs& args, int side, const void* sums, const int64_t* users, int64_t begin,
            int64_t end) {
  WithType(args.type, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
    for (int64_t number = begin; number < end; ++number)
      side == 0 ? FinishTile<kTileA, T>(args, side, sums, users, number)
                : FinishTile<kTileB, T>(args, side, sums, users, number);
  });
}

// ----------------------------------------------------------------------------------- aligned pairs

// Boxes of one side, those that pairs [begin, begin + count) are made of.
template <typename T, typename A, int64_t kBoxes>
YOLOV1_HOST_DEVICE void MakeAligned(const BoxIouArgs& args, int side, int64_t begin, int64_t count,
                                    Ready<A, kBoxes>* ready) {
  const T* boxes = static_cast<const T*>(side == 0 ? args.boxes_a : args.boxes_b);
  const bool* mask = side == 0 ? args.valid_a : args.valid_b;
  if (!args.sizes.Repeats(side)) {
    return ready->Make(args.config, boxes + 4 * begin, mask ? mask + begin : nullptr, count);
  }
  T gathered[4 * kBoxes];
  bool valid[kBoxes];
  for (int64_t k = 0; k < count; ++k) {
    const int64_t source = args.sizes.batch.Source(side, begin + k);
    for (int c = 0; c < 4; ++c) gathered[4 * k + c] = boxes[4 * source + c];
    valid[k] = mask == nullptr || mask[source];
  }
  ready->Make(args.config, gathered, mask ? valid : nullptr, count);
}

constexpr int64_t kAligned = 128;  // pairs that are made ready at once

template <typename T>
struct AlignedBoxes {
  using A = typename Sum<T>::Type;
  Ready<A, kAligned> a, b;

  YOLOV1_HOST_DEVICE AlignedBoxes(const BoxIouArgs& args, int64_t begin, int64_t count) {
    MakeAligned<T>(args, 0, begin, count, &a);
    MakeAligned<T>(args, 1, begin, count, &b);
  }
  YOLOV1_HOST_DEVICE Mask<A> Valid(int64_t k) const { return a.Valid(k) & b.Valid(k); }
};

template <IouKind kind, typename T>
__attribute__((noinline)) void AlignedBlock(const BoxIouArgs& args, int64_t begin, int64_t count) {
  using A = typename Sum<T>::Type;
  const AlignedBoxes<T> boxes(args, begin, count);
  T* const to = static_cast<T*>(args.iou) + begin;
  for (int64_t k = 0; k < count; k += Lanes<A>::kCount) {
    const Lanes<A> value =
        Select(boxes.Valid(k), PairIou<kind>(boxes.a.At(k), boxes.b.At(k)), Lanes<A>(0));
    if (k + Lanes<A>::kCount <= count) {
      Store(value, to + k);
    } else {
      StoreFirst(value, to + k, count - k);
    }
  }
}

void ForwardAligned(const BoxIouArgs& args, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
    WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t k = begin; k < end; k += kAligned)
        AlignedBlock<constant.kind, T>(args, k, Least(kAligned, end - k));
    });
  });
}

template <IouKind kind, typename T>
__attribute__((noinline)) void AlignedGradientBlock(const BoxIouArgs& args, void* by_a, void* by_b,
                                                    int64_t begin, int64_t count) {
  using A = typename Sum<T>::Type;
  constexpr int64_t kLanes = Lanes<A>::kCount;
  const AlignedBoxes<T> boxes(args, begin, count);
  const T* const upstream = static_cast<const T*>(args.upstream) + begin;
  alignas(64) A sums_a[kNumbers][kAligned], sums_b[kNumbers][kAligned];
  for (int64_t k = 0; k < count; k += kLanes) {
    const Lanes<A> up =
        k + kLanes <= count ? Load(upstream + k) : LoadFirst(upstream + k, count - k);
    const PairGradient<Lanes<A>> by = PairIouGradient<kind>(boxes.a.At(k), boxes.b.At(k), up);
    Ready<A, kAligned>::Put(Keep<Lanes<A>>(boxes.Valid(k), by.a), &sums_a[0][k], kAligned);
    Ready<A, kAligned>::Put(Keep<Lanes<A>>(boxes.Valid(k), by.b), &sums_b[0][k], kAligned);
  }
  const auto write = [&](const auto& ready, auto& sums, void* by,
                         void* gradient) __attribute__((always_inline)) {
    if (by != nullptr) {
      WriteGradient(args.config, ready, sums, count, static_cast<A*>(by) + 4 * begin);
    } else {
      WriteGradient(args.config, ready, sums, count, static_cast<T*>(gradient) + 4 * begin);
    }
  };
  write(boxes.a, sums_a, by_a, args.gradient_a);
  write(boxes.b, sums_b, by_b, args.gradient_b);
}

void GradientAligned(const BoxIouArgs& args, void* by_a, void* by_b, int64_t begin, int64_t end) {
  WithType(args.type, [&](auto* type) __attribute__((always_inline)) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
    WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
      for (int64_t k = begin; k < end; k += kAligned)
        AlignedGradientBlock<constant.kind, T>(args, by_a, by_b, k, Least(kAligned, end - k));
    });
  });
}

}  // namespace

const BoxIouLevel kBoxIou = {Forward, SumTiles, Finish, ForwardAligned, GradientAligned};

}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
