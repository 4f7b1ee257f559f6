// Objects as boxes: the cell that holds each, and which of several a cell keeps, by the rules of
// yolov1/data/targets.py: the loss takes boxes in place of the targets made there.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/core/grid.h"
#include "kernels/core/macros.h"

namespace yolov1 {

enum class OnCollision { kFirst, kLast, kLargest };

// The objects of a batch; an image has room for `most` of them, M.
struct ObjectBoxes {
  int64_t most = 0;
  const float* boxes_cxcywh = nullptr;  // [N, M, 4], fractions of the image
  const int32_t* labels = nullptr;      // [N, M]; an object of no class if not in [0, C)
  const int32_t* count = nullptr;       // [N]: so many from the first on are objects; or null and
  const bool* mask = nullptr;           // [N, M]: which are
};

// The objects of one image.
struct ImageBoxes {
  int64_t end;         // there is none from here on
  const float* boxes;  // [M, 4]
  const int32_t* labels;
  const bool* mask;  // or null: all before the end

  YOLOV1_HOST_DEVICE ImageBoxes(const ObjectBoxes& of, int64_t image)
      : end(of.most),
        boxes(of.boxes_cxcywh + image * of.most * 4),
        labels(of.labels + image * of.most),
        mask(of.count ? nullptr : of.mask + image * of.most) {
    if (of.count && of.count[image] < end) end = of.count[image];
  }

  YOLOV1_HOST_DEVICE bool Has(int64_t m) const { return !mask || mask[m]; }
};

// A centre's place in the grid: along one axis the cell, and where in the cell. A centre at 1
// belongs to the last cell; a NaN to the first, where it makes the loss NaN.
struct Place {
  int64_t cell;
  float in_cell;
};
YOLOV1_HOST_DEVICE Place PlaceOf(float centre, int64_t S) {
  const float scaled = centre * static_cast<float>(S), last = static_cast<float>(S - 1);
  const float inside = scaled > 0 ? (scaled < last ? scaled : last) : 0;
  const int32_t cell = static_cast<int32_t>(inside);
  return {cell, scaled - static_cast<float>(cell)};
}
YOLOV1_HOST_DEVICE int64_t CellOf(const float* box, int64_t S) {
  return PlaceOf(box[1], S).cell * S + PlaceOf(box[0], S).cell;
}

// Whether a cell that keeps one box gives it up for a later one. A NaN is the largest area: broken
// boxes are to be noticed.
YOLOV1_HOST_DEVICE float AreaOf(const float* box) {
  const float area = box[2] * box[3];
  return area == area ? area : static_cast<float>(INFINITY);
}
YOLOV1_HOST_DEVICE bool GivesUp(OnCollision rule, const float* kept, const float* later) {
  if (rule == OnCollision::kLargest) return AreaOf(later) > AreaOf(kept);
  return rule == OnCollision::kLast;
}

// The object of a cell as a row of targets, [C + 5]: one-hot classes, the flag, x, y, w, h.
struct ObjectRow {
  int64_t C, label;
  float flag;
  float box[4];

  ObjectRow() = default;
  YOLOV1_HOST_DEVICE ObjectRow(const Grid& grid, const ImageBoxes& of, int64_t m)
      : C(grid.C), label(of.labels[m]), flag(1) {
    if (label < 0 || label >= C) label = -1;
    const float* from = of.boxes + 4 * m;
    box[0] = PlaceOf(from[0], grid.S).in_cell;
    box[1] = PlaceOf(from[1], grid.S).in_cell;
    box[2] = from[2];
    box[3] = from[3];
  }
  YOLOV1_HOST_DEVICE float operator[](int64_t k) const {
    return k < C ? static_cast<float>(k == label) : k == C ? flag : box[k - C - 1];
  }
};

// A row of targets in memory (`row`, of U), or where that is null of an object.
template <typename U>
struct AnyRow {
  const U* row;
  ObjectRow object;

  YOLOV1_HOST_DEVICE U operator[](int64_t k) const {
    return row ? row[k] : static_cast<U>(object[k]);
  }
};

// The number of the object that `cell` keeps, -1 for none: looks at all boxes for one cell, where
// there is no memory for more.
YOLOV1_HOST_DEVICE int64_t ObjectOf(const Grid& grid, OnCollision rule, const ImageBoxes& boxes,
                                    int64_t cell) {
  int64_t kept = -1;
  for (int64_t m = 0; m < boxes.end; ++m) {
    const float* const box = boxes.boxes + 4 * m;
    if (!boxes.Has(m) || CellOf(box, grid.S) != cell) continue;
    if (kept < 0 || GivesUp(rule, boxes.boxes + 4 * kept, box)) kept = m;
  }
  return kept;
}

}  // namespace yolov1
