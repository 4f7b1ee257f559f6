// The XLA kernel: the op as a call of ffi.cc's handler.
#include "kernels/xla.h"

#include "kernels/nms/op_kernel.h"

namespace yolov1 {
namespace {

using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::ShapeUtil;

class NmsXlaOp : public XlaOpKernel {
 public:
  explicit NmsXlaOp(tensorflow::OpKernelConstruction* context) : XlaOpKernel(context) {
    RegisterFfiTargets();
    on_gpu_ = context->device_type() == tensorflow::DeviceType(tensorflow::DEVICE_GPU_XLA_JIT);
    OP_REQUIRES_OK(context, ReadNmsAttributes(context, &args_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
  }

  void Compile(XlaOpKernelContext* context) override {
    TensorShape boxes, scores;
    OP_REQUIRES_OK(context, StaticShape(context, 0, &boxes));
    OP_REQUIRES_OK(context, StaticShape(context, 1, &scores));
    NmsArgs args = args_;
    OP_REQUIRES_OK(context, ReadNmsShapes(boxes, scores, &args));

    const auto shape = [&](xla::PrimitiveType type, const std::vector<int64_t>& sizes) {
      return ShapeUtil::MakeShapeWithDescendingLayout(type, sizes);
    };
    const int64_t N = args.images, M = args.config.max_detections;
    std::vector<xla::Shape> results = {shape(xla::F32, {N, M, 4}), shape(xla::F32, {N, M}),
                                       shape(xla::S32, {N, M}), shape(xla::S32, {N})};
#ifdef YOLOV1_CUDA
    if (on_gpu_) results.push_back(shape(xla::U8, {NmsWorkspace(args)}));
#endif
    const xla::XlaOp call = FfiCall(context, type_string(), {context->Input(0), context->Input(1)},
                                    {shape(xla::F32, Sizes(boxes)), shape(xla::F32, Sizes(scores))},
                                    results, "{config = \"" + config_ + "\"}");
    for (int output = 0; output < context->num_outputs(); ++output)
      context->SetOutput(output, xla::GetTupleElement(call, output));
  }

 private:
  NmsArgs args_;
  std::string config_;
  bool on_gpu_ = false;
};

#define REGISTER_ON(DEVICE)                                                                   \
  REGISTER_KERNEL_BUILDER(                                                                    \
      Name("Yolov1>NonMaxSuppression").Device(tensorflow::DEVICE).TypeConstraint<float>("T"), \
      NmsXlaOp)
REGISTER_ON(DEVICE_CPU_XLA_JIT);
#ifdef YOLOV1_CUDA
REGISTER_ON(DEVICE_GPU_XLA_JIT);
#endif
#undef REGISTER_ON

}  // namespace
}  // namespace yolov1
