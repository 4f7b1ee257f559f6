// The table's ops as TensorFlow's: their interfaces with the shape function, and the OpKernels.
#include "kernels/tensorflow.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "kernels/ops.h"
#include "tensorflow/core/framework/op_def_builder.h"

namespace yolov1 {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status Complaint(const std::string& error) {
  return error.empty() ? absl::OkStatus() : InvalidArgument(error);
}

// -------------------------------------------------------------------------------------- interface

// The attributes that configure a call, of a node in a graph or of a kernel that is made for one.
template <typename Context>
absl::Status ReadAttributes(Context* context, Configured* to) {
  if (to->op->configure != nullptr) {
    TF_RETURN_IF_ERROR(context->GetAttr("config", &to->text));
    TF_RETURN_IF_ERROR(Complaint(to->op->configure(to->text, &to->config)));
  }
  for (const Op::Request& request : to->op->requests) {
    bool asked = false;
    TF_RETURN_IF_ERROR(context->GetAttr(request.attribute, &asked));
    to->left_out |= uint32_t{!asked} << request.result;
  }
  return absl::OkStatus();
}

// The dtype of an input, "scores: T" or "valid: bool".
DType InputType(InferenceContext* context, std::string_view input) {
  const std::string name(input.substr(input.find(' ') + 1));
  tensorflow::DataType type;
  if (!context->GetAttr(name, &type).ok()) tensorflow::DataTypeFromString(name, &type);
  return ToDType(type);
}

absl::Status InferShapes(const Op& op, InferenceContext* context) {
  Configured configured;
  configured.op = &op;
  TF_RETURN_IF_ERROR(ReadAttributes(context, &configured));
  Call call;
  call.in.resize(op.inputs.size());
  for (size_t k = 0; k < call.in.size(); ++k) {
    const ShapeHandle shape = context->input(k);
    call.in[k].type = InputType(context, op.inputs[k]);
    if (!context->RankKnown(shape)) call.in[k].shape = {kAnyRank};
    for (int d = 0; context->RankKnown(shape) && d < context->Rank(shape); ++d)
      call.in[k].shape.push_back(context->Value(context->Dim(shape, d)));  // -1 is unknown here too
  }
  TF_RETURN_IF_ERROR(configured.Infer(&call));
  for (size_t k = 0; k < op.outputs.size(); ++k) {
    std::vector<DimensionHandle> sizes;
    for (int64_t size : call.out[k].shape) sizes.push_back(context->MakeDim(size));
    const bool ranked = Ranked(call.out[k].shape);
    context->set_output(k, ranked ? context->MakeShape(sizes) : context->UnknownShape());
  }
  return absl::OkStatus();
}

tensorflow::OpRegistrationData Interface(const Op& op) {
  tensorflow::OpDefBuilder builder(op.name);
  for (const char* input : op.inputs) builder.Input(input);
  for (const char* output : op.outputs) builder.Output(output);
  if (op.configure != nullptr) builder.Attr("config: string");
  for (const char* attribute : op.attributes) builder.Attr(attribute);
  builder.Doc(op.doc);
  builder.SetShapeFn([&op](InferenceContext* context) { return InferShapes(op, context); });
  tensorflow::OpRegistrationData data;
  TF_CHECK_OK(builder.Finalize(&data));
  return data;
}

// ------------------------------------------------------------------------------------- OpKernels

template <bool on_gpu>
class TableOpKernel : public OpKernel {
 public:
  explicit TableOpKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, configured_.Read(context, on_gpu));
  }

  void Compute(OpKernelContext* context) override {
    const Op& op = *configured_.op;
    thread_local Call call;
    std::vector<std::string_view> strings;  // of the one input that may have some
    call.in.resize(op.inputs.size());
    for (size_t k = 0; k < call.in.size(); ++k) {
      const Tensor& input = context->input(k);
      const auto sizes = input.shape().dim_sizes();
      call.in[k].type = ToDType(input.dtype());
      call.in[k].shape.assign(sizes.begin(), sizes.end());
      call.in[k].data =
          input.dtype() == tensorflow::DT_STRING ? Views(input, &strings) : input.data();
    }
    OP_REQUIRES_OK(context, configured_.Infer(&call));
    if (!on_gpu && op.unchanged != nullptr && op.unchanged(call))
      return context->set_output(0, context->input(op.in_place.input));

    absl::InlinedVector<Tensor, 1> scratch(op.scratch.size());
    for (size_t k = 0; k < call.out.size(); ++k)
      OP_REQUIRES_OK(context, Allocate(context, k, &call.out[k], scratch.data()));
    OP_REQUIRES_OK(context, Run(context, call));
  }

 private:
  // What an op sees of a tensor of strings.
  static void* Views(const Tensor& input, std::vector<std::string_view>* views) {
    const auto texts = input.flat<tensorflow::tstring>();
    for (int64_t k = 0; k < texts.size(); ++k) views->emplace_back(texts(k));
    return views->data();
  }

  // Memory for result `k`: an output, or scratch.
  absl::Status Allocate(OpKernelContext* context, size_t k, View* result, Tensor* scratch) const {
    const Op& op = *configured_.op;
    TensorShape shape;  // not made of sizes that are known to be good: whether it has a size at all
    TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape(result->shape, &shape));
    Tensor* to = nullptr;
    if (k >= op.outputs.size()) {
      to = scratch + (k - op.outputs.size());
      result->data = nullptr;
      if (shape.num_elements() == 0) return absl::OkStatus();
      // TensorFlow gives it to others only behind what is queued on its stream.
      TF_RETURN_IF_ERROR(context->allocate_temp(ToDataType(result->type), shape, to));
    } else if (k == op.in_place.result && op.in_place.input >= 0 &&
               (op.in_place.on_gpu || !on_gpu)) {
      TF_RETURN_IF_ERROR(
          context->forward_input_or_allocate_output({op.in_place.input}, k, shape, &to));
    } else {
      TF_RETURN_IF_ERROR(context->allocate_output(k, shape, &to));
    }
    result->data = configured_.left_out >> k & 1 ? nullptr : to->data();
    return absl::OkStatus();
  }

  absl::Status Run(OpKernelContext* context, const Call& call) const {
    const Op& op = *configured_.op;
    if (on_gpu) return LaunchStatus(op.cuda(call, Stream(context)));
    const ParallelFor parallel = [context](int64_t count, int64_t cost, const auto& work) {
      ShareOut(context, count, cost, std::ref(work));
    };
    const std::string error = op.cpu(call, parallel);
    if (error != kOutOfMemory) return Complaint(error);
    return tensorflow::errors::ResourceExhausted(op.face, ": ", error, ".");
  }

  Configured configured_;
};

