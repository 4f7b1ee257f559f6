// Batched IoU as functions that XLA calls:
//   operands   boxes_a, boxes_b, valid_a, valid_b (bool; [0] for none), for the gradient upstream
//   attribute  config (kernel.h)
//   results    iou; or gradient_a, gradient_b and workspace (uint8; [0] on the CPU, on a GPU
//              BoxIouWorkspace() bytes: a result and not scratch memory of the call, since what is
//              recorded into a CUDA graph needs it each time the graph runs)
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

template <IouShape shape>
ffi::Error ReadForward(std::string_view config, AnyBuffer boxes_a, AnyBuffer boxes_b,
                       AnyBuffer valid_a, AnyBuffer valid_b, Output iou, BoxIouArgs* args) {
  std::vector<int64_t> result;
  ffi::Error error = ReadCall<shape>(config, boxes_a, boxes_b, valid_a, valid_b, args, &result);
  if (error.failure()) return error;
  if (iou->element_type() != boxes_a.element_type() || Sizes(*iou) != result)
    return ffi::Error::InvalidArgument(
        std::string(args->config.name()) +
        ": the result must be [..., M, K] for pairs or [...] for aligned boxes, of their dtype.");
  args->iou = iou->untyped_data();
  return error;
}

template <IouShape shape>
ffi::Error ReadGradient(std::string_view config, AnyBuffer boxes_a, AnyBuffer boxes_b,
                        AnyBuffer valid_a, AnyBuffer valid_b, AnyBuffer upstream, Output gradient_a,
                        Output gradient_b, BoxIouArgs* args) {
  std::vector<int64_t> result;
  ffi::Error error = ReadCall<shape>(config, boxes_a, boxes_b, valid_a, valid_b, args, &result);
  if (error.failure()) return error;
  const std::string wrong = CheckBoxIouUpstream(args->config, result, Sizes(upstream));
  if (!wrong.empty()) return ffi::Error::InvalidArgument(wrong);
  const ffi::DataType type = boxes_a.element_type();
  if (upstream.element_type() != type || gradient_a->element_type() != type ||
      gradient_b->element_type() != type || Sizes(*gradient_a) != Sizes(boxes_a) ||
      Sizes(*gradient_b) != Sizes(boxes_b))
    return ffi::Error::InvalidArgument(
        std::string(args->config.name()) +
        ": the upstream gradient must be of the boxes' dtype, and the results like the boxes.");
  args->upstream = upstream.untyped_data();
  args->gradient_a = gradient_a->untyped_data();
  args->gradient_b = gradient_b->untyped_data();
  return error;
}

ffi::Error CheckWorkspace(const BoxIouArgs& args, Output workspace, int64_t bytes) {
  if (workspace->element_type() == ffi::U8 &&
      static_cast<int64_t>(workspace->element_count()) == bytes)
    return ffi::Error::Success();
  return ffi::Error::InvalidArgument(
      std::string(args.config.name()) + ": the workspace must be uint8 [" + std::to_string(bytes) +
      "], got " + std::to_string(workspace->element_count()) + " elements.");
}

template <typename Context>
auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<Context>()
      .template Attr<std::string_view>("config")
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>()
      .template Arg<AnyBuffer>();
}
template <typename Context>
auto ForwardBinding() {
  return Binding<Context>().template Ret<AnyBuffer>();
}
template <typename Context>
auto GradientBinding() {
  return Binding<Context>()
      .template Arg<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>()
      .template Ret<AnyBuffer>();
}

// --------------------------------------------------------------------------------------- the CPU

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
ffi::Error OnHost(ffi::ThreadPool pool, std::string_view config, AnyBuffer boxes_a,
                  AnyBuffer boxes_b, AnyBuffer valid_a, AnyBuffer valid_b, Output iou) {
  BoxIouArgs args;
  ffi::Error error = ReadForward<shape>(config, boxes_a, boxes_b, valid_a, valid_b, iou, &args);
  return error.failure() ? error : Run(BoxIouCpu, pool, args);
}

