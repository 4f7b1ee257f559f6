// The YOLO loss: the ops' interfaces, the text that configures them, what their inputs must look
// like and their results do, and how they are run.
#include <algorithm>
#include <limits>
#include <sstream>
#include <utility>

#include "kernels/config.h"
#include "kernels/ops.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------------ interfaces

constexpr const char* kLossDoc = R"doc(
The YOLOv1 loss of a batch, its terms and, on request, its gradient in the same pass.

loss = factor * (weight_xy * sum r_j [(x_j - x)^2 + (y_j - y)^2]
               + weight_wh * sum r_j [(q(w_j) - q(w))^2 + (q(h_j) - q(h))^2]
               + weight_object * sum r_j (c_j - target)^2
               + weight_no_object * sum over the no_object set of c_j^2
               + weight_class * sum over object cells of (p_k - t_k)^2)

with r_j = 1 for the responsible box(es) j of an object cell, and 1 - IoU or its kin in place of the
first two sums where box is not "squared", and cross-entropies in place of the others where
confidence_loss and class_loss say so. yolov1/semantics.py says what each choice means. Sums are
taken in Tloss: double for double predictions, else float. Targets are of the dtype of the
predictions, or float beside predictions of 16 bits.

predictions: [N, S, S, C + 5 B] (layout "cells") or [N, S S (C + 5 B)] (layout "planes").
targets: [N, S, S, C + 5]: classes, object flag, x, y in the cell, w, h of the image.
loss: [N], or a scalar with reduction "mean" (0 for an empty batch).
terms: [N, 5]: xy, wh, object, no_object, class, weighted; they sum to the image's loss.
gradient: of the sum of `loss` by the predictions, in their shape; [0] without compute_gradient.
config: grid, layout, reduction, semantics and activations as yolov1/kernels/ writes them,
  "key=value" words: S, B, C, layout, reduction, the weights, factor and the choices. One text and
  not sixteen attributes, because eagerly each attribute costs 0.3 microseconds; and weights as
  decimals, because a float attribute would round 5 / 49 to float32 in a float64 op.
)doc";

constexpr const char* kOfBoxesDoc = R"doc(
Yolov1>YoloLoss of objects as boxes: the cells that hold them are found here.

All but the targets is as there. config: also on_collision, which of several objects a cell keeps.
boxes_cxcywh: [N, M, 4], fractions of the image. A centre at 1 belongs to the last cell.
labels: [N, M] in [0, C); another one is that of an object of no class.
valid: int32 [N], so many boxes of each image, from the first on, are objects; or bool [N, M].
)doc";

constexpr const char* kGradDoc = R"doc(
The gradient that Yolov1>YoloLoss computed, times the gradient that comes from above.

upstream: [N], one value for each image; or a scalar.
gradient: [N, ...]. Handed through without a copy where every upstream value is 1.
loss: what the gradient is of. Not read: it ties the product to the predictions, so that a second
  derivative is refused instead of being taken for zero. (Not they themselves: their memory may then
  be the gradient's.)
product: [N, ...] upstream[n] * gradient[n].
)doc";

// -------------------------------------------------------------------------------------- the loss

// What is wrong with `name`, whose images should have the sizes that `formula` explains.
std::string Complaint(const char* name, const Grid& grid, const Shape& image, const char* formula,
                      const Shape& got) {
  std::ostringstream out;
  out << "yolo_loss: " << name << " must be [N, " << ShapeText(image).substr(1)
      << " for GridSpec(S=" << grid.S << ", B=" << grid.B << ", C=" << grid.C << ") (" << formula
      << "), got " << ShapeText(got) << ".";
  return out.str();
}

// The results for predictions that fit.
void LossResults(int64_t images, Call* call) {
  const YoloLossConfig& config = call->As<YoloLossConfig>();
  const Grid& grid = config.grid;
  const DType type = call->in[0].type;
  const DType sums = type == DType::kDouble ? DType::kDouble : DType::kFloat;
  if (config.mean())
    call->Result(0, sums, {});
  else
    call->Result(0, sums, {images});
  call->Result(1, sums, {images, kTerms});
  if (config.layout == Layout::kCells)
    call->Result(2, type, {images, grid.S, grid.S, grid.channels()});
  else
    call->Result(2, type, {images, grid.flat_size()});
  call->Result(3, sums, {config.mean() ? images : 0});
}

