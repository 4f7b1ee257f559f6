// Non-maximum suppression as a function that XLA calls:
//   operands   boxes_xyxy, scores (float32)
//   attribute  config (kernel.h)
//   results    found_boxes [N, M, 4], found_scores [N, M], labels [N, M], count [N] (int32); on a
//              GPU also workspace (uint8 [NmsWorkspace()])
#include "kernels/ffi.h"

#include <atomic>

#include "kernels/nms/kernel.h"

namespace yolov1 {
namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Integers = ffi::Buffer<ffi::S32>;

// Checks everything that the caller chose, and points `args` at the buffers.
std::string ReadCall(std::string_view config, Floats boxes_xyxy, Floats scores,
                     ffi::Result<Floats> found_boxes, ffi::Result<Floats> found_scores,
                     ffi::Result<Integers> labels, ffi::Result<Integers> count, NmsArgs* args) {
  std::string error = ReadConfig<ParseNmsConfig>(config, &args->config);
  if (error.empty()) error = CheckNmsShapes(Sizes(boxes_xyxy), Sizes(scores));
  if (!error.empty()) return error;
  args->images = scores.dimensions()[0];
  args->boxes = scores.dimensions()[1];
  args->classes = scores.dimensions()[2];
  const std::vector<int64_t> found = {args->images, args->config.max_detections};
  if (Sizes(*found_boxes) != std::vector<int64_t>{found[0], found[1], 4} ||
      Sizes(*found_scores) != found || Sizes(*labels) != found ||
      Sizes(*count) != std::vector<int64_t>{args->images})
    return "non_max_suppression: results must be boxes [N, max_detections, 4], scores and labels "
           "[N, max_detections] and count [N].";

  args->boxes_xyxy = boxes_xyxy.typed_data();
  args->scores = scores.typed_data();
  args->found_boxes = found_boxes->typed_data();
  args->found_scores = found_scores->typed_data();
  args->labels = labels->typed_data();
  args->count = count->typed_data();
  return "";
}

template <typename Context>
auto Binding() {
  return ffi::Ffi::Bind()
      .Ctx<Context>()
      .template Attr<std::string_view>("config")
      .template Arg<Floats>()
      .template Arg<Floats>()
      .template Ret<Floats>()
      .template Ret<Floats>()
      .template Ret<Integers>()
      .template Ret<Integers>();
}

ffi::Error OnHost(ffi::ThreadPool pool, std::string_view config, Floats boxes_xyxy, Floats scores,
                  ffi::Result<Floats> found_boxes, ffi::Result<Floats> found_scores,
                  ffi::Result<Integers> labels, ffi::Result<Integers> count) {
  NmsArgs args;
  const std::string error =
      ReadCall(config, boxes_xyxy, scores, found_boxes, found_scores, labels, count, &args);
  if (!error.empty()) return ffi::Error::InvalidArgument(error);
  std::atomic<bool> done{true};
  ShareOut(pool, args.images, NmsCpuCost(args), [&](int64_t begin, int64_t end) {
    if (!NmsCpu(args, begin, end)) done = false;
  });
  if (done) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "non_max_suppression: out of memory.");
}

XLA_FFI_DEFINE_HANDLER(kHost, OnHost, Binding<ffi::ThreadPool>());
const FfiRegistration host("Yolov1>NonMaxSuppression", "Host", kHost);

#ifdef YOLOV1_CUDA

ffi::Error OnCuda(void* stream, std::string_view config, Floats boxes_xyxy, Floats scores,
                  ffi::Result<Floats> found_boxes, ffi::Result<Floats> found_scores,
                  ffi::Result<Integers> labels, ffi::Result<Integers> count,
                  ffi::Result<ffi::Buffer<ffi::U8>> workspace) {
  NmsArgs args;
  std::string error =
      ReadCall(config, boxes_xyxy, scores, found_boxes, found_scores, labels, count, &args);
  if (error.empty() && static_cast<int64_t>(workspace->element_count()) != NmsWorkspace(args))
    error = "non_max_suppression: the workspace must be uint8 [" +
            std::to_string(NmsWorkspace(args)) + "], got " +
            std::to_string(workspace->element_count()) + " elements.";
  if (!error.empty()) return ffi::Error::InvalidArgument(error);
  return Launched(NmsCuda(args, workspace->typed_data(), stream));
}

// It only queues kernels on the stream, so XLA may record it into a CUDA graph.
XLA_FFI_DEFINE_HANDLER(kCuda, OnCuda,
                       Binding<ffi::PlatformStream<void*>>().Ret<ffi::Buffer<ffi::U8>>(),
                       {ffi::Traits::kCmdBufferCompatible});
const FfiRegistration cuda("Yolov1>NonMaxSuppression", "CUDA", kCuda);

#endif

}  // namespace
}  // namespace yolov1
