// Non-maximum suppression: its interface, the text that configures it, what its inputs must look
// like and its results do, and how it is run.
#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels/config.h"
#include "kernels/nms/kernel.h"
#include "kernels/ops.h"

namespace yolov1 {
namespace {

constexpr const char* kFace = "non_max_suppression";

constexpr const char* kDoc = R"doc(
Keeps, class by class, the boxes that no better box of the class overlaps.

A box and class whose score is not greater than score_threshold go at once. Of the others, by
falling score, then by box, then by class, each is kept unless its box overlaps one that was kept
for the class: unless I / U > iou_threshold, with I and U the areas of intersection and union. After
max_detections the image is done.

The soft rules take from the scores in the place of the boxes (Soft-NMS, arXiv 1704.04503): where a
box is kept, the scores of the others of its class are multiplied by 1 - I / U if I / U >
iou_threshold (linear), or by exp(-(I / U)^2 / sigma) (gaussian). The next one is that of the highest
score then, of equal ones the first box, then class; what no longer scores more than score_threshold,
which is at least 0, is gone.

A side of negative length counts as 0: its high end is moved to the low one. A box with a NaN
coordinate or an infinite area overlaps nothing, and a NaN score passes no threshold. There is no
gradient.

boxes_xyxy: [N, K, 4].
scores: [N, K, C].
found_boxes: [N, max_detections, 4], by falling score and padded with zeros, as all results.
found_scores: [N, max_detections]: what is left of them, under a soft rule.
labels: [N, max_detections]: the classes.
count: [N]: the detections of each image.
config: "score_threshold=0.001 iou_threshold=0.5 max_detections=300 clip=True"; clip: move the
  corners of what was found into [0, 1]. Behind it, for a soft rule, "suppression=linear sigma=0.5"
  (or gaussian); "suppression=hard" is the default.
)doc";

// All but the results.
NmsArgs ReadInputs(const Call& call) {
  NmsArgs args;
  args.config = call.As<NmsConfig>();
  const Shape& scores = call.in[1].shape;
  args.images = scores[0];
  args.boxes = scores[1];
  args.classes = scores[2];
  args.boxes_xyxy = static_cast<const float*>(call.in[0].data);
  args.scores = static_cast<const float*>(call.in[1].data);
  return args;
}

NmsArgs Read(const Call& call) {
  NmsArgs args = ReadInputs(call);
  args.found_boxes = static_cast<float*>(call.out[0].data);
  args.found_scores = static_cast<float*>(call.out[1].data);
  args.labels = static_cast<int32_t*>(call.out[2].data);
  args.count = static_cast<int32_t*>(call.out[3].data);
  return args;
}

std::string InferResults(Call* call) {
  const View &boxes = call->in[0], &scores = call->in[1];
  std::string error = CheckNmsShapes(boxes.shape, scores.shape);
  if (!error.empty()) return error;
  if (boxes.type != DType::kFloat || scores.type != DType::kFloat)
    return std::string(kFace) + ": boxes_xyxy and scores must be float32, got " +
           DTypeName(boxes.type) + " and " + DTypeName(scores.type) + "; convert them first.";
  const int64_t N = std::max(Dim(boxes.shape, 0), Dim(scores.shape, 0));
  const int64_t M = call->As<NmsConfig>().max_detections;
  call->Result(0, DType::kFloat, {N, M, 4});
  call->Result(1, DType::kFloat, {N, M});
  call->Result(2, DType::kInt32, {N, M});
  call->Result(3, DType::kInt32, {N});
  int64_t workspace = 0;
#ifdef YOLOV1_CUDA
  const bool known = Known(boxes.shape) && Known(scores.shape);
  if (call->on_gpu) workspace = known ? NmsWorkspace(ReadInputs(*call)) : kUnknown;
#endif
  call->Result(4, DType::kUint8, {workspace});
  return "";
}

std::string OnCpu(const Call& call, const ParallelFor& parallel) {
  const NmsArgs args = Read(call);
  if (args.images == 0) return "";
  std::atomic<bool> done{true};
  parallel(args.images, NmsCpuCost(args), [&](int64_t begin, int64_t end) {
    if (!NmsCpu(args, begin, end)) done = false;
  });
  return OutOfMemoryUnless(done);
}

#ifdef YOLOV1_CUDA
std::string OnCuda(const Call& call, void* stream) {
  return NmsCuda(Read(call), call.out[4].data, stream);
}
#endif

}  // namespace

const Op kNonMaxSuppression = [] {
  Op op;
  op.name = "Yolov1>NonMaxSuppression";
  op.face = kFace;
  op.inputs = {"boxes_xyxy: T", "scores: T"};
  op.outputs = {"found_boxes: T", "found_scores: T", "labels: int32", "count: int32"};
  op.attributes = {"T: {float}"};
  op.doc = kDoc;
  op.configure = ConfigureBy<NmsConfig, ParseNmsConfig>;
  op.infer = InferResults;
  op.scratch = {"workspace"};  // of NmsWorkspace() bytes on a GPU, [0] on the CPU
  op.cpu = OnCpu;
  op.cuda = YOLOV1_CUDA_OR_NULL(OnCuda);
  return op;
}();

std::string ParseNmsConfig(std::string_view text, NmsConfig* config) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ConfigReader reader = {kFace, text};
  double score = 0, iou = 0;  // decimals become floats as TensorFlow's do: through a double
  reader.Read("score_threshold", "a number", -kInfinity, kInfinity, &score);
  reader.Read("iou_threshold", "a number from 0 to 1", 0.0, 1.0, &iou);
  reader.Read("max_detections", "an integer from 1 to 2^31 - 1", int64_t{1},
              int64_t{std::numeric_limits<int32_t>::max()}, &config->max_detections);
  reader.Choose("clip", {"False", "True"}, &config->clip);
  reader.ChooseIfGiven("suppression", {"hard", "linear", "gaussian"}, &config->rule);
  double sigma = 0.5;
  if (!reader.Find("sigma").empty() || config->rule == NmsRule::kGaussian)
    reader.Read("sigma", "a number from 1e-30 to 1e30", 1e-30, 1e30, &sigma);
  if (config->rule != NmsRule::kHard && score < 0)
    reader.Complain("score_threshold", "a number of at least 0 for a soft rule",
                    reader.Find("score_threshold"));
  config->score_threshold = static_cast<float>(score);
  config->iou_threshold = static_cast<float>(iou);
  config->sigma = static_cast<float>(sigma);
  return reader.Finish();
}

// Every call comes through here: text is made only where there is something to say.
std::string CheckNmsShapes(const Shape& boxes_xyxy, const Shape& scores) {
  const bool fit = Fits(boxes_xyxy, {kUnknown, kUnknown, 4}) &&
                   Fits(scores, {Dim(boxes_xyxy, 0), Dim(boxes_xyxy, 1), kUnknown});
  const std::string start = std::string(kFace) + ": ";
  if (!fit)
    return start + "boxes_xyxy must be [N, K, 4] and scores [N, K, C], got " +
           ShapeText(boxes_xyxy) + " and " + ShapeText(scores) + ".";
  // The kernel numbers the scores of an image with 32 bits.
  int64_t candidates;
  if (Known(scores) &&
      (__builtin_mul_overflow(scores[1], scores[2], &candidates) || candidates > int64_t{1} << 32))
    return start + "an image must have at most 2^32 scores (K * C), got " + ShapeText(scores) +
           "; keep the best boxes beforehand.";
  return "";
}

}  // namespace yolov1
