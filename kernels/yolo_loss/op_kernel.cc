// The OpKernels: checks, allocation, threads.
#include <algorithm>
#include <locale>
#include <sstream>
#include <string>

#include "kernels/tensorflow.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;

std::string Text(const TensorShape& shape) {
  std::ostringstream text;
  for (int k = 0; k < shape.dims(); ++k) text << (k ? ", " : "") << shape.dim_size(k);
  return "[" + text.str() + "]";
}

absl::Status ReadSemantics(OpKernelConstruction* context, LossSemantics* s) {
  std::string weights;
  TF_RETURN_IF_ERROR(context->GetAttr("weights", &weights));
  std::istringstream stream(weights);
  stream.imbue(std::locale::classic());  // the decimal point must not depend on the user's locale
  if (!(stream >> s->weight_xy >> s->weight_wh >> s->weight_object >> s->weight_no_object >>
        s->weight_class >> s->factor)) {
    return InvalidArgument("yolo_loss: weights must be six decimal numbers, got '", weights, "'.");
  }
  TF_RETURN_IF_ERROR(
      GetChoice(context, "wh", {"predict_sqrt", "sqrt_in_loss", "heron10", "plain"}, &s->wh));
  TF_RETURN_IF_ERROR(
      GetChoice(context, "confidence_target", {"iou", "one"}, &s->confidence_target));
  TF_RETURN_IF_ERROR(
      GetChoice(context, "no_object", {"non_responsible", "empty_cells"}, &s->no_object));
  TF_RETURN_IF_ERROR(GetChoice(context, "ties", {"first", "last", "all"}, &s->ties));
  TF_RETURN_IF_ERROR(
      GetChoice(context, "no_overlap_fallback", {"none", "rmse"}, &s->no_overlap_fallback));
  return GetChoice(context, "iou_overlap", {"clamped", "abs"}, &s->iou_overlap);
}

template <typename T>
class YoloLossOp : public OpKernel {
 public:
  explicit YoloLossOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("S", &args_.grid.S));
    OP_REQUIRES_OK(context, context->GetAttr("B", &args_.grid.B));
    OP_REQUIRES_OK(context, context->GetAttr("C", &args_.grid.C));
    OP_REQUIRES_OK(context, GetChoice(context, "layout", {"cells", "planes"}, &args_.layout));
    OP_REQUIRES_OK(context, GetChoice(context, "reduction", {"none", "mean"}, &mean_));
    OP_REQUIRES_OK(context, context->GetAttr("compute_gradient", &compute_gradient_));
    OP_REQUIRES_OK(context, ReadSemantics(context, &args_.semantics));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& predictions = context->input(0);
    const Tensor& targets = context->input(1);
    OP_REQUIRES_OK(context, CheckShapes(predictions.shape(), targets.shape()));
    const int64_t images = predictions.dim_size(0);

    Tensor *loss, *terms, *gradient;
    Tensor image_loss;  // [N]
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, mean_ ? TensorShape({}) : TensorShape({images}), &loss));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({images, kTerms}), &terms));
    OP_REQUIRES_OK(context,
                   context->allocate_output(
                       2, compute_gradient_ ? predictions.shape() : TensorShape({0}), &gradient));
    if (mean_) {
      OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DataTypeToEnum<T>::value,
                                                     TensorShape({images}), &image_loss));
    } else {
      image_loss = *loss;
    }

    YoloLossArgs<T> args = args_;
    args.upstream = mean_ && images > 0 ? 1.0 / static_cast<double>(images) : 1.0;
    args.predictions = predictions.flat<T>().data();
    args.targets = targets.flat<T>().data();
    args.loss = image_loss.flat<T>().data();
    args.terms = terms->flat<T>().data();
    args.gradient = compute_gradient_ ? gradient->flat<T>().data() : nullptr;
    // An empty batch has no memory: its null gradient pointer must not be taken for "no gradient",
    // and there is nothing to do.
    if (images > 0) {
      ParallelFor(context, images, YoloLossCpuCost(args.grid),
                  [&](int64_t begin, int64_t end) { YoloLossCpu(args, begin, end); });
    }
    if (mean_) {
      double sum = 0;  // one thread, in order: the same bits for any number of threads
      for (int64_t image = 0; image < images; ++image) sum += args.loss[image];
      loss->scalar<T>()() = static_cast<T>(sum * args.upstream);
    }
  }

 private:
  absl::Status CheckShapes(const TensorShape& predictions, const TensorShape& targets) const {
    const Grid& grid = args_.grid;
    std::ostringstream spec;
    spec << "GridSpec(S=" << grid.S << ", B=" << grid.B << ", C=" << grid.C << ")";
    const bool cells = args_.layout == Layout::kCells;
    const bool fits =
        cells ? predictions.dims() == 4 && predictions.dim_size(1) == grid.S &&
                    predictions.dim_size(2) == grid.S && predictions.dim_size(3) == grid.channels()
              : predictions.dims() == 2 && predictions.dim_size(1) == grid.flat_size();
    if (!fits) {
      std::ostringstream rest;
      if (cells) rest << grid.S << ", " << grid.S << ", ";
      rest << (cells ? grid.channels() : grid.flat_size());
      return InvalidArgument("yolo_loss: predictions must be [N, ", rest.str(), "] for ",
                             spec.str(),
                             cells ? " (D = C + 5B)" : " (S * S * (C + 5B), layout 'planes')",
                             ", got ", Text(predictions), ".");
    }
    if (targets.dims() != 4 || targets.dim_size(1) != grid.S || targets.dim_size(2) != grid.S ||
        targets.dim_size(3) != grid.target_channels()) {
      return InvalidArgument("yolo_loss: targets must be [N, ", grid.S, ", ", grid.S, ", ",
                             grid.target_channels(), "] for ", spec.str(), " (C + 5), got ",
                             Text(targets), ".");
    }
    if (predictions.dim_size(0) != targets.dim_size(0)) {
      return InvalidArgument("yolo_loss: predictions and targets must hold the same images, got ",
                             predictions.dim_size(0), " and ", targets.dim_size(0), ".");
    }
    return absl::OkStatus();
  }

  YoloLossArgs<T> args_ = {};
  bool mean_ = false;
  bool compute_gradient_ = false;
};