std::string InferLossOfBoxes(Call* call) {
  const View &predictions = call->in[0], &boxes = call->in[1], &labels = call->in[2],
             &valid = call->in[3];
  const std::string error = CheckYoloLossBoxes(call->As<YoloLossConfig>(), predictions.shape,
                                               boxes.shape, labels.shape, valid.shape);
  if (!error.empty()) return error;
  const bool known = Ranked(valid.shape);
  const bool is_mask = known ? valid.shape.size() == 2 : valid.type == DType::kBool;
  if (!IsFloating(predictions.type) || boxes.type != DType::kFloat ||
      labels.type != DType::kInt32 || valid.type != (is_mask ? DType::kBool : DType::kInt32))
    return std::string(
               "yolo_loss: predictions must be floating, boxes float32, labels int32, a count "
               "int32 and a mask bool, got ") +
           DTypeName(predictions.type) + ", " + DTypeName(boxes.type) + ", " +
           DTypeName(labels.type) + " and " + DTypeName(valid.type) + "; convert them first.";
  LossResults(std::max({Dim(predictions.shape, 0), Dim(labels.shape, 0), Dim(valid.shape, 0)}),
              call);
  return "";
}

std::string InferLoss(Call* call) {
  const YoloLossConfig& config = call->As<YoloLossConfig>();
  const View &predictions = call->in[0], &targets = call->in[1];
  std::string error = CheckYoloLossShapes(config, predictions.shape, targets.shape);
  if (!error.empty()) return error;
  if (!YoloLossSupports(predictions.type, targets.type))
    return std::string(
               "yolo_loss: predictions must be one of float32, float64, float16, bfloat16, ") +
           "and targets of the same dtype, or float32 beside a 16-bit one, got " +
           DTypeName(predictions.type) + " and " + DTypeName(targets.type) +
           "; convert them first.";
  LossResults(std::max(Dim(predictions.shape, 0), Dim(targets.shape, 0)), call);
  return "";
}

YoloLossArgs LossArgs(const Call& call) {
  YoloLossArgs args;
  args.config = call.As<YoloLossConfig>();
  args.images = call.in[0].shape[0];
  args.type = call.in[0].type;
  args.predictions = call.in[0].data;
  if (call.in.size() == 2) {
    args.target_type = call.in[1].type;
    args.targets = call.in[1].data;
  } else {
    const View &labels = call.in[2], &valid = call.in[3];
    SetBoxes(labels.shape[1], call.in[1].data, labels.data, valid.data, valid.type == DType::kBool,
             &args);
  }
  args.loss = call.out[args.config.mean() ? 3 : 0].data;
  args.terms = call.out[1].data;
  args.gradient = call.out[2].data;
  return args;
}

std::string LossOnCpu(const Call& call, const ParallelFor& parallel) {
  const YoloLossArgs args = LossArgs(call);
  // An empty batch has no memory: its null gradient pointer must not be taken for "no gradient",
  // and there is nothing to do.
  if (args.images > 0)
    parallel(args.images, YoloLossCpuCost(args),
             [&](int64_t begin, int64_t end) { YoloLossCpu(args, begin, end, call.version); });
  if (args.config.mean()) YoloLossMean(args, call.out[0].data);
  return "";
}

std::vector<std::string> Versions(bool on_gpu) {
#ifdef YOLOV1_CUDA
  if (on_gpu) return YoloLossCudaVersions();
#endif
  return on_gpu ? std::vector<std::string>() : YoloLossVersions();
}

// ---------------------------------------------------------------------------------- its gradient

std::string InferGrad(Call* call) {
  const View &upstream = call->in[0], &gradient = call->in[1];
  if (gradient.shape.empty()) return "yolo_loss: the gradient must be [N, ...], got a scalar.";
  const int64_t images = Dim(gradient.shape, 0);
  if (!upstream.shape.empty() && !Fits(upstream.shape, {images}))
    return "yolo_loss: the upstream gradient must be a scalar or " + ShapeText({images}) +
           ", got " + ShapeText(upstream.shape) + ".";
  const bool wide = gradient.type == DType::kDouble;
  if (!IsFloating(gradient.type) || upstream.type != (wide ? DType::kDouble : DType::kFloat))
    return std::string(
               "yolo_loss: the gradient must be floating and the upstream gradient float32 "
               "(float64 for a float64 gradient), got ") +
           DTypeName(gradient.type) + " and " + DTypeName(upstream.type) + ".";
  call->Result(0, gradient.type, gradient.shape);
  return "";
}

