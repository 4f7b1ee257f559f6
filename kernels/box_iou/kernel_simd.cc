// Batched IoU on the CPU, in lanes. This file is compiled once for each level of SIMD, with
// YOLOV1_LEVEL naming it (CMakeLists.txt); kernel_cpu.cc picks one when the program runs. Nothing
// here may become a weak symbol: the linker could take the AVX-512 copy for everyone.
//
// The boxes of a tile are made ready once, each of their numbers in an array of its own (tile.h).
// Then each box of a goes through all boxes of b, as many at once as there are lanes. In the
// backward pass the gradients of the box of a are summed in registers, those of the boxes b in the
// first cache.
#include "kernels/box_iou/kernel_simd.h"

#include <type_traits>

#include "kernels/box_iou/tile.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

// Box `row` of a with all of b.
template <IouKind kind, typename A>
YOLOV1_HOST_DEVICE void Row(const Tile<A>& tile, int64_t row, bool streams, A* to) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  const IouBox<Lanes<A>> a = tile.a.One(row);
  for (int64_t c = 0; c < tile.columns; c += kLanes) {
    Lanes<A> value = PairIou<kind>(a, tile.b.At(c));
    if (tile.b.masked) value = Select(tile.b.Valid(c), value, Lanes<A>(0));
    if (c + kLanes > tile.columns) {
      StoreFirst(value, to + c, tile.columns - c);
    } else if (streams) {
      Stream(value, to + c);
    } else {
      Store(value, to + c);
    }
  }
}

template <IouKind kind, typename A>
__attribute__((noinline)) void ForwardTile(const BoxIouArgs& args, const Tile<A>& tile,
                                           bool streams) {
  alignas(64) A buffer[kTileB];
  for (int64_t row = 0; row < tile.rows; ++row) {
    const int64_t first = tile.first + row * tile.stride;
    A* const to = ToWrite(args.type, args.iou, first, buffer);
    if (tile.a.valid[row] != 0) {
      Row<kind>(tile, row, streams, to);
    } else {
      memset(to, 0, tile.columns * sizeof(A));
    }
    Wrote(args.type, to, tile.columns, args.iou, first);
  }
}

void Forward(const BoxIouArgs& args, bool large, int64_t begin, int64_t end) {
  WithSum(args.type, [&](auto zero) __attribute__((always_inline)) {
    using A = decltype(zero);
    // Streaming takes lines that begin where lanes do.
    const bool streams = large && !Narrower(args.type) && args.sizes.K * sizeof(A) % 64 == 0 &&
                         reinterpret_cast<uintptr_t>(args.iou) % 64 == 0;
    for (int64_t number = begin; number < end; ++number) {
      const Tile<A> tile(args, number);
      WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
        ForwardTile<constant.kind>(args, tile, streams);
      });
    }
    if (streams) FinishStream();
  });
}

// --------------------------------------------------------------------------------------- gradients

// Sums for the boxes of a tile, by the numbers of ready boxes.
template <typename A, int64_t kBoxes>
struct Sums {
  alignas(64) A numbers[kNumbers][kBoxes];

  YOLOV1_HOST_DEVICE void Clear(int64_t count) {
    for (int k = 0; k < kNumbers; ++k)
      for (int64_t c = 0; c < count; c += Lanes<A>::kCount) Store(Lanes<A>(0), numbers[k] + c);
  }

  YOLOV1_HOST_DEVICE void Add(int k, int64_t c, const Lanes<A>& value) {
    Store(Load(numbers[k] + c) + value, numbers[k] + c);
  }
};

