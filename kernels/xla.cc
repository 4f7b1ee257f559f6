// The table's ops inside XLA-compiled functions of TensorFlow: a Compile() in place of Compute(),
// which emits what XLA shall run, a call of ffi.cc's handlers. Half a minute to compile, nearly all
// of it headers: nothing else belongs here.
//
// Registered as any OpKernel for the device DEVICE_CPU_XLA_JIT (or GPU), not with REGISTER_XLA_OP:
// that goes through a list which TensorFlow reads once, at the first XLA compilation of the
// process, and a library that is loaded later would come too late.
#include <string>
#include <vector>

#include "kernels/ffi_targets.h"
#include "kernels/ops.h"
#include "kernels/tensorflow.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "xla/ffi/api/api.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape_util.h"

namespace yolov1 {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::XlaOpKernelContext;

// Makes the handlers known to TensorFlow's XLA, once.
void RegisterFfiTargets() {
  static const bool once = [] {
    for (const FfiTarget& target : FfiTargets()) {
      const XLA_FFI_Api* api = XLA_FFI_GetApi();
      XLA_FFI_Error* error = xla::ffi::Ffi::RegisterStaticHandler(
          api, target.name, target.platform, reinterpret_cast<XLA_FFI_Handler*>(target.handler));
      if (error != nullptr) LOG(ERROR) << "yolov1: XLA refused the handler of " << target.name;
    }
    return true;
  }();
  static_cast<void>(once);
}

class TableXlaKernel : public tensorflow::XlaOpKernel {
 public:
  explicit TableXlaKernel(OpKernelConstruction* context) : XlaOpKernel(context) {
    RegisterFfiTargets();
    const tensorflow::DeviceType gpu(tensorflow::DEVICE_GPU_XLA_JIT);
    OP_REQUIRES_OK(context, configured_.Read(context, context->device_type() == gpu));
  }

  void Compile(XlaOpKernelContext* context) override {
    Call call;
    std::vector<xla::XlaOp> operands;
    std::vector<xla::Shape> operand_shapes;
    for (int k = 0; k < context->num_inputs(); ++k) {
      call.in.emplace_back();
      call.in[k].type = ToDType(context->input_type(k));
      OP_REQUIRES_OK(context, StaticShape(context, k, &call.in[k].shape));
      operands.push_back(context->Input(k));
      operand_shapes.push_back(XlaShape(call.in[k]));
    }
    OP_REQUIRES_OK(context, configured_.Infer(&call));
    Emit(context, call, operands, operand_shapes);
  }

 protected:
  virtual void Emit(XlaOpKernelContext* context, const Call& call,
                    const std::vector<xla::XlaOp>& operands,
                    const std::vector<xla::Shape>& operand_shapes) const {
    std::vector<xla::Shape> results;
    for (const View& result : call.out) results.push_back(XlaShape(result));
    const xla::XlaOp out = xla::CustomCallWithLayout(
        context->builder(), configured_.op->name, operands, xla::ShapeUtil::MakeTupleShape(results),
        operand_shapes, "{config = \"" + configured_.text + "\"}", /*has_side_effect=*/false,
        /*output_operand_aliasing=*/{}, /*literal=*/nullptr, xla::CustomCallSchedule::SCHEDULE_NONE,
        xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
    for (int output = 0; output < context->num_outputs(); ++output)
      context->SetOutput(output, xla::GetTupleElement(out, output));
  }

 private:
  // Of an input. One whose size depends on values is refused: XLA hands such a tensor over with its
  // largest possible size, and rubbish behind the real values.
  static absl::Status StaticShape(XlaOpKernelContext* context, int input, Shape* shape) {
    TF_ASSIGN_OR_RETURN(const xla::Shape xla_shape, context->InputXlaShape(input));
    if (!xla_shape.is_static())
      return tensorflow::errors::Unimplemented(
          context->op_kernel().type_string(), ": under XLA the size of input ", input,
          " must not depend on values (as after tf.boolean_mask), got ", xla_shape.ToString(),
          "; use impl='reference', or call it outside jit_compile=True.");
    shape->assign(xla_shape.dimensions().begin(), xla_shape.dimensions().end());
    return absl::OkStatus();
  }

  static xla::Shape XlaShape(const View& view) {
    xla::PrimitiveType type = xla::PRIMITIVE_TYPE_INVALID;
    TF_CHECK_OK(tensorflow::DataTypeToPrimitiveType(ToDataType(view.type), &type));
    return xla::ShapeUtil::MakeShapeWithDescendingLayout(type, view.shape);
  }

  Configured configured_;
};

// The one op that is better said in XLA's own operations: its multiplication is fused with what
// follows, and a constant upstream gradient of 1 leaves nothing.
class YoloLossGradXlaKernel : public TableXlaKernel {
 public:
  using TableXlaKernel::TableXlaKernel;

 protected:
  void Emit(XlaOpKernelContext* context, const Call& call, const std::vector<xla::XlaOp>& operands,
            const std::vector<xla::Shape>&) const override {
    const std::vector<int64_t> images_of_upstream(call.in[0].shape.size(), 0);
    const xla::XlaOp wide = xla::ConvertElementType(operands[1], context->input_xla_type(0));
    const xla::XlaOp product = xla::Mul(wide, operands[0], images_of_upstream);
    context->SetOutput(0, xla::ConvertElementType(product, context->input_xla_type(1)));
  }
};

const bool registered = [] {
  const auto registration = [](const Op* op, const char* device) {
    op == &kYoloLossGrad ? RegisterKernel<YoloLossGradXlaKernel>(*op, device)
                         : RegisterKernel<TableXlaKernel>(*op, device);
  };
  for (const Op* op : kOps) {
    if (op->takes_strings()) continue;  // XLA knows none
    registration(op, tensorflow::DEVICE_CPU_XLA_JIT);
    if (op->cuda != nullptr) registration(op, tensorflow::DEVICE_GPU_XLA_JIT);
  }
  return true;
}();

}  // namespace
}  // namespace yolov1