template <IouShape shape>
ffi::Error GradientOnHost(ffi::ThreadPool pool, std::string_view config, AnyBuffer boxes_a,
                          AnyBuffer boxes_b, AnyBuffer valid_a, AnyBuffer valid_b,
                          AnyBuffer upstream, Output gradient_a, Output gradient_b,
                          Output workspace) {
  BoxIouArgs args;
  ffi::Error error = ReadGradient<shape>(config, boxes_a, boxes_b, valid_a, valid_b, upstream,
                                         gradient_a, gradient_b, &args);
  if (error.success()) error = CheckWorkspace(args, workspace, 0);
  return error.failure() ? error : Run(BoxIouGradientCpu, pool, args);
}

constexpr IouShape kPairs = IouShape::kPairwise, kOnes = IouShape::kAligned;
using Pool = ffi::ThreadPool;
XLA_FFI_DEFINE_HANDLER(kHostPairwise, OnHost<kPairs>, ForwardBinding<Pool>());
XLA_FFI_DEFINE_HANDLER(kHostPairwiseGrad, GradientOnHost<kPairs>, GradientBinding<Pool>());
XLA_FFI_DEFINE_HANDLER(kHostAligned, OnHost<kOnes>, ForwardBinding<Pool>());
XLA_FFI_DEFINE_HANDLER(kHostAlignedGrad, GradientOnHost<kOnes>, GradientBinding<Pool>());
const FfiRegistration host[] = {
    {"Yolov1>PairwiseIou", "Host", kHostPairwise},
    {"Yolov1>PairwiseIouGrad", "Host", kHostPairwiseGrad},
    {"Yolov1>AlignedIou", "Host", kHostAligned},
    {"Yolov1>AlignedIouGrad", "Host", kHostAlignedGrad},
};

// ------------------------------------------------------------------------------------------ CUDA

#ifdef YOLOV1_CUDA

template <IouShape shape>
ffi::Error OnCuda(void* stream, std::string_view config, AnyBuffer boxes_a, AnyBuffer boxes_b,
                  AnyBuffer valid_a, AnyBuffer valid_b, Output iou) {
  BoxIouArgs args;
  ffi::Error error = ReadForward<shape>(config, boxes_a, boxes_b, valid_a, valid_b, iou, &args);
  return error.failure() ? error : Launched(BoxIouCuda(args, stream));
}

template <IouShape shape>
ffi::Error GradientOnCuda(void* stream, std::string_view config, AnyBuffer boxes_a,
                          AnyBuffer boxes_b, AnyBuffer valid_a, AnyBuffer valid_b,
                          AnyBuffer upstream, Output gradient_a, Output gradient_b,
                          Output workspace) {
  BoxIouArgs args;
  ffi::Error error = ReadGradient<shape>(config, boxes_a, boxes_b, valid_a, valid_b, upstream,
                                         gradient_a, gradient_b, &args);
  if (error.success()) error = CheckWorkspace(args, workspace, BoxIouWorkspace(args));
  if (error.failure()) return error;
  return Launched(BoxIouGradientCuda(args, workspace->untyped_data(), stream));
}

// They only queue kernels on the stream, so XLA may record them into a CUDA graph.
using PlatformStream = ffi::PlatformStream<void*>;
#define DEFINE_HANDLER(NAME, FUNCTION, BINDING) \
  XLA_FFI_DEFINE_HANDLER(NAME, FUNCTION, BINDING, {ffi::Traits::kCmdBufferCompatible})
DEFINE_HANDLER(kCudaPairwise, OnCuda<kPairs>, ForwardBinding<PlatformStream>());
DEFINE_HANDLER(kCudaPairwiseGrad, GradientOnCuda<kPairs>, GradientBinding<PlatformStream>());
DEFINE_HANDLER(kCudaAligned, OnCuda<kOnes>, ForwardBinding<PlatformStream>());
DEFINE_HANDLER(kCudaAlignedGrad, GradientOnCuda<kOnes>, GradientBinding<PlatformStream>());
#undef DEFINE_HANDLER
const FfiRegistration cuda[] = {
    {"Yolov1>PairwiseIou", "CUDA", kCudaPairwise},
    {"Yolov1>PairwiseIouGrad", "CUDA", kCudaPairwiseGrad},
    {"Yolov1>AlignedIou", "CUDA", kCudaAligned},
    {"Yolov1>AlignedIouGrad", "CUDA", kCudaAlignedGrad},
};

#endif

}  // namespace
}  // namespace yolov1