// Box `row` of a with all of b: adds what the boxes of b get to `columns`, unless that is null, and
// returns what a's gets.
// `next`: where the next row's upstream lies, in elements of `size` bytes. A row goes on where it
// ends in the next tile, so the machine cannot foresee the next one and has to be asked for it.
template <IouKind kind, typename A>
YOLOV1_HOST_DEVICE IouBox<Lanes<A>> SumRow(const Tile<A>& tile, int64_t row, const A* upstream,
                                           const char* next, int64_t size,
                                           Sums<A, kTileB>* columns) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  const IouBox<Lanes<A>> a = tile.a.One(row);
  IouBox<Lanes<A>> sum = {A(0), A(0), A(0), A(0), A(0), A(0)};
  for (int64_t c = 0; c < tile.columns; c += kLanes) {
    __builtin_prefetch(next + c * size);
    const int64_t left = tile.columns - c;
    const Lanes<A> up = left < kLanes ? LoadFirst(upstream + c, left) : Load(upstream + c);
    PairGradient<Lanes<A>> by = PairIouGradient<kind>(a, tile.b.At(c), up);
    if (left < kLanes || tile.b.masked) {
      by.a = Keep<Lanes<A>>(tile.b.Valid(c), by.a);
      by.b = Keep<Lanes<A>>(tile.b.Valid(c), by.b);
    }
    sum = sum + by.a;
    if (columns == nullptr) continue;
    columns->Add(0, c, by.b.x0);
    columns->Add(1, c, by.b.y0);
    columns->Add(2, c, by.b.x1);
    columns->Add(3, c, by.b.y1);
    columns->Add(4, c, by.b.area);
    if (kind == IouKind::kCiou) columns->Add(5, c, by.b.angle);
  }
  return sum;
}

// The sums of one side are not taken where they have no place.
template <IouKind kind, typename A>
__attribute__((noinline)) void SumTile(const BoxIouArgs& args, const Tile<A>& tile, A* sums_a,
                                       int64_t size_a, Sums<A, kTileB>* columns) {
  alignas(64) A buffer[kTileB];
  const int64_t size = SizeOf(args.type);
  for (int64_t row = 0; row < tile.rows; ++row) {
    IouBox<Lanes<A>> sum = {A(0), A(0), A(0), A(0), A(0), A(0)};
    if (tile.a.valid[row] != 0) {
      const int64_t first = tile.first + row * tile.stride;
      const A* const upstream = Read(args.type, args.upstream, first, tile.columns, buffer);
      const char* const next =
          static_cast<const char*>(args.upstream) + (first + tile.stride) * size;
      sum = SumRow<kind>(tile, row, upstream, next, size, columns);
    }
    if (sums_a == nullptr) continue;
    const Lanes<A> sums[] = {sum.x0, sum.y0, sum.x1, sum.y1, sum.area, sum.angle};
    for (int k = 0; k < (kind == IouKind::kCiou ? 6 : 5); ++k)
      sums_a[k * size_a + row] = SumLanes(sums[k]);
  }
}

void SumTiles(const BoxIouArgs& args, void* sums_a, void* sums_b, int64_t begin, int64_t end) {
  WithSum(args.type, [&](auto zero) __attribute__((always_inline)) {
    using A = decltype(zero);
    const BoxIouTiles tiles(args.sizes);
    for (int64_t number = begin; number < end; ++number) {
      const Tile<A> tile(args, number);
      A* const to_a = sums_a ? static_cast<A*>(sums_a) + number * kNumbers * tiles.size_a : nullptr;
      Sums<A, kTileB> columns;
      columns.Clear(tile.columns);
      WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
        SumTile<constant.kind>(args, tile, to_a, tiles.size_a, sums_b ? &columns : nullptr);
      });
      if (sums_b == nullptr) continue;
      A* const to_b = static_cast<A*>(sums_b) + number * kNumbers * tiles.size_b;
      for (int k = 0; k < kNumbers; ++k)
        for (int64_t c = 0; c < tile.columns; c += Lanes<A>::kCount)
          Store(Load(columns.numbers[k] + c), to_b + k * tiles.size_b + c);
    }
  });
}

