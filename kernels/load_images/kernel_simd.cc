// Resizes and colours an image, in lanes. Compiled once for each level of SIMD (kernel_simd.cc of
// yolo_loss/ says what that asks for).
//
// A row of pixels that the window shows is resized to a row of three planes of floats; of those the
// last two are kept, and each row of the result lies between two of them. Where the image grows,
// which is usual, it has fewer rows than the result.
#include "kernels/load_images/kernel_simd.h"

#include <type_traits>

#include "kernels/core/dtype.h"

namespace yolov1 {
namespace YOLOV1_LEVEL {
namespace {

using Floats = Lanes<float>;
using Integers = Lanes<int32_t>;
constexpr int64_t kLanes = Floats::kCount;

int64_t Padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// ---------------------------------------------------------------------------------------- memory

// What an image takes to work in, laid out at multiples of 64 bytes.
struct Workspace {
  int32_t* first;   // [padded size] where a value's two pixels begin in `row`, in bytes
  int32_t* second;  // [padded size]
  float* share;     // [padded size]
  uint8_t* row;     // [shown width + 1, 3] the pixels of a row, and a grey one; a byte to read on
  float* planes;    // [2, 3, padded size] two resized rows
  uint8_t* packed;  // [padded size, 3] a row of the result, of up to 4 bytes a value
  int64_t bytes;