// When the library is loaded: the ops' interfaces, then their kernels.
const bool registered = [] {
  for (const Op* op : kOps) {
    tensorflow::OpRegistry::Global()->Register([op](tensorflow::OpRegistrationData* data) {
      *data = Interface(*op);
      return absl::OkStatus();
    });
    RegisterKernel<TableOpKernel<false>>(*op, tensorflow::DEVICE_CPU);
    if (op->cuda != nullptr) RegisterKernel<TableOpKernel<true>>(*op, tensorflow::DEVICE_GPU);
  }
  return true;
}();

}  // namespace

// -------------------------------------------------------------------------------------- for both

absl::Status Configured::Read(OpKernelConstruction* context, bool is_on_gpu) {
  for (const Op* one : kOps)
    if (context->def().op() == one->name) op = one;
  on_gpu = is_on_gpu;
  TF_RETURN_IF_ERROR(ReadAttributes(context, this));
  Call call;  // of any shapes
  call.in.resize(op->inputs.size());
  for (size_t k = 0; k < call.in.size(); ++k)
    call.in[k] = {ToDType(context->input_type(k)), {kAnyRank}};
  TF_RETURN_IF_ERROR(Infer(&call));
  for (size_t k = 0; k < op->outputs.size(); ++k)
    if (ToDType(context->output_type(k)) != call.out[k].type)
      return InvalidArgument(op->face, ": ", ResultName(*op, k), " must be ",
                             DTypeName(call.out[k].type), " for inputs of these dtypes, got ",
                             DTypeName(ToDType(context->output_type(k))), ".");
  return absl::OkStatus();
}

absl::Status Configured::Infer(Call* call) const {
  call->config = config.get();
  call->on_gpu = on_gpu;
  call->left_out = left_out;
  return Complaint(yolov1::Infer(*op, call));
}

tensorflow::DataTypeVector Types(const Op& op) {
  tensorflow::DataTypeVector types;
  const tensorflow::OpRegistrationData interface = Interface(op);
  for (const auto& attribute : interface.op_def.attr()) {
    if (attribute.name() != "T") continue;
    for (const int type : attribute.allowed_values().list().type())
      types.push_back(static_cast<tensorflow::DataType>(type));
  }
  return types;
}

// What a DType is called in TensorFlow, in the order of its values.
constexpr tensorflow::DataType kDataTypes[] = {
    tensorflow::DT_FLOAT,    tensorflow::DT_DOUBLE, tensorflow::DT_HALF,
    tensorflow::DT_BFLOAT16, tensorflow::DT_BOOL,   tensorflow::DT_INT32,
    tensorflow::DT_UINT8,    tensorflow::DT_INT64,  tensorflow::DT_STRING};

DType ToDType(tensorflow::DataType type) {
  return static_cast<DType>(std::find(kDataTypes, std::end(kDataTypes), type) - kDataTypes);
}
tensorflow::DataType ToDataType(DType type) { return kDataTypes[static_cast<int>(type)]; }

}  // namespace yolov1
