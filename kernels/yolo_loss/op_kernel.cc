// The OpKernels: checks, allocation, threads or stream.
#include "kernels/yolo_loss/op_kernel.h"

#include <algorithm>
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

template <Device device>
class YoloLossOp : public OpKernel {
 public:
  explicit YoloLossOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, ReadYoloLossAttributes(context, &args_, &compute_gradient_));
    sum_type_ = context->output_type(0);
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& predictions = context->input(0);
    const Tensor& targets = context->input(1);
    const std::string error =
        CheckYoloLossShapes(args_.config, Sizes(predictions.shape()), Sizes(targets.shape()));
    OP_REQUIRES(context, error.empty(), InvalidArgument(error));
    const int64_t images = predictions.dim_size(0);
    const bool mean = args_.config.mean();

    Tensor *loss, *terms, *gradient;
    Tensor image_loss;  // [N]
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, mean ? TensorShape({}) : TensorShape({images}), &loss));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({images, kTerms}), &terms));
    OP_REQUIRES_OK(context,
                   context->allocate_output(
                       2, compute_gradient_ ? predictions.shape() : TensorShape({0}), &gradient));
    if (mean) {
      OP_REQUIRES_OK(context,
                     context->allocate_temp(sum_type_, TensorShape({images}), &image_loss));
    } else {
      image_loss = *loss;
    }

    YoloLossArgs args = args_;
    args.images = images;
    args.predictions = predictions.data();
    args.targets = targets.data();
    args.loss = image_loss.data();
    args.terms = terms->data();
    args.gradient = compute_gradient_ ? gradient->data() : nullptr;
    OP_REQUIRES_OK(context, Run(context, args, loss->data()));
  }

 private:
  absl::Status Run(OpKernelContext* context, const YoloLossArgs& args, void* mean) const {
    if constexpr (device == Device::GPU) {
      return LaunchStatus(YoloLossCuda(args, mean, Stream(context)));
    } else {
      // An empty batch has no memory: its null gradient pointer must not be taken for "no
      // gradient", and there is nothing to do.
      if (args.images > 0) {
        ShareOut(context, args.images, YoloLossCpuCost(args),
                 [&](int64_t begin, int64_t end) { YoloLossCpu(args, begin, end); });
      }
      if (args.config.mean()) YoloLossMean(args, mean);
      return absl::OkStatus();
    }
  }

  YoloLossArgs args_;
  tensorflow::DataType sum_type_;
  bool compute_gradient_ = false;
};

// What both devices' kernels of the product take, but where it goes.
YoloLossScaleArgs ScaleArgs(const Tensor& upstream, const Tensor& gradient) {
  YoloLossScaleArgs args;
  args.type = ToDType(gradient.dtype());
  args.images = gradient.dim_size(0);
  args.size = args.images == 0 ? 0 : gradient.NumElements() / args.images;
  args.scalar = upstream.dims() == 0;
  args.upstream = upstream.data();
  args.gradient = gradient.data();
  return args;
}

template <typename A>
bool AllOnes(const Tensor& upstream) {
  const auto up = upstream.flat<A>();
  return std::all_of(up.data(), up.data() + up.size(), [](A value) { return value == A(1); });
}

class YoloLossGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& upstream = context->input(0);
    const Tensor& gradient = context->input(1);
    OP_REQUIRES_OK(context, CheckYoloLossUpstream(upstream.shape(), gradient.shape()));
    if (upstream.dtype() == tensorflow::DT_DOUBLE ? AllOnes<double>(upstream)
                                                  : AllOnes<float>(upstream)) {
      context->set_output(0, gradient);
      return;
    }
    YoloLossScaleArgs args = ScaleArgs(upstream, gradient);  // before it may be forwarded
    Tensor* product;
    OP_REQUIRES_OK(context,
                   context->forward_input_or_allocate_output({1}, 0, gradient.shape(), &product));
    args.product = product->data();
    ShareOut(context, args.images, args.size / 8 + 1,
             [&](int64_t begin, int64_t end) { YoloLossScaleCpu(args, begin, end); });
  }
};