  Workspace(uint8_t* memory, int64_t size, int64_t shown_width) {
    const int64_t padded = Padded(size);
    bytes = 0;
    const auto lay = [&](auto** part, int64_t count) __attribute__((always_inline)) {
      *part = nullptr;
      if (memory != nullptr)  // nothing may be added to a null pointer
        *part = reinterpret_cast<std::remove_reference_t<decltype(*part)>>(memory + bytes);
      bytes += (count * static_cast<int64_t>(sizeof(**part)) + 63) / 64 * 64;
    };
    lay(&first, padded);
    lay(&second, padded);
    lay(&share, padded);
    lay(&row, 3 * (shown_width + 1) + 1);
    lay(&planes, 2 * 3 * padded);
    lay(&packed, 3 * padded * static_cast<int64_t>(sizeof(float)));
  }
};

int64_t WorkspaceBytes(int64_t size, int64_t shown_width) {
  return Workspace(nullptr, size, shown_width).bytes;
}

// ------------------------------------------------------------------------------------- horizontal

// Four bytes from each place, the first one lowest.
YOLOV1_HOST_DEVICE Integers Gather(const uint8_t* from, const int32_t* places) {
  Integers words;
#if defined(__AVX512F__)
  words.part[0] = (Integers::Vector)_mm512_i32gather_epi32(_mm512_loadu_si512(places),
                                                           reinterpret_cast<const int*>(from), 1);
#elif defined(__AVX2__)
  for (int p = 0; p < Integers::kParts; ++p)
    words.part[p] = (Integers::Vector)_mm256_i32gather_epi32(
        reinterpret_cast<const int*>(from),
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(places + p * Integers::kPartCount)), 1);
#else
  int32_t values[kLanes];
  for (int64_t k = 0; k < kLanes; ++k) memcpy(values + k, from + places[k], sizeof values[k]);
  words = LoadLanes(values);
#endif
  return words;
}

// Where in the row of pixels each value of a resized row comes from.
void FindPlaces(const WindowSide& side, int32_t size, const Workspace& work) {
  const auto place = [&](int32_t pixel) __attribute__((always_inline)) {
    const int32_t at = side.Find(pixel);
    return 3 * ((at == kOutside ? side.end() : at) - side.begin());
  };
  for (int32_t k = 0; k < size; ++k) {
    const Tap tap = TapOf(side, size, k);
    work.first[k] = place(tap.first);
    work.second[k] = place(tap.second);
    work.share[k] = tap.share;
  }
  for (int64_t k = size; k < Padded(size); ++k) {
    work.first[k] = work.second[k] = 0;
    work.share[k] = 0;
  }
}

void ResizeRow(const uint8_t* pixels, int64_t shown_width, int64_t padded, const Workspace& work,
               float* planes) {
  memcpy(work.row, pixels, 3 * shown_width);
  for (int64_t x = 0; x < padded; x += kLanes) {
    const Integers first = Gather(work.row, work.first + x);
    const Integers second = Gather(work.row, work.second + x);
    const Floats share = Load(work.share + x);
#pragma GCC unroll 3
    for (int c = 0; c < 3; ++c) {
      const Floats a = Convert<float>((first >> 8 * c) & 255);
      const Floats b = Convert<float>((second >> 8 * c) & 255);
      Store(Between(a, b, share), planes + c * padded + x);
    }
  }
}

void FillRow(float value, int64_t padded, float* planes) {
  for (int64_t k = 0; k < 3 * padded; k += kLanes) Store(Floats(value), planes + k);
}

// --------------------------------------------------------------------------------------- vertical

// Three planes to red, green, blue, red...: what lies in memory, as three lanes.
struct Packed {
  Floats lanes[3];
};

#if defined(__AVX512F__)
// Of the value k of lane l of the result: its place among those of a colour, 16 on where it comes
// from the second of two. Namespace scope as in simd.h.
alignas(64) constexpr int32_t kRedGreen[3][16] = {
    {0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5},
    {21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26},
    {0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0}};
alignas(64) constexpr int32_t kThenBlue[3][16] = {
    {0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15},
    {0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15},
    {26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31}};
YOLOV1_HOST_DEVICE Packed Pack(const Rgb<Floats>& rgb) {
  Packed packed;
#pragma GCC unroll 3
  for (int l = 0; l < 3; ++l) {
    const __m512 two =
        _mm512_permutex2var_ps(rgb.red.part[0], _mm512_load_si512(kRedGreen[l]), rgb.green.part[0]);
    packed.lanes[l].part[0] =
        _mm512_permutex2var_ps(two, _mm512_load_si512(kThenBlue[l]), rgb.blue.part[0]);
  }
  return packed;
}
#elif defined(__SSE2__)
// Four pixels at a time.
YOLOV1_HOST_DEVICE void PackFour(__m128 red, __m128 green, __m128 blue, float* to) {
  const __m128 rg_low = _mm_unpacklo_ps(red, green), rg_high = _mm_unpackhi_ps(red, green);
  const __m128 b0r1 = _mm_shuffle_ps(blue, red, _MM_SHUFFLE(1, 1, 0, 0));         // b0 b0 r1 r1
  const __m128 g1b1 = _mm_shuffle_ps(green, blue, _MM_SHUFFLE(1, 1, 1, 1));       // g1 g1 b1 b1
  const __m128 b2r3 = _mm_shuffle_ps(blue, red, _MM_SHUFFLE(3, 3, 2, 2));         // b2 b2 r3 r3
  const __m128 g3b3 = _mm_shuffle_ps(green, blue, _MM_SHUFFLE(3, 3, 3, 3));       // g3 g3 b3 b3
  _mm_storeu_ps(to, _mm_shuffle_ps(rg_low, b0r1, _MM_SHUFFLE(2, 0, 1, 0)));       // r0 g0 b0 r1
  _mm_storeu_ps(to + 4, _mm_shuffle_ps(g1b1, rg_high, _MM_SHUFFLE(1, 0, 2, 0)));  // g1 b1 r2 g2
  _mm_storeu_ps(to + 8, _mm_shuffle_ps(b2r3, g3b3, _MM_SHUFFLE(2, 0, 2, 0)));     // b2 r3 g3 b3
}
YOLOV1_HOST_DEVICE Packed Pack(const Rgb<Floats>& rgb) {
  alignas(64) float values[3 * kLanes];
  for (int p = 0; p < Floats::kParts; ++p) {
    __m128 parts[3][Floats::kPartCount / 4];
    memcpy(parts[0], &rgb.red.part[p], sizeof parts[0]);
    memcpy(parts[1], &rgb.green.part[p], sizeof parts[1]);
    memcpy(parts[2], &rgb.blue.part[p], sizeof parts[2]);
    for (int q = 0; q < Floats::kPartCount / 4; ++q)
      PackFour(parts[0][q], parts[1][q], parts[2][q],
               values + 3 * (p * Floats::kPartCount + 4 * q));
  }
  return {{Load(values), Load(values + kLanes), Load(values + 2 * kLanes)}};
}
#else
YOLOV1_HOST_DEVICE Packed Pack(const Rgb<Floats>& rgb) {
  float planes[3][kLanes], values[3 * kLanes];
  Store(rgb.red, planes[0]);
  Store(rgb.green, planes[1]);
  Store(rgb.blue, planes[2]);
  for (int64_t k = 0; k < 3 * kLanes; ++k) values[k] = planes[k % 3][k / 3];
  return {{Load(values), Load(values + kLanes), Load(values + 2 * kLanes)}};
}
#endif

// Values in [0, 1] as bytes.
YOLOV1_HOST_DEVICE void Store(const Floats& lanes, uint8_t* to) {
  typedef uint8_t Bytes __attribute__((vector_size(Floats::kPartCount)));
  const Integers whole = Truncate(lanes * Floats(255) + Floats(0.5f));
  YOLOV1_EACH_PART {
    const Bytes bytes = __builtin_convertvector(whole.part[p], Bytes);
    memcpy(to + p * Floats::kPartCount, &bytes, sizeof bytes);
  }
}

// A row of the result, between two resized ones; padded to whole lanes. `to` is a multiple of 64
// where it is written past the caches.
template <Change change, typename T>
void BlendRow(const float* above, const float* below, float share, const ColourChange& colour,
              int64_t padded, bool past_caches, T* to) {
  for (int64_t x = 0; x < padded; x += kLanes, to += 3 * kLanes) {
    const auto plane = [&](int c) __attribute__((always_inline)) {
      const int64_t at = c * padded + x;
      return Between(Load(above + at), Load(below + at), Floats(share)) * Floats(1.0f / 255);
    };
    const Packed packed = Pack(Changed<change>(colour, Rgb<Floats>{plane(0), plane(1), plane(2)}));
#pragma GCC unroll 3
    for (int l = 0; l < 3; ++l) {
      if constexpr (std::is_same_v<T, float>) {
        if (past_caches) {
          Stream(packed.lanes[l], to + l * kLanes);
          continue;
        }
      }
      Store(packed.lanes[l], to + l * kLanes);
    }
  }
}

// ------------------------------------------------------------------------------------ whole images

template <typename T>
struct Pixel {
  T values[3];
};

// The last two resized rows of an image.
struct ResizedRows {
  const ShownImage& image;
  const Workspace& work;
  int64_t padded;
  int32_t rows[2] = {-2, -2};  // of the part that is shown, or kOutside; -2 is nothing yet

