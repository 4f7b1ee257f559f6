// The geometry of a YOLOv1 grid: the twin of yolov1/grid.py, held against it by a test.
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

// The three blocks of one cell. Both layouts keep each block contiguous, so that neither needs a
// copy: they differ in these offsets only.
template <typename T>
struct Cell {
  T* classes;      // [C]
  T* confidences;  // [B]
  T* boxes;        // [B, 4]
};

// `image` is one image's [S, S, D] or [L * D]; cell = row * S + col. A null image gives a null cell.
template <Layout layout, typename T>
YOLOV1_HOST_DEVICE Cell<T> CellAt(const Grid& grid, T* image, int64_t cell) {
  if (image == nullptr) return {nullptr, nullptr, nullptr};
  if (layout == Layout::kCells) {
    T* start = image + cell * grid.channels();
    return {start, start + grid.C, start + grid.C + grid.B};
  }
  return {image + cell * grid.C, image + grid.cells() * grid.C + cell * grid.B,
          image + grid.cells() * (grid.C + grid.B) + cell * 4 * grid.B};
}

}  // namespace yolov1