YoloLossScaleArgs ScaleArgs(const Call& call) {
  YoloLossScaleArgs args;
  const View& gradient = call.in[1];
  args.type = gradient.type;
  args.images = gradient.shape[0];
  args.size = args.images == 0 ? 0 : gradient.size() / args.images;
  args.scalar = call.in[0].shape.empty();
  args.upstream = call.in[0].data;
  args.gradient = gradient.data;
  args.product = call.out[0].data;
  return args;
}

std::string GradOnCpu(const Call& call, const ParallelFor& parallel) {
  const YoloLossScaleArgs args = ScaleArgs(call);
  if (args.images == 0) return "";
  parallel(args.images, args.size / 8 + 1,
           [&](int64_t begin, int64_t end) { YoloLossScaleCpu(args, begin, end, call.version); });
  return "";
}

template <typename A>
bool AllOnes(const View& view) {
  const A* values = static_cast<const A*>(view.data);
  return std::all_of(values, values + view.size(), [](A value) { return value == A(1); });
}

bool Unscaled(const Call& call) {
  const View& upstream = call.in[0];
  return upstream.type == DType::kDouble ? AllOnes<double>(upstream) : AllOnes<float>(upstream);
}

// ------------------------------------------------------------------------------------------ CUDA

#ifdef YOLOV1_CUDA
std::string LossOnCuda(const Call& call, void* stream) {
  return YoloLossCuda(LossArgs(call), call.out[0].data, stream, call.version);
}

// The upstream gradient is not read here: the launch finds out whether it is 1, and has nothing to
// do then if the product could take the gradient's place.
std::string GradOnCuda(const Call& call, void* stream) {
  return YoloLossScaleCuda(ScaleArgs(call), stream);
}
#endif

}  // namespace

const Op kYoloLoss = [] {
  Op op;
  op.name = "Yolov1>YoloLoss";
  op.face = "yolo_loss";
  op.inputs = {"predictions: T", "targets: Ttargets"};
  op.outputs = {"loss: Tloss", "terms: Tloss", "gradient: T"};
  op.scratch = {"image_loss"};  // [N] where `loss` is a mean, else [0]
  op.attributes = {"compute_gradient: bool", "T: {float, double, half, bfloat16}",
                   "Ttargets: {float, double, half, bfloat16}", "Tloss: {float, double}"};
  op.requests = {{"compute_gradient", 2}};
  op.in_place = {0, 2, /*on_gpu=*/false};
  op.doc = kLossDoc;
  op.configure = ConfigureBy<YoloLossConfig, ParseYoloLossConfig>;
  op.infer = InferLoss;
  op.cpu = LossOnCpu;
  op.cuda = YOLOV1_CUDA_OR_NULL(LossOnCuda);
  op.versions = Versions;
  return op;
}();

const Op kYoloLossOfBoxes = [] {
  Op op = kYoloLoss;
  op.name = "Yolov1>YoloLossOfBoxes";
  op.inputs = {"predictions: T", "boxes_cxcywh: float", "labels: int32", "valid: Tvalid"};
  op.attributes[2] = "Tvalid: {int32, bool}";
  op.doc = kOfBoxesDoc;
  op.infer = InferLossOfBoxes;
  op.cuda = nullptr;
  return op;
}();

const Op kYoloLossGrad = [] {
  Op op;
  op.name = "Yolov1>YoloLossGrad";
  op.face = "yolo_loss";
  op.inputs = {"upstream: Tloss", "gradient: T", "loss: Tloss"};
  op.outputs = {"product: T"};
  op.attributes = {"T: {float, double, half, bfloat16}", "Tloss: {float, double}"};
  op.doc = kGradDoc;
  op.in_place = {1, 0};
  op.infer = InferGrad;
  op.cpu = GradOnCpu;
  op.cuda = YOLOV1_CUDA_OR_NULL(GradOnCuda);
  op.unchanged = Unscaled;
  op.versions = [](bool on_gpu) {
    return on_gpu ? std::vector<std::string>{"only"} : YoloLossVersions();
  };
  return op;
}();

