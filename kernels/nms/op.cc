// Interface of the op: attributes, shapes, documentation.
#include "kernels/nms/kernel.h"
#include "kernels/tensorflow.h"

namespace yolov1 {
namespace {

using tensorflow::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status InferShapes(InferenceContext* c) {
  std::string text;
  TF_RETURN_IF_ERROR(c->GetAttr("config", &text));
  NmsConfig config;
  const std::string error = ParseNmsConfig(text, &config);
  if (!error.empty()) return absl::InvalidArgumentError(error);

  const DimensionHandle unknown = c->UnknownDim();
  ShapeHandle boxes, scores;
  TF_RETURN_WITH_CONTEXT_IF_ERROR(
      c->Merge(c->input(0), c->MakeShape({unknown, unknown, c->MakeDim(4)}), &boxes),
      "non_max_suppression: boxes_xyxy must be [N, K, 4]");
  TF_RETURN_WITH_CONTEXT_IF_ERROR(c->WithRank(c->input(1), 3, &scores),
                                  "non_max_suppression: scores must be [N, K, C]");
  DimensionHandle images, count;
  for (const auto& [dimension, merged] : {std::pair{0, &images}, {1, &count}})
    TF_RETURN_WITH_CONTEXT_IF_ERROR(
        c->Merge(c->Dim(boxes, dimension), c->Dim(scores, dimension), merged),
        "non_max_suppression: boxes_xyxy and scores hold different boxes");
  const DimensionHandle detections = c->MakeDim(config.max_detections);
  c->set_output(0, c->MakeShape({images, detections, c->MakeDim(4)}));
  c->set_output(1, c->Matrix(images, detections));
  c->set_output(2, c->Matrix(images, detections));
  c->set_output(3, c->Vector(images));
  return tensorflow::OkStatus();
}

}  // namespace

REGISTER_OP("Yolov1>NonMaxSuppression")
    .Input("boxes_xyxy: T")
    .Input("scores: T")
    .Output("found_boxes: T")
    .Output("found_scores: T")
    .Output("labels: int32")
    .Output("count: int32")
    .Attr("config: string")
    .Attr("T: {float}")
    .SetShapeFn(InferShapes)
    .Doc(R"doc(
Keeps, class by class, the boxes that no better box of the class overlaps.

A box and class whose score is not greater than score_threshold go at once. Of the others, by
falling score, then by box, then by class, each is kept unless its box overlaps one that was kept
for the class: unless I / U > iou_threshold, with I and U the areas of intersection and union. After
max_detections the image is done.

A side of negative length counts as 0: its high end is moved to the low one. A box with a NaN
coordinate or an infinite area overlaps nothing, and a NaN score passes no threshold. There is no
gradient.

boxes_xyxy: [N, K, 4].
scores: [N, K, C].
found_boxes: [N, max_detections, 4], by falling score and padded with zeros, as all results.
found_scores: [N, max_detections].
labels: [N, max_detections]: the classes.
count: [N]: the detections of each image.
config: "score_threshold=0.001 iou_threshold=0.5 max_detections=300 clip=True"; clip: move the
  corners of what was found into [0, 1].
)doc");

}  // namespace yolov1
