// The fused YOLO loss as a function that XLA calls:
//   operands   predictions, targets
//   attribute  config (kernel.h)
//   results    loss ([N], or a scalar with reduction=mean), terms [N, 5], gradient (like the
//              predictions, or [0]: then none is computed), image_loss ([N] with reduction=mean,
//              else [0])
#include "kernels/ffi.h"

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

using ffi::AnyBuffer;
using Output = ffi::Result<AnyBuffer>;

struct Results {
  AnyBuffer loss, terms, gradient, image_loss;
};

bool Holds(const AnyBuffer& result, ffi::DataType type, int64_t count) {
  return result.element_type() == type && static_cast<int64_t>(result.element_count()) == count;
}

// Checks everything that the caller chose, and points `args` at the buffers.
ffi::Error ReadCall(std::string_view config, AnyBuffer predictions, AnyBuffer targets,
                    Results results, YoloLossArgs* args) {
  std::string error = ReadConfig<ParseYoloLossConfig>(config, &args->config);
  if (error.empty()) error = CheckYoloLossShapes(args->config, Sizes(predictions), Sizes(targets));
  if (!error.empty()) return ffi::Error::InvalidArgument(error);

  const auto type = ToDType(predictions.element_type()),
             target_type = ToDType(targets.element_type());
  if (!type || !target_type || !YoloLossSupports(*type, *target_type))
    return ffi::Error::InvalidArgument(
        "yolo_loss: predictions must be float32, float64, float16 or bfloat16, and targets of the "
        "same dtype, or float32 beside 16-bit predictions.");
  args->type = *type;
  args->target_type = *target_type;
  args->images = predictions.dimensions()[0];

  const ffi::DataType sum_type = *type == DType::kDouble ? ffi::F64 : ffi::F32;
  const bool mean = args->config.mean(), no_gradient = results.gradient.element_count() == 0;
  const int64_t count = no_gradient ? 0 : predictions.element_count();
  if (!Holds(results.loss, sum_type, mean ? 1 : args->images) ||
      !Holds(results.terms, sum_type, args->images * kTerms) ||
      !Holds(results.gradient, predictions.element_type(), count) ||
      !Holds(results.image_loss, sum_type, mean ? args->images : 0))
    return ffi::Error::InvalidArgument(
        "yolo_loss: results must be loss ([N], or a scalar with reduction=mean), terms [N, 5], "
        "gradient (like the predictions, or [0]) and image_loss ([N] with reduction=mean, else "
        "[0]); the gradient of the dtype of the predictions, the others float32 (float64 for "
        "float64 predictions).");

  args->predictions = predictions.untyped_data();
  args->targets = targets.untyped_data();
  args->loss = (mean ? results.image_loss : results.loss).untyped_data();
  args->terms = results.terms.untyped_data();
  args->gradient = no_gradient ? nullptr : results.gradient.untyped_data();
  return ffi::Error::Success();
}

template <typename Context>
auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<Context>()
      .template Attr<std::string_view>("config")
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>();
}

// --------------------------------------------------------------------------------------- the CPU

ffi::Error OnHost(ffi::ThreadPool pool, std::string_view config, AnyBuffer predictions,
                  AnyBuffer targets, Output loss, Output terms, Output gradient,
                  Output image_loss) {
  YoloLossArgs args;
  ffi::Error error =
      ReadCall(config, predictions, targets, {*loss, *terms, *gradient, *image_loss}, &args);
  if (error.failure()) return error;
  if (args.images > 0) {
    ShareOut(pool, args.images, YoloLossCpuCost(args),
             [&](int64_t begin, int64_t end) { YoloLossCpu(args, begin, end); });
  }
  if (args.config.mean()) YoloLossMean(args, loss->untyped_data());
  return error;
}

XLA_FFI_DEFINE_HANDLER(kHost, OnHost, Binding<ffi::ThreadPool>());
const FfiRegistration host("Yolov1>YoloLoss", "Host", kHost);

// ------------------------------------------------------------------------------------------ CUDA

#ifdef YOLOV1_CUDA

ffi::Error OnCuda(void* stream, std::string_view config, AnyBuffer predictions, AnyBuffer targets,
                  Output loss, Output terms, Output gradient, Output image_loss) {
  YoloLossArgs args;
  ffi::Error error =
      ReadCall(config, predictions, targets, {*loss, *terms, *gradient, *image_loss}, &args);
  if (error.failure()) return error;
  return Launched(YoloLossCuda(args, loss->untyped_data(), stream));
}

// It only queues kernels on the stream, so XLA may record it into a CUDA graph.
XLA_FFI_DEFINE_HANDLER(kCuda, OnCuda, Binding<ffi::PlatformStream<void*>>(),
                       {ffi::Traits::kCmdBufferCompatible});
const FfiRegistration cuda("Yolov1>YoloLoss", "CUDA", kCuda);

#endif

}  // namespace
}  // namespace yolov1
