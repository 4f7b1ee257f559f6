// What the OpKernels and the XLA kernels check alike.
#pragma once

#include "kernels/box_iou/kernel.h"
#include "kernels/tensorflow.h"

namespace yolov1 {

// The attributes of an op: configuration and dtype into `args`.
absl::Status ReadBoxIouAttributes(tensorflow::OpKernelConstruction* context, IouShape shape,
                                  BoxIouArgs* args);

// Whether the inputs' shapes fit each other: boxes_a, boxes_b, valid_a, valid_b and, for the
// gradient, upstream. Their sizes into `args`, and the result's shape.
absl::Status ReadBoxIouInputs(const std::vector<std::vector<int64_t>>& inputs, BoxIouArgs* args,
                              std::vector<int64_t>* result);

}  // namespace yolov1
