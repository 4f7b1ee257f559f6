// Pixels in memory to an augmented batch on CUDA, with the bits of the CPU.
//
// A warp makes 32 columns of some rows of a result, each lane one column, from row to row. A lane
// keeps the two resized rows that it is between, at its column, and asks for the pixels of the next
// one while it works: nothing is computed twice but at a warp's first row, and warps wait for
// nobody. Some rows go through shared memory, where the lanes' pixels become 16-byte words.
#include <algorithm>

#include "kernels/core/dtype.h"
#include "kernels/cuda.h"
#include "kernels/load_images/kernel.h"

namespace yolov1 {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

// Rows that go through shared memory together: a lane's 16 bytes of each colour, so that whole
// words are made of them in both directions.
template <typename T>
constexpr int kGroup = 16 / sizeof(T);

// How the work is cut into pieces, of a warp each.
struct Pieces {
  int32_t strips;  // of 32 columns, the last of which may have fewer
  int32_t rows;    // of a piece, a multiple of kGroup
  int32_t bands;   // of that many rows
  int64_t count;

  Pieces(const LoadImagesArgs& args, int group) {
    constexpr int64_t kEnough = 1 << 14;  // to keep a large GPU busy for more than one round
    const int32_t size = args.config.size;
    strips = (size + kWarp - 1) / kWarp;
    rows = 2 * kWarp;
    do {
      rows /= 2;
      bands = (size + rows - 1) / rows;
      count = args.images * strips * bands;
    } while (rows > group && count < kEnough);
  }
};

// ----------------------------------------------------------------------------------------- pixels

// A byte as a number; with CUDA's own conversion it would be cut to 16 bits once more.
__device__ inline uint32_t Byte(const uint8_t* at) {
#if defined(__CUDA_ARCH__)
  uint32_t value;
  asm("ld.global.nc.u8 %0, [%1];" : "=r"(value) : "l"(at));
  return value;
#else
  return *at;
#endif
}

// Two pixels of a row, which a value lies between.
struct PixelPair {
  Rgb<uint32_t> first, second;
};

__device__ const uint8_t kGreyPixel[3] = {127, 127, 127};
static_assert(kGrey == 127);

// Where the columns that a tap lies between are, or rows.
struct Places {
  int32_t first, second;

  __device__ Places(const WindowSide& side, const Tap& tap)
      : first(side.Find(tap.first)), second(side.Find(tap.second)) {}
};

// The pixels of two columns, as they are in memory. What is outside of the image is the grey pixel,
// from which no row leads away.
struct WholePixels {
  static constexpr int32_t kWidest = 1 << 30;  // a row's bytes fit in 32 bits
  static constexpr int kRowsAtOnce = 4;

  const uint8_t *first, *second;
  uint32_t first_step, second_step;  // from one row to the next

  __device__ WholePixels(const uint8_t* pixels, int32_t width, const Places& columns) {
    const auto set = [=](int32_t column, const uint8_t** at, uint32_t* step) {
      *at = column == kOutside ? kGreyPixel : pixels + int64_t{3} * column;
      *step = column == kOutside ? 0 : 3 * static_cast<uint32_t>(width);
    };
    set(columns.first, &first, &first_step);
    set(columns.second, &second, &second_step);
  }

  __device__ PixelPair Load(int32_t row) const {
    const auto one = [=](const uint8_t* pixels, uint32_t step) -> Rgb<uint32_t> {
      const uint8_t* const at = pixels + uint64_t{static_cast<uint32_t>(Max(row, 0))} * step;
      return {Byte(at), Byte(at + 1), Byte(at + 2)};
    };
    return {one(first, first_step), one(second, second_step)};
  }
};

// The same of an image that is averaged down.
struct MeanPixels {
  static constexpr int kRowsAtOnce = 1;

  const uint8_t* pixels;  // [height, width, 3]
  int32_t height, width, ratio;
  Places columns;

  __device__ Rgb<uint32_t> Mean(int32_t row, int32_t column) const {
    if (column == kOutside) return {kGreyPixel[0], kGreyPixel[1], kGreyPixel[2]};
    uint32_t means[3];
    AverageBlock(pixels, height, width, ratio, Max(row, 0), column, means);
    return {means[0], means[1], means[2]};
  }

