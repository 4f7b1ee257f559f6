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
  bool words;  // a group's lines begin and end with words of 16 bytes

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
    words = size % group == 0 && reinterpret_cast<uintptr_t>(args.out) % 16 == 0;
  }
};

// ----------------------------------------------------------------------------------------- pixels

constexpr int32_t kOutside = -1;  // in the place of a row or a column of the image

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
      : first(Find(side, tap.first)), second(Find(side, tap.second)) {}
  __device__ static int32_t Find(const WindowSide& side, int32_t pixel) {
    const int32_t at = side.low + pixel;
    return side.begin() <= at && at < side.end() ? at : kOutside;
  }
};

// The pixels of two columns, as they are in memory. What is outside of the image is the grey pixel,
// from which no row leads away.
struct WholePixels {
  static constexpr int32_t kWidest = 1 << 30;  // a row's bytes fit in 32 bits

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
      const uint8_t* const at =
          row == kOutside ? kGreyPixel : pixels + uint64_t{static_cast<uint32_t>(row)} * step;
      return {at[0], at[1], at[2]};
    };
    return {one(first, first_step), one(second, second_step)};
  }
};

// The same of an image that is averaged down.
struct MeanPixels {
  const uint8_t* pixels;  // [height, width, 3]
  int32_t height, width, ratio;
  Places columns;

  // The mean of a block, as the CPU's Average() has it.
  __device__ Rgb<uint32_t> Mean(int32_t row, int32_t column) const {
    if (row == kOutside || column == kOutside) return {kGreyPixel[0], kGreyPixel[1], kGreyPixel[2]};
    const int32_t y0 = row * ratio, y1 = Min(y0 + ratio, height);
    const int32_t x0 = column * ratio, x1 = Min(x0 + ratio, width);
    Rgb<uint32_t> sum = {0, 0, 0};
    for (int32_t y = y0; y < y1; ++y) {
      const uint8_t* pixel = pixels + (int64_t{y} * width + x0) * 3;
      for (int32_t x = x0; x < x1; ++x, pixel += 3) {
        sum.red += pixel[0];
        sum.green += pixel[1];
        sum.blue += pixel[2];
      }
    }
    const uint32_t count = static_cast<uint32_t>((y1 - y0) * (x1 - x0));
    const auto mean = [=](uint32_t of) { return (of + count / 2) / count; };
    return {mean(sum.red), mean(sum.green), mean(sum.blue)};
  }

  __device__ PixelPair Load(int32_t row) const {
    return {Mean(row, columns.first), Mean(row, columns.second)};
  }
};

