// The geometry of a YOLOv1 grid, as yolov1/grid.py has it: a test compares the two.
#pragma once

#include <cstdint>

#include "kernels/core/macros.h"

namespace yolov1 {

// Where the channels of a cell lie in an image's predictions.
enum class Layout {
  kCells,   // [S, S, D]: all channels of a cell together
  kPlanes,  // [L * D], as Darknet writes it: all classes, then all confidences, then all boxes
};

struct Grid {
  int64_t S, B, C;

  YOLOV1_HOST_DEVICE int64_t cells() const { return S * S; }
  YOLOV1_HOST_DEVICE int64_t channels() const { return C + 5 * B; }
  YOLOV1_HOST_DEVICE int64_t target_channels() const { return C + 5; }
  YOLOV1_HOST_DEVICE int64_t flat_size() const { return cells() * channels(); }
  YOLOV1_HOST_DEVICE int64_t flat_target_size() const { return cells() * target_channels(); }
  YOLOV1_HOST_DEVICE int64_t target_object_channel() const { return C; }
  YOLOV1_HOST_DEVICE int64_t target_box_channel() const { return C + 1; }
};

// The three blocks of one cell. Both layouts keep each block contiguous.
template <typename T>
struct Cell {
  T* classes;      // [C]
  T* confidences;  // [B]
  T* boxes;        // [B, 4]
};

// Where a cell's blocks lie in an image: all that tells the layouts apart, so that neither needs a
// copy, or a kernel of its own.
struct CellStrides {
  int64_t classes, confidences, boxes;       // from one cell to the next
  int64_t confidences_offset, boxes_offset;  // of cell 0

  CellStrides(const Grid& grid, Layout layout) {
    if (layout == Layout::kCells) {
      classes = confidences = boxes = grid.channels();
      confidences_offset = grid.C;
      boxes_offset = grid.C + grid.B;
    } else {
      classes = grid.C;
      confidences = grid.B;
      boxes = 4 * grid.B;
      confidences_offset = grid.cells() * grid.C;
      boxes_offset = grid.cells() * (grid.C + grid.B);
    }
  }

  // `image` is one image's [S, S, D] or [L * D]; cell = row * S + col.
  template <typename T>
  YOLOV1_HOST_DEVICE Cell<T> At(T* image, int64_t cell) const {
    return {image + cell * classes, image + confidences_offset + cell * confidences,
            image + boxes_offset + cell * boxes};
  }
};

}  // namespace yolov1
