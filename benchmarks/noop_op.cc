// An op with the inputs and outputs of Yolov1>YoloLoss that computes nothing: what TensorFlow
// itself costs around any such op.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace yolov1 {
namespace {

constexpr int kTerms = 5;

class Noop : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    const tensorflow::Tensor& predictions = context->input(0);
    OP_REQUIRES(context, predictions.dims() > 0,
                absl::InvalidArgumentError("noop: predictions must be [N, ...], got a scalar."));
    const int64_t images = predictions.dim_size(0);
    tensorflow::Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(0, {images}, &output));
    OP_REQUIRES_OK(context, context->allocate_output(1, {images, kTerms}, &output));
    OP_REQUIRES_OK(context, context->allocate_output(2, predictions.shape(), &output));
  }
};

REGISTER_KERNEL_BUILDER(Name("Yolov1>Noop").Device(tensorflow::DEVICE_CPU), Noop);

}  // namespace

REGISTER_OP("Yolov1>Noop")
    .Input("predictions: T")
    .Input("targets: Ttargets")
    .Output("loss: Tloss")
    .Output("terms: Tloss")
    .Output("gradient: T")
    .Attr("T: {float, double, half, bfloat16}")
    .Attr("Ttargets: {float, double, half, bfloat16}")
    .Attr("Tloss: {float, double}")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      tensorflow::shape_inference::ShapeHandle predictions;
      TF_RETURN_IF_ERROR(c->WithRankAtLeast(c->input(0), 1, &predictions));
      const tensorflow::shape_inference::DimensionHandle images = c->Dim(predictions, 0);
      c->set_output(0, c->Vector(images));
      c->set_output(1, c->Matrix(images, kTerms));
      c->set_output(2, predictions);
      return absl::OkStatus();
    });

}  // namespace yolov1