#ifdef YOLOV1_CUDA

// On a GPU the upstream gradient is not read here: the launch finds out whether it is 1, and has
// nothing to do then if the product could take the gradient's place.
class YoloLossGradGpuOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& upstream = context->input(0);
    const Tensor& gradient = context->input(1);
    OP_REQUIRES_OK(context, CheckYoloLossUpstream(upstream.shape(), gradient.shape()));
    YoloLossScaleArgs args = ScaleArgs(upstream, gradient);  // before it may be forwarded
    Tensor* product;
    OP_REQUIRES_OK(context,
                   context->forward_input_or_allocate_output({1}, 0, gradient.shape(), &product));
    args.product = product->data();
    OP_REQUIRES_OK(context, LaunchStatus(YoloLossScaleCuda(args, Stream(context))));
  }
};

#endif

// Which targets go with which predictions is checked when the kernel is made.
#define REGISTER_ON(DEVICE, T, ...)                                                           \
  REGISTER_KERNEL_BUILDER(                                                                    \
      Name("Yolov1>YoloLoss").Device(tensorflow::DEVICE_##DEVICE).TypeConstraint<T>("T"),     \
      YoloLossOp<Device::DEVICE>);                                                            \
  REGISTER_KERNEL_BUILDER(                                                                    \
      Name("Yolov1>YoloLossGrad").Device(tensorflow::DEVICE_##DEVICE).TypeConstraint<T>("T"), \
      __VA_ARGS__)
REGISTER_ON(CPU, float, YoloLossGradOp);
REGISTER_ON(CPU, double, YoloLossGradOp);
REGISTER_ON(CPU, Eigen::half, YoloLossGradOp);
REGISTER_ON(CPU, Eigen::bfloat16, YoloLossGradOp);
#ifdef YOLOV1_CUDA
REGISTER_ON(GPU, float, YoloLossGradGpuOp);
REGISTER_ON(GPU, double, YoloLossGradGpuOp);
REGISTER_ON(GPU, Eigen::half, YoloLossGradGpuOp);
REGISTER_ON(GPU, Eigen::bfloat16, YoloLossGradGpuOp);
#endif
#undef REGISTER_ON

}  // namespace

absl::Status ReadYoloLossAttributes(OpKernelConstruction* context, YoloLossArgs* args,
                                    bool* compute_gradient) {
  std::string text;
  TF_RETURN_IF_ERROR(context->GetAttr("config", &text));
  TF_RETURN_IF_ERROR(context->GetAttr("compute_gradient", compute_gradient));
  const std::string error = ParseYoloLossConfig(text, &args->config);
  if (!error.empty()) return InvalidArgument(error);
  args->type = ToDType(context->input_type(0));
  args->target_type = ToDType(context->input_type(1));
  const bool double_sums = context->output_type(0) == tensorflow::DT_DOUBLE;
  if (!YoloLossSupports(args->type, args->target_type) ||
      (args->type == DType::kDouble) != double_sums)
    return InvalidArgument("yolo_loss: no kernel for predictions of ",
                           DataTypeString(context->input_type(0)), ", targets of ",
                           DataTypeString(context->input_type(1)), " and a loss of ",
                           DataTypeString(context->output_type(0)), ".");
  return absl::OkStatus();
}

absl::Status CheckYoloLossUpstream(const TensorShape& upstream, const TensorShape& gradient) {
  if (gradient.dims() == 0)
    return InvalidArgument("yolo_loss: the gradient must be [N, ...], got a scalar.");
  const int64_t images = gradient.dim_size(0);
  if (upstream.dims() == 0 || (upstream.dims() == 1 && upstream.dim_size(0) == images))
    return absl::OkStatus();
  return InvalidArgument("yolo_loss: the upstream gradient must be a scalar or [", images,
                         "], got ", upstream.DebugString(), ".");
}

}  // namespace yolov1