std::string ParseYoloLossConfig(std::string_view text, YoloLossConfig* config) {
  ConfigReader reader = {"yolo_loss", text};
  LossSemantics& s = config->semantics;
  for (auto [key, number] :
       {std::pair{"S", &config->grid.S}, {"B", &config->grid.B}, {"C", &config->grid.C}})
    reader.Read(key, "an integer from 1 to 32768", int64_t{1}, int64_t{32768}, number);
  reader.Choose("layout", {"cells", "planes"}, &config->layout);
  reader.Choose("reduction", {"none", "mean", "mean_loss"}, &config->reduction);
  for (auto [key, number] : {std::pair{"weight_xy", &s.weight_xy},
                             {"weight_wh", &s.weight_wh},
                             {"weight_object", &s.weight_object},
                             {"weight_no_object", &s.weight_no_object},
                             {"weight_class", &s.weight_class},
                             {"factor", &s.factor}})
    reader.Read(key, "a finite number of at least 0", 0.0, std::numeric_limits<double>::max(),
                number);
  reader.Choose("wh", {"predict_sqrt", "sqrt_in_loss", "heron10", "plain"}, &s.wh);
  reader.Choose("confidence_target", {"iou", "one"}, &s.confidence_target);
  reader.Choose("no_object", {"non_responsible", "empty_cells"}, &s.no_object);
  reader.Choose("ties", {"first", "last", "all"}, &s.ties);
  reader.Choose("no_overlap_fallback", {"none", "rmse"}, &s.no_overlap_fallback);
  reader.Choose("iou_overlap", {"clamped", "abs"}, &s.iou_overlap);
  reader.Choose("box", {"squared", "iou", "giou", "diou", "ciou"}, &s.box);
  reader.ChooseIfGiven("confidence_loss", {"squared", "cross_entropy"}, &s.confidence_loss);
  reader.ChooseIfGiven("class_loss", {"squared", "cross_entropy"}, &s.class_loss);
  reader.ChooseIfGiven("on_collision", {"first", "last", "largest"}, &config->on_collision);
  Activations& a = config->activations;
  reader.ChooseIfGiven("activate_classes", {"linear", "sigmoid", "softmax"}, &a.classes);
  for (auto [key, activation] : {std::pair{"activate_confidences", &a.confidences},
                                 {"activate_xy", &a.xy},
                                 {"activate_wh", &a.wh}})
    reader.ChooseIfGiven(key, {"linear", "sigmoid"}, activation);
  if (s.confidence_loss == Penalty::kCrossEntropy && a.confidences == Activation::kSigmoid)
    a.confidences = Activation::kSigmoidOfValue;
  return reader.Finish();
}

// Every call comes through here: text is made only where there is something to say.
static std::string CheckPredictions(const YoloLossConfig& config, const Shape& predictions) {
  const Grid& grid = config.grid;
  const int64_t S = grid.S, D = grid.channels();
  if (config.layout == Layout::kCells && !Fits(predictions, {kUnknown, S, S, D}))
    return Complaint("predictions", grid, {S, S, D}, "D = C + 5B", predictions);
  if (config.layout == Layout::kPlanes && !Fits(predictions, {kUnknown, grid.flat_size()}))
    return Complaint("predictions", grid, {grid.flat_size()}, "S * S * (C + 5B), layout 'planes'",
                     predictions);
  return "";
}

std::string CheckYoloLossShapes(const YoloLossConfig& config, const Shape& predictions,
                                const Shape& targets) {
  const std::string error = CheckPredictions(config, predictions);
  if (!error.empty()) return error;
  const Grid& grid = config.grid;
  const int64_t S = grid.S, D_target = grid.target_channels();
  if (!Fits(targets, {kUnknown, S, S, D_target}))
    return Complaint("targets", grid, {S, S, D_target}, "C + 5", targets);
  if (!Fits(Dim(predictions, 0), Dim(targets, 0)))
    return "yolo_loss: predictions and targets must hold the same images, got " +
           std::to_string(predictions[0]) + " and " + std::to_string(targets[0]) + ".";
  return "";
}

std::string CheckYoloLossBoxes(const YoloLossConfig& config, const Shape& predictions,
                               const Shape& boxes, const Shape& labels, const Shape& valid) {
  const std::string error = CheckPredictions(config, predictions);
  if (!error.empty()) return error;
  const int64_t images = Dim(predictions, 0);
  if (Fits(labels, {images, kUnknown})) {
    const int64_t most = Ranked(labels) ? labels[1] : kUnknown;
    if (Fits(boxes, {images, most, 4}) && (Fits(valid, {images}) || Fits(valid, {images, most})))
      return "";
  }
  return "yolo_loss: objects must be boxes [N, M, 4], labels [N, M] and a count [N] or mask "
         "[N, M] with N = " +
         (images < 0 ? "?" : std::to_string(images)) + " as in the predictions, got " +
         ShapeText(boxes) + ", " + ShapeText(labels) + " and " + ShapeText(valid) + ".";
}

}  // namespace yolov1