// The gradients of `count` boxes, from their sums by the numbers that `ready` holds (which it
// overwrites): [count, 4] from element `first` of `to` on.
template <typename A, int64_t kBoxes>
__attribute__((noinline)) void WriteGradient(const BoxIouConfig& config,
                                             const Ready<A, kBoxes>& ready, Sums<A, kBoxes>* sums,
                                             int64_t count, DType type, void* to, int64_t first) {
  A(*const numbers)[kBoxes] = sums->numbers;
  for (int64_t k = 0; k < count; k += Lanes<A>::kCount) {
    const IouBox<Lanes<A>> sum = {Load(numbers[0] + k), Load(numbers[1] + k), Load(numbers[2] + k),
                                  Load(numbers[3] + k), Load(numbers[4] + k), Load(numbers[5] + k)};
    const Coordinates<Lanes<A>> by = BoxGradient(config.kind, config.format, ready.At(k), sum);
    Store(by.c0, numbers[0] + k);
    Store(by.c1, numbers[1] + k);
    Store(by.c2, numbers[2] + k);
    Store(by.c3, numbers[3] + k);
  }
  A buffer[4 * kBoxes];
  A* const boxes = ToWrite(type, to, first, buffer);
  for (int64_t k = 0; k < count; ++k)
    for (int c = 0; c < 4; ++c) boxes[4 * k + c] = numbers[c][k];
  Wrote(type, boxes, 4 * count, to, first);
}

// Boxes of one side in tiles of kTile, each of which has sums from the tiles of the other side.
template <int64_t kTile, typename A>
__attribute__((noinline)) void FinishTile(const BoxIouArgs& args, int side, const A* sums,
                                          int64_t number) {
  const BoxIouSizes& sizes = args.sizes;
  const BoxIouTiles all(sizes);
  const int64_t boxes = sizes.Boxes(side);
  const int64_t tiles = all.Tiles(side), others = all.Tiles(1 - side);
  const int64_t size = all.Size(side);
  const int64_t tile = number % tiles, element = number / tiles;
  const int64_t count = Least(kTile, boxes - tile * kTile);
  const int64_t at = element * boxes + tile * kTile;
  Ready<A, kTile> ready;
  ready.Make(args, args.Boxes(side), args.Valid(side), at, count);
  const bool* const other_mask = args.Valid(1 - side);
  const int64_t other_boxes = sizes.Boxes(1 - side);
  bool any_pair = other_mask == nullptr;
  Sums<A, kTile> total;
  total.Clear(count);
  const int used = args.config.kind == IouKind::kCiou ? 6 : 5;
  const int64_t repeats = sizes.N / sizes.Count(side);
  for (int64_t user = 0; user < repeats; ++user) {
    const int64_t n = sizes.batch.User(side, element, user);
    if (!any_pair) {
      const bool* const others_valid = other_mask + sizes.batch.Source(1 - side, n) * other_boxes;
      for (int64_t k = 0; k < other_boxes; ++k) any_pair |= others_valid[k];
    }
    for (int64_t other = 0; other < others; ++other) {
      const int64_t pairs =
          side == 0 ? (n * tiles + tile) * others + other : (n * others + other) * tiles + tile;
      const A* const part = sums + pairs * kNumbers * size;
      for (int k = 0; k < used; ++k)
        for (int64_t c = 0; c < count; c += Lanes<A>::kCount)
          total.Add(k, c, Load(part + k * size + c));
    }
  }
  if (!any_pair) ready.Hide(count);
  WriteGradient(args.config, ready, &total, count, args.type, args.Gradient(side), 4 * at);
}

void Finish(const BoxIouArgs& args, int side, const void* sums, int64_t begin, int64_t end) {
  WithSum(args.type, [&](auto zero) __attribute__((always_inline)) {
    const auto* const typed = static_cast<const decltype(zero)*>(sums);
    for (int64_t number = begin; number < end; ++number)
      side == 0 ? FinishTile<kTileA>(args, side, typed, number)
                : FinishTile<kTileB>(args, side, typed, number);
  });
}

