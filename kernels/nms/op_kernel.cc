// The OpKernel: checks, allocation, threads or stream.
#include "kernels/nms/op_kernel.h"

#include <atomic>
#include <string>

namespace yolov1 {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::errors::ResourceExhausted;

template <Device device>
class NmsOp : public OpKernel {
 public:
  explicit NmsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadNmsAttributes(context, &args_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& boxes = context->input(0);
    const Tensor& scores = context->input(1);
    NmsArgs args = args_;
    OP_REQUIRES_OK(context, ReadNmsShapes(boxes.shape(), scores.shape(), &args));

    const int64_t N = args.images, M = args.config.max_detections;
    TensorShape corners;  // the largest of the shapes: whether it has a size at all
    OP_REQUIRES_OK(context, TensorShape::BuildTensorShape({N, M, 4}, &corners));
    Tensor *found_boxes, *found_scores, *labels, *count;
    OP_REQUIRES_OK(context, context->allocate_output(0, corners, &found_boxes));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({N, M}), &found_scores));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({N, M}), &labels));
    OP_REQUIRES_OK(context, context->allocate_output(3, TensorShape({N}), &count));
    if (N == 0) return;

    args.boxes_xyxy = boxes.flat<float>().data();
    args.scores = scores.flat<float>().data();
    args.found_boxes = found_boxes->flat<float>().data();
    args.found_scores = found_scores->flat<float>().data();
    args.labels = labels->flat<int32_t>().data();
    args.count = count->flat<int32_t>().data();
    OP_REQUIRES_OK(context, Run(context, args));
  }

 private:
  absl::Status Run(OpKernelContext* context, const NmsArgs& args) const {
    if constexpr (device == Device::GPU) {
      Tensor workspace;  // TensorFlow reuses its memory only behind these launches
      TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_UINT8,
                                                TensorShape({NmsWorkspace(args)}), &workspace));
      return LaunchStatus(NmsCuda(args, workspace.data(), Stream(context)));
    } else {
      std::atomic<bool> done{true};
      ShareOut(context, args.images, NmsCpuCost(args), [&](int64_t begin, int64_t end) {
        if (!NmsCpu(args, begin, end)) done = false;
      });
      return done ? absl::OkStatus() : ResourceExhausted("non_max_suppression: out of memory.");
    }
  }

  NmsArgs args_;
};

#define REGISTER_ON(DEVICE)                                        \
  REGISTER_KERNEL_BUILDER(Name("Yolov1>NonMaxSuppression")         \
                              .Device(tensorflow::DEVICE_##DEVICE) \
                              .TypeConstraint<float>("T"),         \
                          NmsOp<Device::DEVICE>)
REGISTER_ON(CPU);
#ifdef YOLOV1_CUDA
REGISTER_ON(GPU);
#endif
#undef REGISTER_ON

}  // namespace

absl::Status ReadNmsAttributes(OpKernelConstruction* context, NmsArgs* args) {
  std::string text;
  TF_RETURN_IF_ERROR(context->GetAttr("config", &text));
  const std::string error = ParseNmsConfig(text, &args->config);
  return error.empty() ? absl::OkStatus() : InvalidArgument(error);
}

absl::Status ReadNmsShapes(const TensorShape& boxes_xyxy, const TensorShape& scores,
                           NmsArgs* args) {
  const std::string error = CheckNmsShapes(Sizes(boxes_xyxy), Sizes(scores));
  if (!error.empty()) return InvalidArgument(error);
  args->images = scores.dim_size(0);
  args->boxes = scores.dim_size(1);
  args->classes = scores.dim_size(2);
  return absl::OkStatus();
}

}  // namespace yolov1
