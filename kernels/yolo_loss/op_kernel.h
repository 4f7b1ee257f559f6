// What the OpKernel and the XLA kernel check alike.
#pragma once

#include "kernels/tensorflow.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {

// The attributes of the op: configuration and dtypes into `args`.
absl::Status ReadYoloLossAttributes(tensorflow::OpKernelConstruction* context, YoloLossArgs* args,
                                    bool* compute_gradient);

// Whether `upstream` can scale a gradient: a scalar, or one value for each image.
absl::Status CheckYoloLossUpstream(const tensorflow::TensorShape& upstream,
                                   const tensorflow::TensorShape& gradient);

}  // namespace yolov1
