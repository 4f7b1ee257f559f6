// Images to an augmented batch on the CPU: brings the pixels that each window shows into memory,
// decoded or averaged down, for the level of SIMD that this processor has to resize.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels/caches.h"
#include "kernels/load_images/jpeg.h"
#include "kernels/load_images/kernel.h"
#include "kernels/load_images/kernel_simd.h"
#include "kernels/versions.h"
#include "levels.h"

namespace yolov1 {
namespace {

// -------------------------------------------------------------------------------------- versions

// The best first.
const std::vector<Version<LoadImagesLevel>>& Versions() {
#define LEVEL(name, here) {#name, &name::kLoadImages, here},
  static const auto versions = VersionsHere<LoadImagesLevel>({YOLOV1_LEVELS(LEVEL)});
#undef LEVEL
  return versions;
}

// ---------------------------------------------------------------------------------------- memory

// Memory at a multiple of 64, which grows with what is asked for and is kept until then.
class Room {
 public:
  uint8_t* Take(int64_t bytes) {
    if (bytes > bytes_) {
      bytes_ = 0;
      memory_.reset(static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
      if (memory_ == nullptr) throw std::bad_alloc();
      bytes_ = bytes;
    }
    return memory_.get();
  }
  // Hands back what a single large image took.
  void Trim() {
    constexpr int64_t kKept = int64_t{16} << 20;
    if (bytes_ <= kKept) return;
    memory_.reset();
    bytes_ = 0;
  }

 private:
  struct Free {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<uint8_t, Free> memory_;
  int64_t bytes_ = 0;
};

// What a thread works in: kept between calls, since the system has to clear memory that is new to a
// process.
struct Rooms {
  Room pixels, workspace;
};

// -------------------------------------------------------------------------------------- one image

Part ShownPart(const ShownImage& image) {
  return {image.x.begin(), image.y.begin(), image.x.end() - image.x.begin(),
          image.y.end() - image.y.begin()};
}
bool Empty(const Part& part) { return part.width == 0 || part.height == 0; }

// What is decoded of a JPEG, so that the pixels of `part` are those of the whole image to the bit:
// a decoder smoothes colours of half the resolution over two pixels, and at the edge of what it
// decodes has no neighbour. Of an empty part one pixel, so that damage is found all the same.
Part WithNeighbours(const Part& part, int32_t height, int32_t width) {
  if (Empty(part)) return {0, 0, 1, 1};
  constexpr int32_t kMargin = 2;
  const int32_t x = std::max(part.x - kMargin, 0), y = std::max(part.y - kMargin, 0);
  return {x, y, std::min(part.x + part.width + kMargin, width) - x,
          std::min(part.y + part.height + kMargin, height) - y};
}

void Average(const uint8_t* image, int32_t height, int32_t width, int32_t ratio, const Part& part,
             uint8_t* to) {
  for (int32_t row = part.y; row < part.y + part.height; ++row)
    for (int32_t column = part.x; column < part.x + part.width; ++column) {
      uint32_t means[3];
      AverageBlock(image, height, width, ratio, row, column, means);
      for (const uint32_t mean : means) *to++ = static_cast<uint8_t>(mean);
    }
}

// A result from this size on is written past the caches, far sooner than elsewhere: a pipeline has
// several batches in flight, so that each is written to memory that left the caches long ago, and
// read when it has left them again. Measured with 38 MB and a cache of 260 MB, 448 x 448 pixels in
// tf.data: 0.32 ms of CPU time an image in place of 0.45; as much as before where one buffer is
// written again and again.
constexpr int64_t kBatchInCaches = int64_t{8} << 20;

// Works through images one after another. The functions return "", or what is wrong.
class Images {
 public:
  Images(const LoadImagesArgs& args, int version, Rooms* rooms)
      : args_(args), level_(*Versions()[version].level), rooms_(*rooms) {
    const int64_t image = int64_t{3} * args.config.size * args.config.size;
    bytes_ = image * SizeOf(args.config.type);
    past_caches_ = args.images * bytes_ >= std::min(kBatchInCaches, StreamingBound().load());
  }
  ~Images() {
    rooms_.pixels.Trim();
    rooms_.workspace.Trim();
  }

  std::string Run(int64_t image) {
    ShownImage shown;
    shown.colour = args_.draws.Colour(image);
    if (!shown.colour.sound())
      return "must have colours (turn, saturation, exposure) below 2^20, the factors not "
             "negative" +
             Got(args_.draws.colours + 3 * image, 3);
    std::string error = args_.contents ? Decode(image, &shown) : Find(image, &shown);
    if (!error.empty()) return error;
    shown.transpose = args_.draws.transpose[image];
    shown.past_caches = past_caches_;
    shown.out = static_cast<uint8_t*>(args_.out) + image * bytes_;
    const int64_t width = ShownPart(shown).width;
    level_.resize(args_.config, shown,
                  rooms_.workspace.Take(level_.workspace_bytes(args_.config.size, width)));
    return "";
  }

 private:
  static std::string Got(const float* values, int count) {
    std::string text = ", got (";
    for (int k = 0; k < count; ++k) text += (k ? ", " : "") + std::to_string(values[k]);
    return text + ")";
  }

  std::string SetWindow(int64_t image, int32_t height, int32_t width, ShownImage* shown) const {
    if (args_.draws.ToWindow(image, height, width, args_.config.sampling, &shown->x, &shown->y))
      return "";
    return "must have windows (x0, y0, x1, y1) of finite fractions, within 2^28 pixels of the "
           "image" +
           Got(args_.draws.windows + 4 * image, 4);
  }

  int32_t Ratio(int32_t height, int32_t width) const {
    return args_.config.shrink ? ShrinkRatio(height, width, args_.config.size) : 1;
  }

  // A file: what its window shows is decoded.
  std::string Decode(int64_t image, ShownImage* shown) {
    const JpegDecoder* const decoder = TheJpegDecoder();
    if (decoder == nullptr)
      return "cannot be decoded: this build has no JPEG decoder before TensorFlow's op library is "
             "loaded; call yolov1.ops.load() first";
    const std::string_view content = args_.contents[image];
    int32_t height = 0, width = 0;
    // As TensorFlow has it: libjpeg would search for a third byte that is right.
    const bool is_jpeg = content.substr(0, 3) == "\xff\xd8\xff";
    if (!is_jpeg || !decoder->size(content, &height, &width) || height < 1 || width < 1)
      return "cannot be decoded: it is no JPEG, or its header is damaged (" +
             std::to_string(content.size()) + " bytes)";
    const int32_t ratio = Ratio(height, width);
    height = Shrunk(height, ratio);
    width = Shrunk(width, ratio);
    std::string error = SetWindow(image, height, width, shown);
    if (!error.empty()) return error;
    const Part part = ShownPart(*shown), decoded = WithNeighbours(part, height, width);
    uint8_t* const pixels = rooms_.pixels.Take(int64_t{3} * decoded.width * decoded.height);
    if (!decoder->decode(content, ratio, decoded, pixels))
      return "cannot be decoded: it is truncated or damaged (" + std::to_string(content.size()) +
             " bytes of a JPEG)";
    shown->stride = int64_t{3} * decoded.width;
    if (!Empty(part))
      shown->pixels =
          pixels + (part.y - decoded.y) * shown->stride + int64_t{3} * (part.x - decoded.x);
    return "";
  }

  // Pixels in memory: what its window shows is where it lies, or averaged down.
  std::string Find(int64_t image, ShownImage* shown) {
    const PixelsInMemory& memory = args_.pixels;
    const int32_t full_height = memory.sizes[2 * image], full_width = memory.sizes[2 * image + 1];
    if (!memory.Fits(image))
      return "must lie within the " + std::to_string(memory.total) + " values, got " +
             std::to_string(full_height) + " x " + std::to_string(full_width) + " x 3 from " +
             std::to_string(memory.offsets[image]) + " on";
    const int32_t ratio = Ratio(full_height, full_width);
    std::string error =
        SetWindow(image, Shrunk(full_height, ratio), Shrunk(full_width, ratio), shown);
    if (!error.empty()) return error;
    const uint8_t* const pixels = memory.values + memory.offsets[image];
    const Part part = ShownPart(*shown);
    if (Empty(part)) return "";
    if (ratio == 1) {
      shown->stride = int64_t{3} * full_width;
      shown->pixels = pixels + part.y * shown->stride + int64_t{3} * part.x;
      return "";
    }
    uint8_t* const means = rooms_.pixels.Take(int64_t{3} * part.width * part.height);
    Average(pixels, full_height, full_width, ratio, part, means);
    shown->pixels = means;
    shown->stride = int64_t{3} * part.width;
    return "";
  }

  const LoadImagesArgs& args_;
  const LoadImagesLevel& level_;
  Rooms& rooms_;
  int64_t bytes_;     // of a result
  bool past_caches_;  // the batch does not stay in the caches
};

}  // namespace

std::atomic<const JpegDecoder*>& TheJpegDecoder() {
  static std::atomic<const JpegDecoder*> decoder = nullptr;
  return decoder;
}

std::vector<std::string> LoadImagesVersions() { return NamesOf(Versions()); }

std::string LoadImagesCpu(const LoadImagesArgs& args, int64_t begin, int64_t end, int version) try {
  thread_local Rooms rooms;
  Images images(args, version, &rooms);
  for (int64_t image = begin; image < end; ++image) {
    const std::string error = images.Run(image);
    if (!error.empty())
      return std::string(args.face()) + ": image " + std::to_string(image) + " " + error + ".";
  }
  return "";
} catch (const std::bad_alloc&) {
  return kOutOfMemory;
}

int64_t LoadImagesCpuCost(const LoadImagesArgs& args) {
  // 300 us for 448 x 448 values; decoding takes as long again, at least.
  const int64_t pixels = int64_t{args.config.size} * args.config.size;
  return (pixels + 1) * (args.contents ? 4 : 2);
}

}  // namespace yolov1