__device__ inline Rgb<float> Resized(const PixelPair& pair, float share) {
  const auto one = [=](uint32_t a, uint32_t b) {
    return Between(static_cast<float>(a), static_cast<float>(b), share);
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

// Rows of a strip of columns, and the warp's shared memory on their way to the result.
template <typename T>
struct Strip {
  T* staged;  // [kGroup, kWarp, 3], or [kWarp, kGroup, 3] if transposed
  T* image;   // [size, size, 3]
  int32_t size, x, columns;
  bool transposed, words;

  // Lines of `pixels` pixels each to where they belong: as words, or value by value.
  template <int lines, int pixels>
  __device__ void StoreLines(int64_t first_pixel, int filled_lines, int filled_pixels) const {
    constexpr int kPerLine = 3 * pixels, kWordsPerLine = kPerLine / kGroup<T>;
    constexpr int kAtOnce = kWarp / kWordsPerLine;  // lines
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    T* const to = image + 3 * first_pixel;
    const int step = 3 * size, filled = 3 * filled_pixels;
    if (words) {
      const int line = lane / kWordsPerLine, word = lane % kWordsPerLine;
      if (line >= kAtOnce || word * kGroup<T> >= filled) return;
      const auto* const from = reinterpret_cast<const uint4*>(staged) + lane;
#pragma unroll
      for (int k = 0; k < lines; k += kAtOnce)
        if (line + k < filled_lines)
          reinterpret_cast<uint4*>(to + (line + k) * step)[word] = from[k * kWordsPerLine];
    } else {
#pragma unroll 1
      for (int k = lane; k < lines * kPerLine; k += kWarp) {
        const int line = k / kPerLine, at = k % kPerLine;
        if (line < filled_lines && at < filled) to[line * step + at] = staged[k];
      }
    }
  }

  // The group of `rows` rows from `row` on. By all lanes.
  __device__ void Store(int32_t row, int rows) const {
    __syncwarp();
    if (transposed)
      StoreLines<kWarp, kGroup<T>>(int64_t{x} * size + row, columns, rows);
    else
      StoreLines<kGroup<T>, kWarp>(int64_t{row} * size + x, rows, columns);
    __syncwarp();  // before it is written again
  }

  // Rows [row, row + count), of which make(k) makes this lane's pixel, one after another.
  template <typename Make>
  __device__ void Rows(int32_t row, int count, const Make& make) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    T* const first = staged + 3 * (transposed ? lane * kGroup<T> : lane);
    const int step = 3 * (transposed ? 1 : kWarp);
    for (int done = 0; done < count; done += kGroup<T>) {
      const int rows = Min(count - done, int{kGroup<T>});
#pragma unroll 1
      for (int k = 0; k < rows; ++k) {
        const Rgb<T> pixel = make(done + k);
        T* const to = first + k * step;
        to[0] = pixel.red;
        to[1] = pixel.green;
        to[2] = pixel.blue;
      }
      Store(row + done, rows);
    }
  }
};

// ----------------------------------------------------------------------------------------- pieces

// Rows [row, row + count), at most kWarp, of an image that fits: each lane finds between which rows
// of the image one of them lies.
template <typename Pixels, typename T>
__device__ void MakeRows(const Pixels& pixels, float share, const ColourChange& colour,
                         const WindowSide& y, int32_t row, int count, const Strip<T>& strip) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Tap of_lane = TapOf(y, strip.size, row + Min(lane, count - 1));
  const Places rows_of_lane(y, of_lane);
  const auto first = [&](int k) { return __shfl_sync(kAllLanes, rows_of_lane.first, k); };
  const auto second = [&](int k) { return __shfl_sync(kAllLanes, rows_of_lane.second, k); };
  int32_t row_above = first(0), row_below = second(0);
  Rgb<float> above = Resized(pixels.Load(row_above), share),
             below = Resized(pixels.Load(row_below), share);
  strip.Rows(row, count, [&](int k) -> Rgb<T> {
    // Asks for the pixels of the next row before it makes this one.
    const int next = Min(k + 1, count - 1);
    const int32_t next_above = first(next), next_below = second(next);
    PixelPair ahead;
    if (next_below != row_below) ahead = pixels.Load(next_below);

    const float down = __shfl_sync(kAllLanes, of_lane.share, k);
    const auto value = [=](float a, float b) { return Between(a, b, down) * (1.0f / 255); };
    const Rgb<float> rgb = ChangeColour(
        colour, Rgb<float>{value(above.red, below.red), value(above.green, below.green),
                           value(above.blue, below.blue)});

    if (next_above != row_above)
      above = next_above == row_below ? below : Resized(pixels.Load(next_above), share);
    if (next_below != row_below) below = Resized(ahead, share);
    row_above = next_above;
    row_below = next_below;
    return {Stored<T>(rgb.red), Stored<T>(rgb.green), Stored<T>(rgb.blue)};
  });
}

// A piece of an image.
template <typename T>
__device__ void MakePiece(const LoadImagesArgs& args, int64_t image, int32_t row, int count,
                          const Strip<T>& strip) {
  const PixelsInMemory& memory = args.pixels;
  const ColourChange colour = args.draws.Colour(image);
  WindowSide x, y;
  int32_t height = 0, width = 0, ratio = 1;
  bool fits = memory.Fits(image) && colour.sound();
  if (fits) {
    height = memory.sizes[2 * image];
    width = memory.sizes[2 * image + 1];
    if (args.config.shrink) ratio = ShrinkRatio(height, width, strip.size);
    fits = args.draws.ToWindow(image, Shrunk(height, ratio), Shrunk(width, ratio), &x, &y);
  }
  if (!fits) {
    strip.Rows(row, count,
               [](int) -> Rgb<T> { return {Refused<T>(), Refused<T>(), Refused<T>()}; });
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const Tap tap = TapOf(x, strip.size, strip.x + Min(lane, strip.columns - 1));
  const Places columns(x, tap);
  const uint8_t* const pixels = memory.values + memory.offsets[image];
  if (ratio == 1 && width <= WholePixels::kWidest)
    MakeRows(WholePixels(pixels, width, columns), tap.share, colour, y, row, count, strip);
  else
    MakeRows(MeanPixels{pixels, height, width, ratio, columns}, tap.share, colour, y, row, count,
             strip);
}

template <typename T>
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
    Strip<T> strip;
    strip.staged = staged[warp];
    strip.image = static_cast<T*>(args.out) + image * size * size * 3;
    strip.size = size;
    strip.x = in_image % pieces.strips * kWarp;
    strip.columns = Min(size - strip.x, int32_t{kWarp});
    strip.transposed = args.draws.transpose[image];
    strip.words = pieces.words;
    MakePiece(args, image, row, Min(size - row, pieces.rows), strip);
  }
}

template <typename T>
std::string Queue(const LoadImagesArgs& args, void* stream) {
  const Pieces pieces(args, kGroup<T>);
  return Launch("augment_images", Augment<T>, Blocks((pieces.count + kWarps - 1) / kWarps),
                kThreads, 0, stream, args, pieces);
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
