// The boxes of a data set as the targets of a batch of windows: the arithmetic of move_boxes
// (yolov1/data/augmentation.py) and encode_targets_in_graph (yolov1/data/targets.py), in its order.
#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>
#include <vector>

#include "kernels/core/window.h"
#include "kernels/encode_targets/kernel.h"

namespace yolov1 {
namespace {

constexpr float kMinSide = 0.005f;  // of the window; Darknet's limit since 2016

// A window's side as fractions of the image's, in whole pixels of it.
struct Span {
  float low, size;
  bool mirrored;

  explicit Span(const WindowSide& side)
      : low(Fraction(side.low, side.side)),
        size(Fraction(side.low + side.count, side.side) - low),
        mirrored(side.mirrored) {}

  static float Fraction(int32_t pixel, int32_t side) {
    return static_cast<float>(static_cast<double>(pixel) / side);
  }
};

float Clip(float value) { return std::max(std::min(value, 1.0f), 0.0f); }

// A box as seen in the window, [4]. False: too little of it.
bool Move(const float* box, const Span (&spans)[2], bool transpose, float min_visible,
          float* seen) {
  float centres[2], halves[2];
  for (int axis = 0; axis < 2; ++axis) {
    const Span& span = spans[axis];
    centres[axis] = (box[axis] - span.low) / span.size;
    halves[axis] = box[2 + axis] / span.size / 2;
    if (span.mirrored) centres[axis] = 1 - centres[axis];
  }
  if (transpose) {
    std::swap(centres[0], centres[1]);
    std::swap(halves[0], halves[1]);
  }
  bool large = true;
  for (int axis = 0; axis < 2; ++axis) {
    const float low = Clip(centres[axis] - halves[axis]), high = Clip(centres[axis] + halves[axis]);
    seen[axis] = (low + high) / 2;
    seen[2 + axis] = high - low;
    large = large && seen[2 + axis] >= kMinSide;
  }
  const float visible = seen[2] * seen[3] / ((2 * halves[0]) * (2 * halves[1]));
  return large && visible >= min_visible;
}

class Images {
 public:
  explicit Images(const EncodeTargetsArgs& args)
      : args_(args),
        grid_(args.config.grid),
        // The epsilon keeps a whole box whose corners were rounded when min_visible is 1.
        min_visible_(static_cast<float>(args.config.min_visible - 1e-4)),
        kept_(grid_.cells()) {}

  std::string Run(int64_t image) {
    float* const targets = args_.targets + image * grid_.flat_target_size();
    std::fill_n(targets, grid_.flat_target_size(), 0.0f);
    const int64_t index = args_.indices[image];
    if (index < 0 || index >= args_.all_images)
      return "index " + std::to_string(index) + " must be in [0, " +
             std::to_string(args_.all_images) + ")";
    const int64_t begin = args_.splits[index], end = args_.splits[index + 1];
    if (!(0 <= begin && begin <= end && end <= args_.all_boxes))
      return "boxes must be among the " + std::to_string(args_.all_boxes) + ", got " +
             std::to_string(begin) + " to " + std::to_string(end);
    const float* const corners = args_.windows + 4 * image;
    const int32_t height = args_.sizes[2 * image], width = args_.sizes[2 * image + 1];
    WindowSide x, y;
    if (height < 1 || width < 1 ||
        !ToPixels(corners[0], corners[2], width, args_.flips[2 * image], &x) ||
        !ToPixels(corners[1], corners[3], height, args_.flips[2 * image + 1], &y))
      return "must have a size of at least 1 x 1 pixels and a window of finite fractions";

    const Span spans[2] = {Span(x), Span(y)};
    std::fill(kept_.begin(), kept_.end(), Kept{});
    for (int64_t k = begin; k < end; ++k) {
      Kept later;
      later.box = k;
      if (!Move(args_.boxes_cxcywh + 4 * k, spans, args_.transpose[image], min_visible_,
                later.seen))
        continue;
      Kept& kept = kept_[CellOf(later.seen, grid_.S)];
      if (kept.box < 0 || GivesUp(args_.config.on_collision, kept.seen, later.seen)) kept = later;
    }
    for (int64_t row = 0; row < grid_.S; ++row)
      for (int64_t column = 0; column < grid_.S; ++column) {
        float* const target = targets + (row * grid_.S + column) * grid_.target_channels();
        const Kept* const kept = At(row, column);
        if (kept)
          Write({kept, InCell(*kept, 0), InCell(*kept, 1)}, target);
        else if (args_.config.neighbours == Neighbours::kYes)
          WriteNeighbour(row, column, target);
      }
    return "";
  }

 private:
  struct Kept {
    int64_t box = -1;  // none
    float seen[4] = {};
  };

  // What a cell describes: an object, and its centre from the cell's corner.
  struct Described {
    const Kept* kept;
    float x, y;
  };

  const Kept* At(int64_t row, int64_t column) const {
    if (row < 0 || row >= grid_.S || column < 0 || column >= grid_.S) return nullptr;
    const Kept& kept = kept_[row * grid_.S + column];
    return kept.box < 0 ? nullptr : &kept;
  }

  float InCell(const Kept& kept, int axis) const {
    return PlaceOf(kept.seen[axis], grid_.S).in_cell;
  }

  void Write(const Described& object, float* row) const {
    const int32_t label = args_.labels[object.kept->box];
    if (0 <= label && label < grid_.C) row[label] = 1;
    row[grid_.target_object_channel()] = 1;
    float* const box = row + grid_.target_box_channel();
    box[0] = object.x;
    box[1] = object.y;
    box[2] = object.kept->seen[2];
    box[3] = object.kept->seen[3];
  }

  // As with_neighbours (yolov1/data/targets.py) has it, in its order.
  void WriteNeighbour(int64_t row, int64_t column, float* target) const {
    constexpr int kBeside[4][2] = {{0, 1}, {0, -1}, {1, 0}, {-1, 0}};
    const float half = static_cast<float>(grid_.S) * 0.5f;
    Described nearest = {};
    float least = std::numeric_limits<float>::infinity();
    for (const auto& [rows, columns] : kBeside) {
      const Kept* const kept = At(row - rows, column - columns);
      if (!kept) continue;
      const Described object = {kept, InCell(*kept, 0) - columns, InCell(*kept, 1) - rows};
      const float dx = std::abs(object.x - 0.5f), dy = std::abs(object.y - 0.5f);
      const bool seen = dx < 1 && dy < 1 && dx < kept->seen[2] * half && dy < kept->seen[3] * half;
      const float distance = dx * dx + dy * dy;
      if (!seen || !(distance < least)) continue;
      nearest = object;
      least = distance;
    }
    if (nearest.kept) Write(nearest, target);
  }

  const EncodeTargetsArgs& args_;
  const Grid grid_;
  const float min_visible_;
  std::vector<Kept> kept_;  // [cells]
};

}  // namespace

std::string EncodeTargetsCpu(const EncodeTargetsArgs& args, int64_t begin, int64_t end) try {
  Images images(args);
  for (int64_t image = begin; image < end; ++image) {
    const std::string error = images.Run(image);
    if (!error.empty()) return "encode_targets: image " + std::to_string(image) + " " + error + ".";
  }
  return "";
} catch (const std::bad_alloc&) {
  return kOutOfMemory;
}

}  // namespace yolov1
