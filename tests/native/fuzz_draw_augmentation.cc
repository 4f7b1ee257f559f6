// A fuzz target for the draws of an augmentation, as fuzz_yolo_loss.cc is for the loss: bytes to a
// configuration text, or to a call whose results are within their ranges, whole and in pieces.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/draw_augmentation/kernel.h"
#include "tests/native/buffers.h"
#include "tests/native/bytes.h"

namespace yolov1 {
namespace {

void CheckText(std::string_view text) {
  DrawConfig config;
  if (!Accepts(ParseDrawConfig, "draw_augmentation", text, &config)) return;
  for (float share :
       {config.scale, config.hue, config.flip, config.vertical_flip, config.transpose})
    Require(0 <= share && share <= 1, "a share from 0 to 1");
  Require(0 <= config.jitter && config.jitter < 0.5f &&
              (config.jitter == 0 || (config.scale == 0 && config.translate == 0)),
          "a jitter alone");
  Require(config.exposure >= 1 && config.saturation >= 1, "factors of at least 1");
}

struct Drawn {
  std::vector<float> windows, colours;
  std::unique_ptr<bool[]> flips, transpose;

  explicit Drawn(int64_t count)
      : windows(4 * count, -7.0f),
        colours(3 * count, -7.0f),
        flips(new bool[2 * count]()),
        transpose(new bool[count]()) {}

  void PointTo(DrawArgs* args) {
    args->windows = windows.data();
    args->colours = colours.data();
    args->flips = flips.get();
    args->transpose = transpose.get();
  }
};

void CheckCall(Bytes* in) {
  DrawArgs args;
  args.config = {static_cast<int64_t>(in->Next()) << in->Below(56),
                 in->Below(9) / 8.0f,
                 in->Below(5) / 8.0f,
                 1 + in->Below(9) / 4.0f,
                 1 + in->Below(9) / 4.0f,
                 in->Below(9) / 8.0f,
                 in->Below(3) / 2.0f,
                 in->Below(3) / 2.0f,
                 in->Below(3) / 2.0f};
  if (in->Below(2)) {
    args.config.scale = args.config.translate = 0;
    args.config.jitter = in->Below(8) / 16.0f;
  }
  args.count = in->Below(20);
  std::vector<int64_t> positions(args.count);
  for (int64_t& position : positions) position = int64_t{in->Next()} << in->Below(56);
  args.positions = positions.data();
  Drawn whole(args.count), pieces(args.count);
  whole.PointTo(&args);
  DrawAugmentationCpu(args, 0, args.count);
  pieces.PointTo(&args);
  for (int64_t k = args.count; k-- > 0;) DrawAugmentationCpu(args, k, k + 1);
  Require(whole.windows == pieces.windows && whole.colours == pieces.colours,
          "pieces as the whole");

  const DrawConfig& config = args.config;
  for (int64_t k = 0; k < args.count; ++k) {
    Require(whole.flips[2 * k] == pieces.flips[2 * k] &&
                whole.flips[2 * k + 1] == pieces.flips[2 * k + 1] &&
                whole.transpose[k] == pieces.transpose[k],
            "pieces as the whole");
    Require((config.flip == 0) <= !whole.flips[2 * k] && (config.flip == 1) <= whole.flips[2 * k],
            "what is certain happens");
    for (int axis = 0; axis < 2; ++axis) {
      const float low = whole.windows[4 * k + axis], high = whole.windows[4 * k + 2 + axis];
      if (config.jitter > 0) {
        Require(std::abs(low) <= config.jitter && std::abs(high - 1) <= config.jitter + 1e-7f,
                "each side where it may be");
        continue;
      }
      Require(std::abs(high - low - 1) <= config.scale + 1e-6f, "a window of its size");
      Require(std::abs((low + high) / 2 - 0.5f) <= config.translate + 1e-6f, "and at its place");
    }
    Require(std::abs(whole.colours[3 * k]) <= config.hue, "a turn of the hue");
    for (const auto& [factor, most] : {std::pair{whole.colours[3 * k + 1], config.saturation},
                                       std::pair{whole.colours[3 * k + 2], config.exposure}})
      Require(1 / most * (1 - 1e-6f) <= factor && factor <= most * (1 + 1e-6f), "a factor");
  }
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [](yolov1::Bytes*) {
    return "seed=3 scale=0.2 translate=0.2 exposure=1.5 saturation=1.5 hue=0.0 flip=0.5 "
           "vertical_flip=0.0 transpose=0.0 jitter=0.0";
  };
  return yolov1::Fuzz(data, size, 4, text, yolov1::CheckText, yolov1::CheckCall);
}
