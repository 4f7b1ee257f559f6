// Batched IoU, without any framework: configuration, arguments and launch functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/iou.h"
#include "kernels/op.h"

namespace yolov1 {

enum class IouShape {
  kPairwise,  // each box of [..., M, 4] with each of [..., K, 4]: [..., M, K]
  kAligned,   // boxes [..., 4] one by one: [...]
};

// What is the same for every call.
struct BoxIouConfig {
  IouShape shape = IouShape::kPairwise;
  IouKind kind = IouKind::kIou;
  BoxFormat format = BoxFormat::kXyxy;

  const char* name() const { return shape == IouShape::kPairwise ? "pairwise_iou" : "aligned_iou"; }
};

// Reads the text that every caller configures the ops with, as yolov1/kernels/ writes it:
// "kind=giou box_format=xyxy". Sets all but the shape. Returns "", or what is wrong.
std::string ParseBoxIouConfig(std::string_view text, BoxIouConfig* config);

// Leading dimensions that were broadcast against each other, from the last one on; those that both
// sides walk through alike are one.
struct Broadcast {
  static constexpr int kMaxRank = 8;
  int rank = 0;
  int64_t sizes[kMaxRank];
  int64_t strides[2][kMaxRank];  // of a and of b; 0 where its one element stands for all

  // The element of a (side 0) or b (side 1) that element `index` of the result is made of.
  YOLOV1_HOST_DEVICE int64_t Source(int side, int64_t index) const {
    int64_t source = 0;
    for (int k = 0; k < rank; ++k) {
      source += index % sizes[k] * strides[side][k];
      index /= sizes[k];
    }
    return source;
  }

  // The inverse: the `repeat`-th index, in rising order, that `source` of a side is the element of.
  YOLOV1_HOST_DEVICE int64_t User(int side, int64_t source, int64_t repeat) const {
    int64_t index = 0, place = 1;
    for (int k = 0; k < rank; ++k) {
      const int64_t stride = strides[side][k];
      index += place * (stride == 0 ? repeat % sizes[k] : source / stride % sizes[k]);
      if (stride == 0) repeat /= sizes[k];
      place *= sizes[k];
    }
    return index;
  }
};

// The sizes of a call. Of aligned boxes there is one pair in each element: M = K = 1.
struct BoxIouSizes {
  int64_t N = 0;  // elements of the broadcast leading dimensions
  int64_t M = 1, K = 1;
  int64_t count_a = 0, count_b = 0;  // elements of the leading dimensions of each side
  Broadcast batch;

  // Of side 0, a, or 1, b: its elements, the boxes of one, and whether one stands for several n.
  YOLOV1_HOST_DEVICE int64_t Count(int side) const { return side == 0 ? count_a : count_b; }
  YOLOV1_HOST_DEVICE int64_t Boxes(int side) const { return side == 0 ? M : K; }
  YOLOV1_HOST_DEVICE bool Repeats(int side) const { return Count(side) != N; }
};

// Whether the shapes fit each other, and their sizes. A mask is [..., M] for boxes [..., M, 4], or
// [0] for none. `result`, if asked for, is the shape of the result. Where something is unknown, so
// is what comes of it, and `sizes` is meaningless. Returns "", or what is wrong.
std::string ReadBoxIouShapes(const BoxIouConfig& config, const Shape& boxes_a, const Shape& boxes_b,
                             const Shape& valid_a, const Shape& valid_b, BoxIouSizes* sizes,
                             Shape* result = nullptr);

// All tensors are of one dtype; what is computed, is computed in Sum<T>.
struct BoxIouArgs {
  BoxIouConfig config;
  BoxIouSizes sizes;
  DType type = DType::kFloat;
  const void* boxes_a = nullptr;   // [count_a, M, 4]
  const void* boxes_b = nullptr;   // [count_b, K, 4]
  const bool* valid_a = nullptr;   // [count_a, M], or null: all boxes are
  const bool* valid_b = nullptr;   // [count_b, K], or null
  void* iou = nullptr;             // [N, M, K]: the result of the forward pass
  const void* upstream = nullptr;  // [N, M, K]: the gradient that comes from above
  void* gradient_a = nullptr;      // [count_a, M, 4]: the results of the backward pass, each of
  void* gradient_b = nullptr;      // [count_b, K, 4]  which is not computed where it is null

  YOLOV1_HOST_DEVICE const void* Boxes(int side) const { return side == 0 ? boxes_a : boxes_b; }
  YOLOV1_HOST_DEVICE const bool* Valid(int side) const { return side == 0 ? valid_a : valid_b; }
  YOLOV1_HOST_DEVICE void* Gradient(int side) const { return side == 0 ? gradient_a : gradient_b; }

  // Whether there is nothing to read.
  bool empty() const { return sizes.N * sizes.M * sizes.K == 0; }
};

// Forward and backward pass on the CPU. The work is cut the same way whatever the threads, and
// partial sums are added in one order, so that the bits are always the same. False where there was
// no memory to work in. `version` is a place in BoxIouVersions().
bool BoxIouCpu(const BoxIouArgs& args, const ParallelFor& parallel, int version = 0);
bool BoxIouGradientCpu(const BoxIouArgs& args, const ParallelFor& parallel, int version = 0);

// The versions of the CPU kernel that this processor can run, the best first: a level of SIMD each,
// all of the same bits, and "naive", whose gradients are summed in another order.
std::vector<std::string> BoxIouVersions();

// ---------------------------------------------------------------------------------- on a GPU
//
// Where the build has CUDA (YOLOV1_CUDA). All pointers are to device memory, `stream` is a
// cudaStream_t. A call queues kernels and neither allocates nor waits, so a CUDA graph may record
// it. Returns "", or what is wrong. The same bits each time, but not those of the CPU. `version` is
// a place in BoxIouCudaVersions().

std::string BoxIouCuda(const BoxIouArgs& args, void* stream, int version = 0);

// `workspace`: BoxIouWorkspace(args) bytes of device memory, aligned to 16.
std::string BoxIouGradientCuda(const BoxIouArgs& args, void* workspace, void* stream,
                               int version = 0);
int64_t BoxIouWorkspace(const BoxIouArgs& args);

// The versions of the CUDA kernels, the best first.
std::vector<std::string> BoxIouCudaVersions();

}  // namespace yolov1
