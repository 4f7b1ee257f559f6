// The XLA kernels: the loss as a call of ffi.cc's handler, its gradient as XLA's own operations.
#include "kernels/xla.h"

#include "kernels/yolo_loss/op_kernel.h"

namespace yolov1 {
namespace {

using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::ShapeUtil;

class YoloLossXlaOp : public XlaOpKernel {
 public:
  explicit YoloLossXlaOp(tensorflow::OpKernelConstruction* context) : XlaOpKernel(context) {
    RegisterFfiTargets();
    OP_REQUIRES_OK(context, ReadYoloLossAttributes(context, &args_, &compute_gradient_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
  }

  void Compile(XlaOpKernelContext* context) override {
    TensorShape predictions, targets;
    OP_REQUIRES_OK(context, StaticShape(context, 0, &predictions));
    OP_REQUIRES_OK(context, StaticShape(context, 1, &targets));
    const std::string error = CheckYoloLossShapes(args_.config, Sizes(predictions), Sizes(targets));
    OP_REQUIRES(context, error.empty(), absl::InvalidArgumentError(error));

    const int64_t images = predictions.dim_size(0);
    const bool mean = args_.config.mean();
    const auto shape = [&](xla::PrimitiveType type, const std::vector<int64_t>& sizes) {
      return ShapeUtil::MakeShapeWithDescendingLayout(type, sizes);
    };
    const xla::PrimitiveType type = context->input_xla_type(0), sums = context->output_xla_type(0);
    const std::vector<int64_t> gradient =
        compute_gradient_ ? Sizes(predictions) : std::vector<int64_t>{0};
    const std::vector<int64_t> loss = mean ? std::vector<int64_t>{} : std::vector<int64_t>{images};
    const xla::XlaOp call = FfiCall(
        context, "Yolov1>YoloLoss", {context->Input(0), context->Input(1)},
        {shape(type, Sizes(predictions)), shape(context->input_xla_type(1), Sizes(targets))},
        {shape(sums, loss), shape(sums, {images, kTerms}), shape(type, gradient),
         shape(sums, {mean ? images : 0})},
        "{config = \"" + config_ + "\"}");
    for (int output = 0; output < 3; ++output)
      context->SetOutput(output, xla::GetTupleElement(call, output));
  }

 private:
  YoloLossArgs args_;
  bool compute_gradient_ = false;
  std::string config_;
};

// A constant upstream gradient of 1 leaves nothing: XLA drops a multiplication by it.
class YoloLossGradXlaOp : public XlaOpKernel {
 public:
  using XlaOpKernel::XlaOpKernel;

  void Compile(XlaOpKernelContext* context) override {
    TensorShape upstream, gradient;
    OP_REQUIRES_OK(context, StaticShape(context, 0, &upstream));
    OP_REQUIRES_OK(context, StaticShape(context, 1, &gradient));
    OP_REQUIRES_OK(context, CheckYoloLossUpstream(upstream, gradient));
    const std::vector<int64_t> images_of_upstream(upstream.dims(), 0);
    const xla::XlaOp wide = xla::ConvertElementType(context->Input(1), context->input_xla_type(0));
    const xla::XlaOp product = xla::Mul(wide, context->Input(0), images_of_upstream);
    context->SetOutput(0, xla::ConvertElementType(product, context->input_xla_type(1)));
  }
};

#define REGISTER_ON(DEVICE)                                                               \
  REGISTER_KERNEL_BUILDER(                                                                \
      Name("Yolov1>YoloLoss").Device(tensorflow::DEVICE).TypeConstraint("T", kTypes),     \
      YoloLossXlaOp);                                                                     \
  REGISTER_KERNEL_BUILDER(                                                                \
      Name("Yolov1>YoloLossGrad").Device(tensorflow::DEVICE).TypeConstraint("T", kTypes), \
      YoloLossGradXlaOp)

constexpr std::array<tensorflow::DataType, 4> kTypes = {
    tensorflow::DT_FLOAT, tensorflow::DT_DOUBLE, tensorflow::DT_HALF, tensorflow::DT_BFLOAT16};
REGISTER_ON(DEVICE_CPU_XLA_JIT);
#ifdef YOLOV1_CUDA
REGISTER_ON(DEVICE_GPU_XLA_JIT);
#endif
#undef REGISTER_ON

}  // namespace
}  // namespace yolov1
