// XLA inside TensorFlow, as the ops' xla.cc use it: a class with a Compile() in place of the
// OpKernel's Compute(), which emits what XLA shall run. Half a minute to compile: include it
// nowhere else.
//
// Register such a class with REGISTER_KERNEL_BUILDER for the device DEVICE_CPU_XLA_JIT (or GPU),
// not with REGISTER_XLA_OP: that one goes through a list which TensorFlow reads once, at the first
// XLA compilation of the process, and a library that is loaded later would come too late.
#pragma once

#include <string>
#include <vector>

#include "kernels/ffi_targets.h"
#include "kernels/tensorflow.h"
#include "tensorflow/compiler/tf2xla/shape_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "xla/ffi/api/api.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape_util.h"

namespace yolov1 {

// Makes the handlers known to TensorFlow's XLA. Called when a kernel is made: only then is the
// table complete for certain, as static initialisers have no order between files.
inline void RegisterFfiTargets() {
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

// The shape of an input. One whose size depends on values is refused: XLA hands such a tensor over
// with its largest possible size, and rubbish behind the real values.
inline absl::Status StaticShape(tensorflow::XlaOpKernelContext* context, int input,
                                tensorflow::TensorShape* shape) {
  TF_ASSIGN_OR_RETURN(const xla::Shape xla_shape, context->InputXlaShape(input));
  if (!xla_shape.is_static())
    return tensorflow::errors::Unimplemented(
        context->op_kernel().type_string(), ": under XLA the size of input ", input,
        " must not depend on values (as after tf.boolean_mask), got ", xla_shape.ToString(),
        "; use impl='reference', or call it outside jit_compile=True.");
  return tensorflow::XLAShapeToTensorShape(xla_shape, shape);
}

// A call of the handler `target`. `attributes` is the text of an MLIR dictionary.
inline xla::XlaOp FfiCall(tensorflow::XlaOpKernelContext* context, const std::string& target,
                          const std::vector<xla::XlaOp>& operands,
                          const std::vector<xla::Shape>& operand_shapes,
                          const std::vector<xla::Shape>& results, const std::string& attributes) {
  return xla::CustomCallWithLayout(
      context->builder(), target, operands, xla::ShapeUtil::MakeTupleShape(results), operand_shapes,
      attributes, /*has_side_effect=*/false,
      /*output_operand_aliasing=*/{}, /*literal=*/nullptr, xla::CustomCallSchedule::SCHEDULE_NONE,
      xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
}

}  // namespace yolov1
