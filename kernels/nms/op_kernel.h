// What the OpKernel and the XLA kernel check alike.
#pragma once

#include "kernels/nms/kernel.h"
#include "kernels/tensorflow.h"

namespace yolov1 {

// The attributes of the op into `args`.
absl::Status ReadNmsAttributes(tensorflow::OpKernelConstruction* context, NmsArgs* args);

// Whether the shapes of boxes and scores fit; their sizes into `args`.
absl::Status ReadNmsShapes(const tensorflow::TensorShape& boxes_xyxy,
                           const tensorflow::TensorShape& scores, NmsArgs* args);

}  // namespace yolov1