template <typename T>
class YoloLossGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& upstream = context->input(0);
    const Tensor& gradient = context->input(1);
    const bool scalar = upstream.dims() == 0;
    const int64_t images = gradient.dims() > 0 ? gradient.dim_size(0) : 0;
    OP_REQUIRES(context, scalar || (upstream.dims() == 1 && upstream.dim_size(0) == images),
                InvalidArgument("yolo_loss: the upstream gradient must be a scalar or [", images,
                                "], got ", Text(upstream.shape()), "."));
    const auto up = upstream.flat<T>();
    if (std::all_of(up.data(), up.data() + up.size(), [](T value) { return value == T(1); })) {
      context->set_output(0, gradient);
      return;
    }
    Tensor* product;
    OP_REQUIRES_OK(context, context->allocate_output(0, gradient.shape(), &product));
    const int64_t size = images == 0 ? 0 : gradient.NumElements() / images;
    const T* in = gradient.flat<T>().data();
    T* out = product->flat<T>().data();
    ParallelFor(context, images, size / 8 + 1, [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) {
        const T scale = up(scalar ? 0 : image);
        for (int64_t k = image * size; k < (image + 1) * size; ++k) out[k] = scale * in[k];
      }
    });
  }
};

#define REGISTER_FOR(T)                                       \
  REGISTER_KERNEL_BUILDER(Name("Yolov1>YoloLoss")             \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T")         \
                              .TypeConstraint<T>("Ttargets")  \
                              .TypeConstraint<T>("Tloss"),    \
                          YoloLossOp<T>);                     \
  REGISTER_KERNEL_BUILDER(Name("Yolov1>YoloLossGrad")         \
                              .Device(tensorflow::DEVICE_CPU) \
                              .TypeConstraint<T>("T")         \
                              .TypeConstraint<T>("Tloss"),    \
                          YoloLossGradOp<T>);
REGISTER_FOR(float)
REGISTER_FOR(double)
#undef REGISTER_FOR

}  // namespace
}  // namespace yolov1
