// A fuzz target for the image ops, as fuzz_yolo_loss.cc is for the loss: bytes to a configuration
// text, or to a call that is held against the plain rule (load_images_rule.h), with pixels in
// memory or with JPEG files (fuzz_jpeg.h).
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "tests/native/bytes.h"
#include "tests/native/fuzz_jpeg.h"
#include "tests/native/load_images_batch.h"

namespace yolov1 {
namespace {

void CheckText(bool pixels, std::string_view text) {
  LoadImagesConfig config;
  if (!Accepts(pixels ? ParseAugmentImagesConfig : ParseLoadImagesConfig,
               pixels ? "augment_images" : "load_images", text, &config))
    return;
  Require(1 <= config.size && config.size <= 16384, "sizes from 1 to 16384");
  Require(config.type == DType::kFloat || config.type == DType::kHalf ||
              config.type == DType::kBfloat16 || config.type == DType::kUint8,
          "a dtype that images have");
  Require(!config.shrink || config.sampling == Sampling::kHalfPixel, "Darknet shrinks nothing");
}

// ------------------------------------------------------------------------------- pixels in memory

struct Memory {
  std::vector<uint8_t> bytes;  // the pixels are all but the first of them, or all
  std::vector<int64_t> offsets;
  std::vector<int32_t> sizes;
  PixelsInMemory pixels;
};

// Usually small, at times so large that the image shrinks.
int32_t Side(Bytes* in) {
  static const int32_t kSides[] = {1, 2, 3, 7, 8, 16, 17, 31, 64, 65, 130};
  return in->Below(4) ? 1 + static_cast<int32_t>(in->Below(24)) : kSides[in->Below(11)];
}

Memory AnyMemory(Bytes* in, int64_t images) {
  Memory memory;
  int64_t total = in->Below(40);
  for (int64_t image = 0; image < images; ++image) {
    const int32_t height = Side(in), width = Side(in);
    memory.sizes.insert(memory.sizes.end(), {height, width});
    total = std::max(total, int64_t{3} * height * width);
  }
  total += in->Below(3) * in->Below(100);
  for (int64_t image = 0; image < images; ++image) {
    const int64_t room = total - int64_t{3} * memory.sizes[2 * image] * memory.sizes[2 * image + 1];
    memory.offsets.push_back(in->Below(3) ? room : in->Raw<uint16_t>() % (room + 1));
  }
  const int64_t odd = in->Below(2);
  memory.bytes.resize(total + odd);
  for (uint8_t& byte : memory.bytes) byte = in->Next();
  if (images > 0 && in->Below(8) == 0) {  // one that does not fit
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    const int64_t image = in->Below(images), which = in->Below(6);
    const int64_t pixels = int64_t{memory.sizes[2 * image]} * memory.sizes[2 * image + 1];
    const int64_t offsets[] = {-1, total - 3 * pixels + 1, total, total + 1, kMost, -kMost - 1};
    const int32_t sizes[] = {0, -1, 46341, INT32_MAX, INT32_MIN, 65536};
    if (in->Below(2))
      memory.offsets[image] = offsets[which];
    else
      memory.sizes[2 * image + in->Below(2)] = sizes[which];
  }
  memory.pixels = {memory.bytes.data() + odd, total, memory.offsets.data(), memory.sizes.data()};
  return memory;
}

// Whether an image lies in the memory, said in another way than PixelsInMemory does.
bool Lies(const PixelsInMemory& pixels, int64_t image) {
  const __int128 height = pixels.sizes[2 * image], width = pixels.sizes[2 * image + 1];
  const __int128 begin = pixels.offsets[image];
  return height > 0 && width > 0 && begin >= 0 && begin + 3 * height * width <= pixels.total;
}

void CheckPixels(Bytes* in) {
  Batch batch(in, in->Below(4), true);
  const Memory memory = AnyMemory(in, batch.images);
  const PixelsInMemory& pixels = memory.pixels;
  for (int64_t image = 0; image < batch.images; ++image) {
    if (!Lies(pixels, image)) {
      batch.Refuse(image);
      continue;
    }
    const int32_t height = pixels.sizes[2 * image], width = pixels.sizes[2 * image + 1];
    const uint8_t* const from = pixels.values + pixels.offsets[image];
    const int32_t ratio = batch.Ratio(height, width);
    const std::vector<uint8_t> means = PlainAverage(from, height, width, ratio);
    const int32_t shrunk[] = {(height + ratio - 1) / ratio, (width + ratio - 1) / ratio};
    batch.Expect(image, {shrunk[0], shrunk[1], 0, 0, shrunk[0], shrunk[1], means.data()});
  }
  batch.Check(kAugmentImages,
              {{DType::kUint8, {pixels.total}, const_cast<uint8_t*>(pixels.values)},
               {DType::kInt64, {batch.images}, const_cast<int64_t*>(pixels.offsets)},
               {DType::kInt32, {batch.images, 2}, const_cast<int32_t*>(pixels.sizes)}},
              in);
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  yolov1::Bytes in(data + 1, size - 1);
  const bool pixels = size % 2;
  switch (data[0] % 8) {
    case 0:
      yolov1::CheckText(pixels, {reinterpret_cast<const char*>(data + 1), size - 1});
      break;
    case 1:
      yolov1::CheckText(
          pixels, yolov1::Damaged(
                      &in, pixels ? "size=448 dtype=uint8 shrink=True sampling=darknet_black_row"
                                  : "size=16384 dtype=bfloat16 sampling=darknet"));
      break;
    case 2:
      yolov1::CheckJpegFile(&in);
      break;
    case 3:
    case 4:
      yolov1::CheckJpegs(&in);
      break;
    default:
      yolov1::CheckPixels(&in);
  }
  return 0;
}
