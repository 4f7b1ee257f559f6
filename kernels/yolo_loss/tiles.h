// How the CUDA kernel cuts images into tiles, and a tile on its way to shared memory and back. For
// kernel.cu alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/grid.h"
#include "kernels/cuda.h"

namespace yolov1 {

// A thread for each of the paper's 49 cells, and no warp without one.
constexpr int kThreads = 64;

// How an image is cut into tiles, none of more cells than a block has threads, and a block's shared
// memory with it; and what else of a grid is the same for all images. Spans of a tile are short.
struct Tiles {
  int cells;                 // of a tile; 0 where not one fits
  int predictions, targets;  // bytes
  int shared;                // bytes of all
  int side, classes, boxes, channels, target_channels, image_cells;
  int64_t confidences_offset, boxes_offset;  // in an image of layout "planes"
  int64_t flat_size, flat_target_size;
};

// Bytes for `elements` in some spans, as TileOfCells lays them out.
template <typename T>
int TileBytes(int64_t elements, int spans) {
  return static_cast<int>((elements * static_cast<int64_t>(sizeof(T)) + spans * 32 + 15) / 16 * 16);
}

template <typename Buffers>
Tiles MakeTiles(const Grid& grid, Layout layout, bool with_gradient) {
  using T = typename Buffers::T;
  using U = typename Buffers::U;
  const int spans = layout == Layout::kCells ? 1 : 3;
  // With room for a gradient even where there is none: the same tiles, so the same order of sums.
  const int64_t cell = 2 * grid.channels() * static_cast<int64_t>(sizeof(T)) +
                       grid.target_channels() * static_cast<int64_t>(sizeof(U));
  const int64_t most = std::min<int64_t>((kSharedBytes - 2 * 112 - 48) / cell, kThreads);
  Tiles tiles = {};
  if (most == 0) return tiles;
  const int64_t count = (grid.cells() + most - 1) / most;  // then all of about one size
  tiles.cells = static_cast<int>((grid.cells() + count - 1) / count);
  tiles.predictions = TileBytes<T>(tiles.cells * grid.channels(), spans);
  tiles.targets = TileBytes<U>(tiles.cells * grid.target_channels(), 1);
  tiles.shared = (with_gradient ? 2 : 1) * tiles.predictions + tiles.targets;
  tiles.side = static_cast<int>(grid.S);
  tiles.classes = static_cast<int>(grid.C);
  tiles.boxes = static_cast<int>(grid.B);
  tiles.channels = static_cast<int>(grid.channels());
  tiles.target_channels = static_cast<int>(grid.target_channels());
  tiles.image_cells = static_cast<int>(grid.cells());
  tiles.confidences_offset = grid.cells() * grid.C;
  tiles.boxes_offset = grid.cells() * (grid.C + grid.B);
  tiles.flat_size = grid.flat_size();
  tiles.flat_target_size = grid.flat_target_size();
  return tiles;
}

// Some cells of an image, one tile after another, in shared memory: the spans of device memory that
// hold them, one for all in "cells", and one of each kind of block in "planes". Each lies between
// multiples of 16 bytes as it does in device memory.
template <typename T, Layout layout>
struct TileOfCells {
  static constexpr int kSpans = layout == Layout::kCells ? 1 : 3;
  T* place[kSpans];  // in device memory
  int at[kSpans];    // in shared memory
  int size[kSpans] = {};

  __device__ TileOfCells(const Tiles& tiles, T* image) {
    place[0] = image;
    if constexpr (layout == Layout::kPlanes) {
      place[1] = image + tiles.confidences_offset;
      place[2] = image + tiles.boxes_offset;
    }
  }
  // Goes on to the next `count` cells.
  __device__ void Next(const Tiles& tiles, int count) {
    constexpr int kPerWord = 16 / sizeof(T);
    int end = 0;
#pragma unroll
    for (int k = 0; k < kSpans; ++k) {
      place[k] += size[k];
      size[k] = count * (kSpans == 1 ? tiles.channels
                         : k == 0    ? tiles.classes
                                     : tiles.boxes * (k == 1 ? 1 : 4));
      at[k] = ((end + kPerWord - 1) & -kPerWord) + Misalignment(place[k]);
      end = at[k] + size[k];
    }
  }

  template <typename V>  // T, const or not
  __device__ Cell<V> At(const Tiles& tiles, V* shared, int cell) const {
    if constexpr (layout == Layout::kCells) {
      V* const own = shared + at[0] + cell * tiles.channels;
      return {own, own + tiles.classes, own + tiles.classes + tiles.boxes};
    } else {
      return {shared + at[0] + cell * tiles.classes, shared + at[1] + cell * tiles.boxes,
              shared + at[2] + cell * tiles.boxes * 4};
    }
  }
  template <typename V>
  __device__ void LoadWords(V* shared) const {
#pragma unroll
    for (int k = 0; k < kSpans; ++k) BeginWords<kThreads>(place[k], shared + at[k], size[k]);
  }
  template <typename V>
  __device__ void LoadEdges(V* shared) const {
#pragma unroll
    for (int k = 0; k < kSpans; ++k) BeginEdges(place[k], shared + at[k], size[k]);
  }
  __device__ void Store(const T* shared) const {
#pragma unroll
    for (int k = 0; k < kSpans; ++k) yolov1::Store<kThreads>(shared + at[k], place[k], size[k]);
  }
};

}  // namespace yolov1
