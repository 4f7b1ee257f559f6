// Non-maximum suppression per class, without any framework: configuration, arguments, launch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/op.h"

namespace yolov1 {

// What a box that is kept does to others of its class: it takes them away, or from their scores.
enum class NmsRule { kHard, kLinear, kGaussian };

// What is the same for every batch.
struct NmsConfig {
  float score_threshold = 0;
  float iou_threshold = 0;     // not read by kGaussian
  int64_t max_detections = 0;  // of an image
  bool clip = false;
  NmsRule rule = NmsRule::kHard;
  float sigma = 0;  // of kGaussian
};

// Reads the text that every caller configures the op with, as yolov1/kernels/ writes it:
// "score_threshold=0.001 iou_threshold=0.5 max_detections=300 clip=True", and behind it, of the
// soft rules, "suppression=linear sigma=0.5". Returns "", or what is wrong.
std::string ParseNmsConfig(std::string_view text, NmsConfig* config);

// Whether the shapes fit each other. Returns "", or what is wrong.
std::string CheckNmsShapes(const Shape& boxes_xyxy, const Shape& scores);

// M is max_detections; behind an image's detections its results are filled with zeros.
struct NmsArgs {
  NmsConfig config;
  int64_t images = 0, boxes = 0, classes = 0;  // N, K, C
  const float* boxes_xyxy = nullptr;           // [N, K, 4]
  const float* scores = nullptr;               // [N, K, C]
  float* found_boxes = nullptr;                // [N, M, 4]
  float* found_scores = nullptr;               // [N, M]
  int32_t* labels = nullptr;                   // [N, M]
  int32_t* count = nullptr;                    // [N]
};

// Images [begin, end) on the calling thread; each image's result depends on that image alone.
// False where there was no memory to work in.
bool NmsCpu(const NmsArgs& args, int64_t begin, int64_t end);

// Nanoseconds that an image takes on one core, roughly: what a thread pool wants to know.
int64_t NmsCpuCost(const NmsArgs& args);

// Where the build has CUDA (YOLOV1_CUDA). All pointers are to device memory, `stream` is a
// cudaStream_t; all images are queued, with the bits of the CPU. `workspace` has so many bytes,
// from a multiple of 16 on. Returns "", or what is wrong.
int64_t NmsWorkspace(const NmsArgs& args);
std::string NmsCuda(const NmsArgs& args, void* workspace, void* stream);

}  // namespace yolov1