  YOLOV1_HOST_DEVICE float* planes(int slot) const { return work.planes + slot * 3 * padded; }

  // The row of the part that is shown, of a row of the window.
  int32_t RowOf(int32_t window_row) const {
    const int32_t at = image.y.Find(window_row);
    return at == kOutside ? at : at - image.y.begin();
  }
  int SlotOf(int32_t row) const { return rows[0] == row ? 0 : rows[1] == row ? 1 : -1; }
  int Make(int32_t row, int slot) {
    rows[slot] = row;
    if (row < 0 || image.pixels == nullptr)
      FillRow(image.y.outside(), padded, planes(slot));
    else
      ResizeRow(image.pixels + row * image.stride, image.x.end() - image.x.begin(), padded, work,
                planes(slot));
    return slot;
  }

  // The slots of both rows of a tap.
  void Find(const Tap& tap, int* first, int* second) {
    const int32_t row = RowOf(tap.first), other = RowOf(tap.second);
    *first = SlotOf(row);
    if (*first < 0) *first = Make(row, SlotOf(other) == 0 ? 1 : 0);
    *second = SlotOf(other);
    if (*second < 0) *second = Make(other, 1 - *first);
  }
};

template <Change change, typename T>
void ResizeImage(int32_t size, const ShownImage& image, const Workspace& work) {
  const int64_t padded = Padded(size);
  auto* const out = static_cast<Pixel<T>*>(image.out);
  auto* const packed = reinterpret_cast<T*>(work.packed);
  const bool direct = padded == size && !image.transpose;
  const bool past_caches =
      direct && image.past_caches && reinterpret_cast<uintptr_t>(image.out) % 64 == 0;
  ResizedRows resized = {image, work, padded};
  for (int32_t y = 0; y < size; ++y) {
    const Tap tap = TapOf(image.y, size, y);
    int first, second;
    resized.Find(tap, &first, &second);
    T* const to = direct ? out[static_cast<int64_t>(y) * size].values : packed;
    BlendRow<change>(resized.planes(first), resized.planes(second), tap.share, image.colour, padded,
                     past_caches, to);
    if (direct) continue;
    if (!image.transpose) {
      memcpy(out + static_cast<int64_t>(y) * size, packed, size * sizeof *out);
      continue;
    }
    for (int64_t x = 0; x < size; ++x) memcpy(out + x * size + y, packed + 3 * x, sizeof *out);
  }
  if (past_caches) FinishStream();
}

template <typename T>
void ResizeTo(int32_t size, const ShownImage& image, const Workspace& work) {
  WithChange(image.colour,
             [&](auto change) { ResizeImage<decltype(change)::value, T>(size, image, work); });
}

void Resize(const LoadImagesConfig& config, const ShownImage& image, uint8_t* memory) {
  const int64_t shown = image.x.end() - image.x.begin();
  const Workspace work(memory, config.size, shown);
  FindPlaces(image.x, config.size, work);
  memset(work.row + 3 * shown, static_cast<int>(kGrey), 4);
  switch (config.type) {
    case DType::kHalf:
      return ResizeTo<Half>(config.size, image, work);
    case DType::kBfloat16:
      return ResizeTo<Bfloat16>(config.size, image, work);
    case DType::kUint8:
      return ResizeTo<uint8_t>(config.size, image, work);
    default:
      return ResizeTo<float>(config.size, image, work);
  }
}

}  // namespace

const LoadImagesLevel kLoadImages = {Resize, WorkspaceBytes};

}  // namespace YOLOV1_LEVEL
}  // namespace yolov1