void GradientSmall(const BoxIouArgs& args, int64_t begin, int64_t end) {
  WithSum(args.type, [&](auto zero) __attribute__((always_inline)) {
    using A = decltype(zero);
    for (int64_t n = begin; n < end; ++n) {
      Tile<A> tile(args, n);
      Sums<A, kTileA> rows;
      Sums<A, kTileB> columns;
      rows.Clear(tile.rows);
      columns.Clear(tile.columns);
      WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
        SumTile<constant.kind>(args, tile, args.gradient_a ? rows.numbers[0] : nullptr, kTileA,
                               args.gradient_b ? &columns : nullptr);
      });
      if (!tile.b.AnyValid(tile.columns)) tile.a.Hide(tile.rows);
      if (!tile.a.AnyValid(tile.rows)) tile.b.Hide(tile.columns);
      if (args.gradient_a)
        WriteGradient(args.config, tile.a, &rows, tile.rows, args.type, args.gradient_a,
                      4 * n * tile.rows);
      if (args.gradient_b)
        WriteGradient(args.config, tile.b, &columns, tile.columns, args.type, args.gradient_b,
                      4 * n * tile.columns);
    }
  });
}

// ----------------------------------------------------------------------------------- aligned pairs

constexpr int64_t kAligned = 128;  // pairs that are made ready at once

template <typename A>
struct AlignedBoxes {
  Ready<A, kAligned> a, b;

  __attribute__((noinline)) AlignedBoxes(const BoxIouArgs& args, int64_t first, int64_t count) {
    bool both_valid[kAligned];
    for (int64_t k = 0; k < count; ++k) both_valid[k] = true;
    alignas(64) A buffer[4 * kAligned];
    const bool* const mask = args.valid_a || args.valid_b ? both_valid : nullptr;
    const A* boxes_a = Side(args, 0, first, count, buffer, both_valid);
    // A hidden pair hides both its boxes, so b's mask has to be known before a is made ready.
    alignas(64) A buffer_b[4 * kAligned];
    const A* boxes_b = Side(args, 1, first, count, buffer_b, both_valid);
    a.Make(args.config, boxes_a, mask, count);
    b.Make(args.config, boxes_b, mask, count);
  }

 private:
  // The boxes of one side, [count, 4]; takes from `both_valid` those that its mask hides.
  static const A* Side(const BoxIouArgs& args, int side, int64_t first, int64_t count, A* buffer,
                       bool* both_valid) {
    const void* const boxes = args.Boxes(side);
    const bool* const mask = args.Valid(side);
    if (!args.sizes.Repeats(side)) {
      for (int64_t k = 0; mask && k < count; ++k) both_valid[k] &= mask[first + k];
      return Read(args.type, boxes, 4 * first, 4 * count, buffer);
    }
    // Along the last dimension boxes lie side by side, or one stands for all.
    const int64_t step = args.sizes.batch.strides[side][0];
    Walk walk(args.sizes.batch, side, first);
    for (int64_t k = 0, run; k < count; k += run, walk.Go(run)) {
      run = Least(walk.Left(), count - k);
      const int64_t source = walk.source;
      for (int64_t j = k; mask && j < k + run; ++j) both_valid[j] &= mask[source + (j - k) * step];
      const int64_t distinct = step == 0 ? 1 : run;
      A* const to = buffer + 4 * k;
      const A* const from = Read(args.type, boxes, 4 * source, 4 * distinct, to);
      if (from != to) memcpy(to, from, 4 * distinct * sizeof(A));
      for (int64_t j = distinct; j < run; ++j) memcpy(to + 4 * j, to, 4 * sizeof(A));
    }
    return buffer;
  }
};

