// The boxes of a data set as the targets of a batch of windows, without any framework.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/core/objects.h"
#include "kernels/op.h"

namespace yolov1 {

// Whether empty cells describe an object of a cell beside them.
enum class Neighbours { kNo, kYes };

// What is the same for every batch.
struct EncodeTargetsConfig {
  Grid grid = {};
  OnCollision on_collision = OnCollision::kFirst;
  double min_visible = 0;  // share of a box's area that its window must show
  Neighbours neighbours = Neighbours::kNo;
};

// Reads "S=7 C=20 on_collision=first min_visible=0.25 neighbours=no". Returns "", or what is
// wrong.
std::string ParseEncodeTargetsConfig(std::string_view text, EncodeTargetsConfig* config);

struct EncodeTargetsArgs {
  EncodeTargetsConfig config;
  int64_t images = 0;
  // Of the data set: N images with K boxes.
  int64_t all_images = 0, all_boxes = 0;
  const float* boxes_cxcywh = nullptr;  // [K, 4], fractions of the image
  const int32_t* labels = nullptr;      // [K]
  const int64_t* splits = nullptr;      // [N + 1]: image i has boxes splits[i] .. splits[i + 1]
  // Of the batch.
  const int64_t* indices = nullptr;  // [n] of the images
  const int32_t* sizes = nullptr;    // [n, 2] height, width: windows go to whole pixels of these
  const float* windows = nullptr;    // [n, 4]
  const bool* flips = nullptr;       // [n, 2]
  const bool* transpose = nullptr;   // [n]
  float* targets = nullptr;          // [n, S, S, C + 5]
};

// Images [begin, end) on the calling thread. Returns "", kOutOfMemory, or what is wrong with the
// first image that something is wrong with.
std::string EncodeTargetsCpu(const EncodeTargetsArgs& args, int64_t begin, int64_t end);

}  // namespace yolov1
