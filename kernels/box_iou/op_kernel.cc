// The OpKernels: checks, allocation, threads or stream.
#include "kernels/box_iou/op_kernel.h"

#include <functional>
#include <string>
#include <vector>

namespace yolov1 {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::errors::ResourceExhausted;

// Null for [0]: there is no mask. (One for no boxes at all may be null too.)
const bool* Mask(const Tensor& valid) {
  return valid.NumElements() == 0 ? nullptr : static_cast<const bool*>(valid.data());
}

template <Device device, IouShape shape, bool gradient>
class BoxIouOp : public OpKernel {
 public:
  explicit BoxIouOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadBoxIouAttributes(context, shape, &args_));
  }

  void Compute(OpKernelContext* context) override {
    BoxIouArgs args = args_;
    std::vector<std::vector<int64_t>> inputs(context->num_inputs());
    for (int k = 0; k < context->num_inputs(); ++k) inputs[k] = Sizes(context->input(k).shape());
    std::vector<int64_t> result;
    OP_REQUIRES_OK(context, ReadBoxIouInputs(inputs, &args, &result));
    args.boxes_a = context->input(0).data();
    args.boxes_b = context->input(1).data();
    args.valid_a = Mask(context->input(2));
    args.valid_b = Mask(context->input(3));

    if constexpr (gradient) {
      args.upstream = context->input(4).data();
      Tensor *gradient_a, *gradient_b;
      OP_REQUIRES_OK(context, context->allocate_output(0, context->input(0).shape(), &gradient_a));
      OP_REQUIRES_OK(context, context->allocate_output(1, context->input(1).shape(), &gradient_b));
      args.gradient_a = gradient_a->data();
      args.gradient_b = gradient_b->data();
    } else {
      TensorShape iou_shape;
      OP_REQUIRES_OK(context, tensorflow::TensorShapeUtils::MakeShape(result, &iou_shape));
      Tensor* iou;
      OP_REQUIRES_OK(context, context->allocate_output(0, iou_shape, &iou));
      args.iou = iou->data();
    }
    OP_REQUIRES_OK(context, Run(context, args));
  }

 private:
  absl::Status Run(OpKernelContext* context, const BoxIouArgs& args) const {
    if constexpr (device == Device::CPU) {
      const ParallelFor parallel = [context](int64_t count, int64_t cost, const auto& work) {
        ShareOut(context, count, cost, std::ref(work));
      };
      const bool done = gradient ? BoxIouGradientCpu(args, parallel) : BoxIouCpu(args, parallel);
      return done ? absl::OkStatus() : ResourceExhausted(args.config.name(), ": out of memory.");
    } else if constexpr (gradient) {
      Tensor workspace;  // TensorFlow reuses its memory only behind these launches
      TF_RETURN_IF_ERROR(context->allocate_temp(tensorflow::DT_UINT8,
                                                TensorShape({BoxIouWorkspace(args)}), &workspace));
      return LaunchStatus(BoxIouGradientCuda(args, workspace.data(), Stream(context)));
    } else {
      return LaunchStatus(BoxIouCuda(args, Stream(context)));
    }
  }

  BoxIouArgs args_;
};

#define REGISTER_AS(DEVICE, NAME, SHAPE, GRADIENT)         \
  REGISTER_FOR(DEVICE, NAME, SHAPE, GRADIENT, float)       \
  REGISTER_FOR(DEVICE, NAME, SHAPE, GRADIENT, double)      \
  REGISTER_FOR(DEVICE, NAME, SHAPE, GRADIENT, Eigen::half) \
  REGISTER_FOR(DEVICE, NAME, SHAPE, GRADIENT, Eigen::bfloat16)
#define REGISTER_FOR(DEVICE, NAME, SHAPE, GRADIENT, T)                                           \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(tensorflow::DEVICE_##DEVICE).TypeConstraint<T>("T"), \
                          BoxIouOp<Device::DEVICE, SHAPE, GRADIENT>);
#define REGISTER_ON(DEVICE)                                                \
  REGISTER_AS(DEVICE, "Yolov1>PairwiseIou", IouShape::kPairwise, false)    \
  REGISTER_AS(DEVICE, "Yolov1>PairwiseIouGrad", IouShape::kPairwise, true) \
  REGISTER_AS(DEVICE, "Yolov1>AlignedIou", IouShape::kAligned, false)      \
  REGISTER_AS(DEVICE, "Yolov1>AlignedIouGrad", IouShape::kAligned, true)
REGISTER_ON(CPU)
#ifdef YOLOV1_CUDA
REGISTER_ON(GPU)
#endif
#undef REGISTER_ON
#undef REGISTER_FOR
#undef REGISTER_AS

}  // namespace

absl::Status ReadBoxIouAttributes(OpKernelConstruction* context, IouShape shape, BoxIouArgs* args) {
  std::string text;
  TF_RETURN_IF_ERROR(context->GetAttr("config", &text));
  args->config.shape = shape;
  args->type = ToDType(context->input_type(0));
  const std::string error = ParseBoxIouConfig(text, &args->config);
  return error.empty() ? absl::OkStatus() : InvalidArgument(error);
}

absl::Status ReadBoxIouInputs(const std::vector<std::vector<int64_t>>& inputs, BoxIouArgs* args,
                              std::vector<int64_t>* result) {
  std::string error = ReadBoxIouShapes(args->config, inputs[0], inputs[1], inputs[2], inputs[3],
                                       &args->sizes, result);
  if (error.empty() && inputs.size() > 4)
    error = CheckBoxIouUpstream(args->config, *result, inputs[4]);
  return error.empty() ? absl::OkStatus() : InvalidArgument(error);
}

}  // namespace yolov1
