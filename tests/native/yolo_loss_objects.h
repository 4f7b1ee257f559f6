// Objects as boxes, which the YOLO loss takes in place of targets, and a plain encoder of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {

struct Objects {
  int64_t most = 0;      // M
  bool is_mask = false;  // `valid` is [N, M] and says which boxes are objects, or [N]: how many
  // Boxes [N, M, 4], all of them floats; labels [N, M] and `valid`, integers.
  std::vector<double> boxes, labels, valid;

  bool Has(int64_t image, int64_t m) const {
    return is_mask ? valid[image * most + m] != 0 : m < valid[image];
  }

  // Boxes that are no objects become NaN, of labels that are far from any class.
  void EraseUnread(int64_t images) {
    for (int64_t box = 0; box < images * most; ++box) {
      if (Has(box / most, box % most)) continue;
      std::fill_n(boxes.begin() + 4 * box, 4, NAN);
      labels[box] = INT32_MIN;
    }
  }
};

// The targets [N, S, S, C + 5] of the objects, one box after another: what kernels/core/objects.h
// is held against, and so in other words.
inline std::vector<double> Encoded(const YoloLossConfig& config, int64_t images,
                                   const Objects& objects) {
  const Grid& grid = config.grid;
  std::vector<double> out(images * grid.flat_target_size());
  const auto scaled = [&](double centre) {
    return static_cast<float>(centre) * static_cast<float>(grid.S);
  };
  const auto cell_of = [&](double centre) {  // below 0, or NaN: the first; from 1 on: the last
    int64_t cell = 0;
    while (cell + 1 < grid.S && scaled(centre) >= static_cast<float>(cell + 1)) ++cell;
    return cell;
  };
  const auto area = [](const double* sides) {
    const float area = static_cast<float>(sides[0]) * static_cast<float>(sides[1]);
    return std::isnan(area) ? INFINITY : area;
  };
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t m = 0; m < objects.most; ++m) {
      if (!objects.Has(image, m)) continue;
      const double* const box = objects.boxes.data() + 4 * (image * objects.most + m);
      const int64_t column = cell_of(box[0]), line = cell_of(box[1]);
      double* const row = out.data() + image * grid.flat_target_size() +
                          (line * grid.S + column) * grid.target_channels();
      double* const flag = row + grid.target_object_channel();
      double* const kept = row + grid.target_box_channel();
      if (*flag == 1 && config.on_collision == OnCollision::kFirst) continue;
      if (*flag == 1 && config.on_collision == OnCollision::kLargest &&
          area(box + 2) <= area(kept + 2))
        continue;
      std::fill_n(row, grid.C, 0);
      const double label = objects.labels[image * objects.most + m];
      if (0 <= label && label < static_cast<double>(grid.C)) row[static_cast<int64_t>(label)] = 1;
      *flag = 1;
      kept[0] = scaled(box[0]) - static_cast<float>(column);
      kept[1] = scaled(box[1]) - static_cast<float>(line);
      kept[2] = box[2];
      kept[3] = box[3];
    }
  }
  return out;
}

}  // namespace yolov1
