// Batched IoU as functions that XLA calls:
//   operands   boxes_a, boxes_b, valid_a, valid_b (bool; [0] for none), for the gradient upstream
//   attribute  config (kernel.h)
//   results    iou; or gradient_a, gradient_b
#include "kernels/ffi.h"

#include <functional>

#include "kernels/box_iou/kernel.h"

namespace yolov1 {
namespace {

using ffi::AnyBuffer;
using Output = ffi::Result<AnyBuffer>;

template <IouShape shape>
std::string ParseConfig(std::string_view text, BoxIouConfig* config) {
  config->shape = shape;
  return ParseBoxIouConfig(text, config);
}

// Checks everything that the caller chose, and points `args` at the boxes and masks.
template <IouShape shape>
ffi::Error ReadCall(std::string_view config, AnyBuffer boxes_a, AnyBuffer boxes_b,
                    AnyBuffer valid_a, AnyBuffer valid_b, BoxIouArgs* args,
                    std::vector<int64_t>* result) {
  std::string error = ReadConfig<ParseConfig<shape>>(config, &args->config);
  if (error.empty())
    error = ReadBoxIouShapes(args->config, Sizes(boxes_a), Sizes(boxes_b), Sizes(valid_a),
                             Sizes(valid_b), &args->sizes, result);
  if (!error.empty()) return ffi::Error::InvalidArgument(error);
  const auto type = ToDType(boxes_a.element_type());
  if (!type || boxes_b.element_type() != boxes_a.element_type() ||
      valid_a.element_type() != ffi::PRED || valid_b.element_type() != ffi::PRED)
    return ffi::Error::InvalidArgument(
        std::string(args->config.name()) +
        ": boxes must be float32, float64, float16 or bfloat16, all of one dtype, and masks bool.");

  const auto mask = [](const AnyBuffer& valid) {
    return valid.element_count() == 0 ? nullptr : static_cast<const bool*>(valid.untyped_data());
  };
  args->type = *type;
  args->boxes_a = boxes_a.untyped_data();
  args->boxes_b = boxes_b.untyped_data();
  args->valid_a = mask(valid_a);
  args->valid_b = mask(valid_b);
  return ffi::Error::Success();
}

template <typename Kernel>  // BoxIouCpu or BoxIouGradientCpu
ffi::Error Run(Kernel kernel, ffi::ThreadPool& pool, const BoxIouArgs& args) {
  const ParallelFor parallel = [&pool](int64_t count, int64_t cost, const auto& work) {
    ShareOut(pool, count, cost, std::ref(work));
  };
  if (kernel(args, parallel, /*version=*/0)) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                    std::string(args.config.name()) + ": out of memory.");
}

template <IouShape shape>
ffi::Error Forward(ffi::ThreadPool pool, std::string_view config, AnyBuffer boxes_a,
                   AnyBuffer boxes_b, AnyBuffer valid_a, AnyBuffer valid_b, Output iou) {
  BoxIouArgs args;
  std::vector<int64_t> result;
  ffi::Error error = ReadCall<shape>(config, boxes_a, boxes_b, valid_a, valid_b, &args, &result);
  if (error.failure()) return error;
  if (iou->element_type() != boxes_a.element_type() || Sizes(*iou) != result)
    return ffi::Error::InvalidArgument(
        std::string(args.config.name()) +
        ": the result must be [..., M, K] for pairs or [...] for aligned boxes, of their dtype.");
  args.iou = iou->untyped_data();
  return Run(BoxIouCpu, pool, args);
}

template <IouShape shape>
ffi::Error Gradient(ffi::ThreadPool pool, std::string_view config, AnyBuffer boxes_a,
                    AnyBuffer boxes_b, AnyBuffer valid_a, AnyBuffer valid_b, AnyBuffer upstream,
                    Output gradient_a, Output gradient_b) {
  BoxIouArgs args;
  std::vector<int64_t> result;
  ffi::Error error = ReadCall<shape>(config, boxes_a, boxes_b, valid_a, valid_b, &args, &result);
  if (error.failure()) return error;
  const std::string wrong = CheckBoxIouUpstream(args.config, result, Sizes(upstream));
  if (!wrong.empty()) return ffi::Error::InvalidArgument(wrong);
  const ffi::DataType type = boxes_a.element_type();
  if (upstream.element_type() != type || gradient_a->element_type() != type ||
      gradient_b->element_type() != type || Sizes(*gradient_a) != Sizes(boxes_a) ||
      Sizes(*gradient_b) != Sizes(boxes_b))
    return ffi::Error::InvalidArgument(
        std::string(args.config.name()) +
        ": the upstream gradient must be of the boxes' dtype, and the results like the boxes.");
  args.upstream = upstream.untyped_data();
  args.gradient_a = gradient_a->untyped_data();
  args.gradient_b = gradient_b->untyped_data();
  return Run(BoxIouGradientCpu, pool, args);
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<std::string_view>("config")
      .Arg<AnyBuffer>()
      .Arg<AnyBuffer>()
      .Arg<AnyBuffer>()
      .Arg<AnyBuffer>();
}
auto ForwardBinding() { return Binding().Ret<AnyBuffer>(); }
auto GradientBinding() { return Binding().Arg<AnyBuffer>().Ret<AnyBuffer>().Ret<AnyBuffer>(); }

XLA_FFI_DEFINE_HANDLER(kPairwise, Forward<IouShape::kPairwise>, ForwardBinding());
XLA_FFI_DEFINE_HANDLER(kPairwiseGrad, Gradient<IouShape::kPairwise>, GradientBinding());
XLA_FFI_DEFINE_HANDLER(kAligned, Forward<IouShape::kAligned>, ForwardBinding());
XLA_FFI_DEFINE_HANDLER(kAlignedGrad, Gradient<IouShape::kAligned>, GradientBinding());
const FfiRegistration registrations[] = {
    {"Yolov1>PairwiseIou", "Host", kPairwise},
    {"Yolov1>PairwiseIouGrad", "Host", kPairwiseGrad},
    {"Yolov1>AlignedIou", "Host", kAligned},
    {"Yolov1>AlignedIouGrad", "Host", kAlignedGrad},
};

}  // namespace
}  // namespace yolov1