// Calls function(kind, boxes, first pair, count) for blocks of pairs [begin, end).
template <typename Function>
YOLOV1_HOST_DEVICE void EachBlock(const BoxIouArgs& args, int64_t begin, int64_t end,
                                  const Function& function) {
  WithSum(args.type, [&](auto zero) __attribute__((always_inline)) {
    for (int64_t first = begin; first < end; first += kAligned) {
      const int64_t count = Least(kAligned, end - first);
      const AlignedBoxes<decltype(zero)> boxes(args, first, count);
      WithIouKind(args.config.kind, [&](auto constant) __attribute__((always_inline)) {
        function(constant, boxes, first, count);
      });
    }
  });
}

template <IouKind kind, typename A>
__attribute__((noinline)) void AlignedBlock(const BoxIouArgs& args, const AlignedBoxes<A>& boxes,
                                            int64_t first, int64_t count) {
  alignas(64) A values[kAligned];
  for (int64_t k = 0; k < count; k += Lanes<A>::kCount) {
    const Lanes<A> value = PairIou<kind>(boxes.a.At(k), boxes.b.At(k));
    Store(Select(boxes.a.Valid(k), value, Lanes<A>(0)), values + k);
  }
  A buffer[kAligned];
  A* const to = ToWrite(args.type, args.iou, first, buffer);
  memcpy(to, values, count * sizeof(A));
  Wrote(args.type, to, count, args.iou, first);
}

void ForwardAligned(const BoxIouArgs& args, int64_t begin, int64_t end) {
  EachBlock(args, begin, end,
            [&](auto constant, const auto& boxes, int64_t first, int64_t count) __attribute__((
                always_inline)) { AlignedBlock<constant.kind>(args, boxes, first, count); });
}

template <IouKind kind, typename A>
__attribute__((noinline)) void AlignedSums(const BoxIouArgs& args, const AlignedBoxes<A>& boxes,
                                           int64_t first, int64_t count, Sums<A, kAligned>* a,
                                           Sums<A, kAligned>* b) {
  constexpr int64_t kLanes = Lanes<A>::kCount;
  alignas(64) A buffer[kAligned];
  const A* const upstream = Read(args.type, args.upstream, first, count, buffer);
  for (int64_t k = 0; k < count; k += kLanes) {
    const Lanes<A> up =
        count - k < kLanes ? LoadFirst(upstream + k, count - k) : Load(upstream + k);
    const PairGradient<Lanes<A>> by = PairIouGradient<kind>(boxes.a.At(k), boxes.b.At(k), up);
    Ready<A, kAligned>::Put(Keep<Lanes<A>>(boxes.a.Valid(k), by.a), &a->numbers[0][k]);
    Ready<A, kAligned>::Put(Keep<Lanes<A>>(boxes.a.Valid(k), by.b), &b->numbers[0][k]);
  }
}

void GradientAligned(const BoxIouArgs& args, void* by_a, void* by_b, int64_t begin, int64_t end) {
  const DType sums = args.type == DType::kDouble ? DType::kDouble : DType::kFloat;
  EachBlock(
      args, begin, end,
      [&](auto constant, const auto& boxes, int64_t first,
          int64_t count) __attribute__((always_inline)) {
        Sums<std::remove_cv_t<std::remove_reference_t<decltype(boxes.a.valid[0])>>, kAligned> a, b;
        AlignedSums<constant.kind>(args, boxes, first, count, &a, &b);
        if (args.gradient_a)
          WriteGradient(args.config, boxes.a, &a, count, by_a ? sums : args.type,
                        by_a ? by_a : args.gradient_a, 4 * first);
        if (args.gradient_b)
          WriteGradient(args.config, boxes.b, &b, count, by_b ? sums : args.type,
                        by_b ? by_b : args.gradient_b, 4 * first);
      });
}

}  // namespace

const BoxIouLevel kBoxIou = {Forward,       SumTiles,       Finish,
                             GradientSmall, ForwardAligned, GradientAligned};

}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
