// The OpKernels: checks, allocation, threads.
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

template <IouShape shape, bool gradient>
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

    const ParallelFor parallel = [context](int64_t count, int64_t cost, const auto& work) {
      ShareOut(context, count, cost, std::ref(work));
    };
    bool done;
    if constexpr (gradient) {
      args.upstream = context->input(4).data();
      Tensor *gradient_a, *gradient_b;
      OP_REQUIRES_OK(context, context->allocate_output(0, context->input(0).shape(), &gradient_a));
      OP_REQUIRES_OK(context, context->allocate_output(1, context->input(1).shape(), &gradient_b));
      args.gradient_a = gradient_a->data();
      args.gradient_b = gradient_b->data();
      done = BoxIouGradientCpu(args, parallel);
    } else {
      TensorShape iou_shape;
      OP_REQUIRES_OK(context, tensorflow::TensorShapeUtils::MakeShape(result, &iou_shape));
      Tensor* iou;
      OP_REQUIRES_OK(context, context->allocate_output(0, iou_shape, &iou));
      args.iou = iou->data();
      done = BoxIouCpu(args, parallel);
    }
    OP_REQUIRES(context, done, ResourceExhausted(args.config.name(), ": out of memory."));
  }

 private:
  BoxIouArgs args_;
};

#define REGISTER_AS(NAME, SHAPE, GRADIENT)         \
  REGISTER_FOR(NAME, SHAPE, GRADIENT, float)       \
  REGISTER_FOR(NAME, SHAPE, GRADIENT, double)      \
  REGISTER_FOR(NAME, SHAPE, GRADIENT, Eigen::half) \
  REGISTER_FOR(NAME, SHAPE, GRADIENT, Eigen::bfloat16)
#define REGISTER_FOR(NAME, SHAPE, GRADIENT, T)                                              \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
                          BoxIouOp<SHAPE, GRADIENT>);
REGISTER_AS("Yolov1>PairwiseIou", IouShape::kPairwise, false)
REGISTER_AS("Yolov1>PairwiseIouGrad", IouShape::kPairwise, true)
REGISTER_AS("Yolov1>AlignedIou", IouShape::kAligned, false)
REGISTER_AS("Yolov1>AlignedIouGrad", IouShape::kAligned, true)
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