  __device__ PixelPair Load(int32_t row) const {
    return {Mean(row, columns.first), Mean(row, columns.second)};
  }
};

// Of a row of the image, whatever has been loaded of one outside of it.
__device__ inline Rgb<float> Resized(int32_t row, const PixelPair& pair, float share,
                                     float outside) {
  const auto one = [=](uint32_t a, uint32_t b) {
    const float value = Between(static_cast<float>(a), static_cast<float>(b), share);
    return row == kOutside ? outside : value;
  };
  return {one(pair.first.red, pair.second.red), one(pair.first.green, pair.second.green),
          one(pair.first.blue, pair.second.blue)};
}

// ---------------------------------------------------------------------------------------- results

template <typename T>
__device__ T Stored(float value) {  // of a value in [0, 1]
  if constexpr (sizeof(T) == 1) {
    return static_cast<T>(Truncate(value * 255.0f + 0.5f));
  } else {
    return T(value);
  }
}
template <typename T>
__device__ T Refused() {
  if constexpr (sizeof(T) == 1) {
    return 0;
  } else {
    return T(BitCast<float>(0x7fc00000u));
  }
}

// Rows of a strip of columns on their way to the result: groups of them, which lie in the warp's
// shared memory as lines of the result do, of whole words or not.
template <typename T, bool words>
class Strip {
 public:
  int32_t size, x, columns;

  // `image` [size, size, 3], of which the rows from `row` on are made.
  __device__ Strip(T* image, T* staged, int32_t size, int32_t x, int32_t row, bool transposed)
      : size(size),
        x(x),
        columns(Min(size - x, int32_t{kWarp})),
        transposed_(transposed),
        staged_(staged) {
    to_ = image + 3 * (transposed ? int64_t{x} * size + row : int64_t{row} * size + x);
    if (!words) return;
    // 24 words a round, of one line or several, and four rounds a group.
    const int per_line = 3 * (transposed ? kGroup<T> : kWarp) / kGroup<T>;
    const int line = Lane() / per_line, word = Lane() % per_line;
    const int lines = transposed ? columns : kGroup<T>, of_round = kWordsARound / per_line;
    const bool has_words =
        Lane() < kWordsARound && word < 3 * (transposed ? kGroup<T> : columns) / kGroup<T>;
    rounds_ = has_words ? (lines - line + of_round - 1) / of_round : 0;
    to_ += int64_t{3} * size * line + word * kGroup<T>;
    step_ = 3 * size / kGroup<T> * of_round;
  }

  // Rows [0, count), of which make(k) makes this lane's pixel, one after another; so many at once
  // in the code for words.
  template <int at_once, typename Make>
  __device__ void Rows(int count, const Make& make) {
    T* const first = staged_ + 3 * Lane() * (transposed_ ? kGroup<T> : 1);
    const int step = 3 * (transposed_ ? 1 : kWarp);
    for (int done = 0; done < count; done += kGroup<T>) {
      // With words a group is whole.
      const int rows = words ? kGroup<T> : Min(count - done, int{kGroup<T>});
      T* to = first;
#pragma unroll(words ? at_once : 1)
      for (int k = 0; k < rows; ++k, to += step) {
        const Rgb<T> pixel = make(done + k);
        to[0] = pixel.red;
        to[1] = pixel.green;
        to[2] = pixel.blue;
      }
      __syncwarp();
      Store(rows);
      to_ += 3 * kGroup<T> * (transposed_ ? 1 : size);
      __syncwarp();  // before it is written again
    }
  }

 private:
  static constexpr int kWordsARound = 24;

  __device__ static int Lane() { return static_cast<int>(threadIdx.x) % kWarp; }

  __device__ void Store(int rows) const {
    if constexpr (words) {
      auto* const to = reinterpret_cast<uint4*>(to_);
      const auto* const from = reinterpret_cast<const uint4*>(staged_) + Lane();
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < rounds_) to[k * step_] = from[k * kWordsARound];
    } else if (transposed_) {
      StoreLines<kGroup<T>>(columns, rows);
    } else {
      StoreLines<kWarp>(rows, columns);
    }
  }

  // Value by value: lines of `pixels` pixels each, the first ones of them.
  template <int pixels>
  __device__ void StoreLines(int lines, int filled) const {
    constexpr int kPerLine = 3 * pixels;
#pragma unroll 1
    for (int k = Lane(); k < lines * kPerLine; k += kWarp) {
      const int line = k / kPerLine, at = k % kPerLine;
      if (at < 3 * filled) to_[int64_t{3} * size * line + at] = staged_[k];
    }
  }

  bool transposed_;
  T* staged_;                  // [kGroup, kWarp, 3], or [kWarp, kGroup, 3] if transposed
  T* to_;                      // of the group; where there are words, this lane's first one
  int rounds_ = 0, step_ = 0;  // this lane's words, and how many words on each next one is
};

// ----------------------------------------------------------------------------------------- pieces

