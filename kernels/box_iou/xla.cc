// The XLA kernels: each op as a call of ffi.cc's handler.
#include "kernels/xla.h"

#include "kernels/box_iou/op_kernel.h"

namespace yolov1 {
namespace {

using tensorflow::TensorShape;
using tensorflow::XlaOpKernel;
using tensorflow::XlaOpKernelContext;
using xla::ShapeUtil;

template <IouShape shape, bool gradient>
class BoxIouXlaOp : public XlaOpKernel {
 public:
  explicit BoxIouXlaOp(tensorflow::OpKernelConstruction* context) : XlaOpKernel(context) {
    RegisterFfiTargets();
    on_gpu_ = context->device_type() == tensorflow::DeviceType(tensorflow::DEVICE_GPU_XLA_JIT);
    OP_REQUIRES_OK(context, ReadBoxIouAttributes(context, shape, &args_));
    OP_REQUIRES_OK(context, context->GetAttr("config", &config_));
  }

  void Compile(XlaOpKernelContext* context) override {
    std::vector<xla::XlaOp> operands;
    std::vector<std::vector<int64_t>> inputs;
    std::vector<xla::Shape> operand_shapes, results;
    for (int k = 0; k < context->num_inputs(); ++k) {
      TensorShape input;
      OP_REQUIRES_OK(context, StaticShape(context, k, &input));
      operands.push_back(context->Input(k));
      inputs.push_back(Sizes(input));
      operand_shapes.push_back(
          ShapeUtil::MakeShapeWithDescendingLayout(context->input_xla_type(k), inputs[k]));
    }
    std::vector<int64_t> result;
    BoxIouArgs args = args_;
    OP_REQUIRES_OK(context, ReadBoxIouInputs(inputs, &args, &result));
    if (gradient) {
      results = {
          operand_shapes[0], operand_shapes[1],
          ShapeUtil::MakeShapeWithDescendingLayout(xla::U8, {on_gpu_ ? Workspace(args) : 0})};
    } else {
      results = {ShapeUtil::MakeShapeWithDescendingLayout(context->input_xla_type(0), result)};
    }
    const xla::XlaOp call = FfiCall(context, type_string(), operands, operand_shapes, results,
                                    "{config = \"" + config_ + "\"}");
    for (int output = 0; output < context->num_outputs(); ++output)
      context->SetOutput(output, xla::GetTupleElement(call, output));
  }

 private:
  static int64_t Workspace(const BoxIouArgs& args) {
#ifdef YOLOV1_CUDA
    return BoxIouWorkspace(args);
#else
    static_cast<void>(args);
    return 0;
#endif
  }

  BoxIouArgs args_;
  std::string config_;
  bool on_gpu_ = false;
};

constexpr std::array<tensorflow::DataType, 4> kTypes = {
    tensorflow::DT_FLOAT, tensorflow::DT_DOUBLE, tensorflow::DT_HALF, tensorflow::DT_BFLOAT16};
#define REGISTER_AS(DEVICE, NAME, SHAPE, GRADIENT)                                           \
  REGISTER_KERNEL_BUILDER(Name(NAME).Device(tensorflow::DEVICE).TypeConstraint("T", kTypes), \
                          BoxIouXlaOp<SHAPE, GRADIENT>)
#define REGISTER_ON(DEVICE)                                                 \
  REGISTER_AS(DEVICE, "Yolov1>PairwiseIou", IouShape::kPairwise, false);    \
  REGISTER_AS(DEVICE, "Yolov1>PairwiseIouGrad", IouShape::kPairwise, true); \
  REGISTER_AS(DEVICE, "Yolov1>AlignedIou", IouShape::kAligned, false);      \
  REGISTER_AS(DEVICE, "Yolov1>AlignedIouGrad", IouShape::kAligned, true)
REGISTER_ON(DEVICE_CPU_XLA_JIT);
#ifdef YOLOV1_CUDA
REGISTER_ON(DEVICE_GPU_XLA_JIT);
#endif
#undef REGISTER_ON
#undef REGISTER_AS

}  // namespace
}  // namespace yolov1
