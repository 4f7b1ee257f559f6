// The random draws of an augmentation, without any framework.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/op.h"

namespace yolov1 {

// yolov1/data/augmentation.py (Augmentation) says what they mean.
struct DrawConfig {
  int64_t seed = 0;
  float scale = 0, translate = 0, exposure = 1, saturation = 1, hue = 0;
  float flip = 0, vertical_flip = 0, transpose = 0, jitter = 0;
};

// Reads "seed=3 scale=0.2 translate=0.2 exposure=1.5 saturation=1.5 hue=0.0 flip=0.5
// vertical_flip=0.0 transpose=0.0 jitter=0.0". Returns "", or what is wrong.
std::string ParseDrawConfig(std::string_view text, DrawConfig* config);

struct DrawArgs {
  DrawConfig config;
  int64_t count = 0;
  const int64_t* positions = nullptr;  // [n] of the stream
  float* windows = nullptr;            // [n, 4]
  bool* flips = nullptr;               // [n, 2]
  bool* transpose = nullptr;           // [n]
  float* colours = nullptr;            // [n, 3]
};

// Positions [begin, end); each one's draws depend on the seed and on that position alone.
void DrawAugmentationCpu(const DrawArgs& args, int64_t begin, int64_t end);

}  // namespace yolov1