// Rows [row, row + count), at most kWarp, of an image that fits: each lane finds between which rows
// of the image one of them lies.
template <typename T, Change change, typename Pixels, bool words>
__device__ void MakeRows(const Pixels& pixels, float share, const ColourChange& colour,
                         const WindowSide& y, int32_t row, int count, Strip<T, words>& strip) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Tap of_lane = TapOf(y, strip.size, row + Min(lane, count - 1));
  const Places rows_of_lane(y, of_lane);
  const auto first = [&](int k) { return __shfl_sync(kAllLanes, rows_of_lane.first, k); };
  const auto second = [&](int k) { return __shfl_sync(kAllLanes, rows_of_lane.second, k); };
  const float outside = y.outside();
  const auto resized = [&](int32_t of) { return Resized(of, pixels.Load(of), share, outside); };
  int32_t row_above = first(0), row_below = second(0);
  Rgb<float> above = resized(row_above), below = resized(row_below);
  strip.template Rows<Pixels::kRowsAtOnce>(count, [&](int k) -> Rgb<T> {
    // Asks for the pixels of the next row before it makes this one.
    const int next = Min(k + 1, count - 1);
    const int32_t next_above = first(next), next_below = second(next);
    const PixelPair ahead = pixels.Load(next_below);

    const float down = __shfl_sync(kAllLanes, of_lane.share, k);
    const auto value = [=](float a, float b) { return Between(a, b, down) * (1.0f / 255); };
    const Rgb<float> rgb = Changed<change>(
        colour, Rgb<float>{value(above.red, below.red), value(above.green, below.green),
                           value(above.blue, below.blue)});

    if (next_above != row_above) above = next_above == row_below ? below : resized(next_above);
    below = Resized(next_below, ahead, share, outside);
    row_above = next_above;
    row_below = next_below;
    return {Stored<T>(rgb.red), Stored<T>(rgb.green), Stored<T>(rgb.blue)};
  });
}

// A piece of an image.
template <typename T, bool words>
__device__ void MakePiece(const LoadImagesArgs& args, int64_t image, int32_t row, int count,
                          Strip<T, words>& strip) {
  const PixelsInMemory& memory = args.pixels;
  const ColourChange colour = args.draws.Colour(image);
  WindowSide x, y;
  int32_t height = 0, width = 0, ratio = 1;
  bool fits = memory.Fits(image) && colour.sound();
  if (fits) {
    height = memory.sizes[2 * image];
    width = memory.sizes[2 * image + 1];
    if (args.config.shrink) ratio = ShrinkRatio(height, width, strip.size);
    fits = args.draws.ToWindow(image, Shrunk(height, ratio), Shrunk(width, ratio),
                               args.config.sampling, &x, &y);
  }
  if (!fits) {
    strip.template Rows<1>(
        count, [](int) -> Rgb<T> { return {Refused<T>(), Refused<T>(), Refused<T>()}; });
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Tap tap = TapOf(x, strip.size, strip.x + Min(lane, strip.columns - 1));
  const Places columns(x, tap);
  const uint8_t* const pixels = memory.values + memory.offsets[image];
  WithChange(colour, [&](auto change) {
    const auto make = [&](const auto& from) {
      MakeRows<T, decltype(change)::value>(from, tap.share, colour, y, row, count, strip);
    };
    if (ratio == 1 && width <= WholePixels::kWidest)
      make(WholePixels(pixels, width, columns));
    else
      make(MeanPixels{pixels, height, width, ratio, columns});
  });
}

template <typename T, bool words>
__global__ void __launch_bounds__(kThreads, 8)
    Augment(const LoadImagesArgs args, const Pieces pieces) {
  __shared__ __align__(16) T staged[kWarps][kGroup<T> * kWarp * 3];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int32_t size = args.config.size, per_image = pieces.strips * pieces.bands;
  for (int64_t piece = int64_t{blockIdx.x} * kWarps + warp; piece < pieces.count;
       piece += int64_t{gridDim.x} * kWarps) {
    const int64_t image = piece / per_image;
    const int32_t in_image = static_cast<int32_t>(piece % per_image);
    const int32_t row = in_image / pieces.strips * pieces.rows;
    Strip<T, words> strip(static_cast<T*>(args.out) + image * size * size * 3, staged[warp], size,
                          in_image % pieces.strips * kWarp, row, args.draws.transpose[image]);
    MakePiece(args, image, row, Min(size - row, pieces.rows), strip);
  }
}

template <typename T>
std::string Queue(const LoadImagesArgs& args, void* stream) {
  const Pieces pieces(args, kGroup<T>);
  // Whether a group's lines begin and end with words of 16 bytes.
  const bool words =
      args.config.size % kGroup<T> == 0 && reinterpret_cast<uintptr_t>(args.out) % 16 == 0;
  return Launch("augment_images", words ? Augment<T, true> : Augment<T, false>,
                Blocks((pieces.count + kWarps - 1) / kWarps), kThreads, 0, stream, args, pieces);
}

}  // namespace

// -------------------------------------------------------------------------------------- launchers

std::string AugmentImagesCuda(const LoadImagesArgs& args, void* stream) {
  if (args.images == 0) return "";
  switch (args.config.type) {
    case DType::kHalf:
      return Queue<Half>(args, stream);
    case DType::kBfloat16:
      return Queue<Bfloat16>(args, stream);
    case DType::kUint8:
      return Queue<uint8_t>(args, stream);
    default:
      return Queue<float>(args, stream);
  }
}

}  // namespace yolov1
