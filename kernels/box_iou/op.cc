// Interface of the ops: attributes, shapes, documentation.
#include "kernels/box_iou/kernel.h"
#include "kernels/tensorflow.h"
#include "tensorflow/core/framework/common_shape_fns.h"

namespace yolov1 {
namespace {

using tensorflow::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status ReadConfig(InferenceContext* c, IouShape shape, BoxIouConfig* config) {
  std::string text;
  TF_RETURN_IF_ERROR(c->GetAttr("config", &text));
  config->shape = shape;
  const std::string error = ParseBoxIouConfig(text, config);
  return error.empty() ? tensorflow::OkStatus() : absl::InvalidArgumentError(error);
}

// The checks of the kernel with its messages, where all sizes are known already.
Status CheckKnown(InferenceContext* c, const BoxIouConfig& config) {
  std::vector<int64_t> shapes[4];
  for (int input = 0; input < 4; ++input) {
    const ShapeHandle shape = c->input(input);
    if (!c->FullyDefined(shape)) return tensorflow::OkStatus();
    for (int k = 0; k < c->Rank(shape); ++k) shapes[input].push_back(c->Value(c->Dim(shape, k)));
  }
  BoxIouSizes sizes;
  const std::string error =
      ReadBoxIouShapes(config, shapes[0], shapes[1], shapes[2], shapes[3], &sizes);
  return error.empty() ? tensorflow::OkStatus() : absl::InvalidArgumentError(error);
}

template <IouShape shape>
Status InferShapes(InferenceContext* c) {
  BoxIouConfig config;
  TF_RETURN_IF_ERROR(ReadConfig(c, shape, &config));
  TF_RETURN_IF_ERROR(CheckKnown(c, config));
  constexpr int inner = shape == IouShape::kPairwise ? 2 : 1;
  ShapeHandle boxes[2], leading[2], result;
  for (int side : {0, 1}) {
    DimensionHandle four;
    TF_RETURN_WITH_CONTEXT_IF_ERROR(c->WithRankAtLeast(c->input(side), inner, &boxes[side]),
                                    config.name(), ": boxes have too few dimensions");
    TF_RETURN_WITH_CONTEXT_IF_ERROR(c->WithValue(c->Dim(boxes[side], -1), 4, &four), config.name(),
                                    ": boxes must have 4 coordinates");
    TF_RETURN_IF_ERROR(c->Subshape(boxes[side], 0, -inner, &leading[side]));
  }
  TF_RETURN_WITH_CONTEXT_IF_ERROR(
      BroadcastBinaryOpOutputShapeFnHelper(c, leading[0], leading[1],
                                           /*incompatible_shape_error=*/true, &result),
      config.name(), ": the leading dimensions do not fit");
  if (shape == IouShape::kPairwise) {
    const ShapeHandle pairs = c->Matrix(c->Dim(boxes[0], -2), c->Dim(boxes[1], -2));
    TF_RETURN_IF_ERROR(c->Concatenate(result, pairs, &result));
  }
  c->set_output(0, result);
  return tensorflow::OkStatus();
}

template <IouShape shape>
Status InferGradientShapes(InferenceContext* c) {
  BoxIouConfig config;
  TF_RETURN_IF_ERROR(ReadConfig(c, shape, &config));
  TF_RETURN_IF_ERROR(CheckKnown(c, config));
  c->set_output(0, c->input(0));
  c->set_output(1, c->input(1));
  return tensorflow::OkStatus();
}

}  // namespace

REGISTER_OP("Yolov1>PairwiseIou")
    .Input("boxes_a: T")
    .Input("boxes_b: T")
    .Input("valid_a: bool")
    .Input("valid_b: bool")
    .Output("iou: T")
    .Attr("config: string")
    .Attr("T: {float, double, half, bfloat16}")
    .SetShapeFn(InferShapes<IouShape::kPairwise>)
    .Doc(R"doc(
The overlap of each box a with each box b. I is the area of a pair's intersection, U that of its
union, C that of the box that encloses both; c is the diagonal of that box, d the distance of the
centres.

iou  = I / U
giou = iou - (C - U) / C
diou = iou - d^2 / c^2
ciou = diou - alpha v,  v = 4 / pi^2 (atan(w_a / h_a) - atan(w_b / h_b))^2,
                        alpha = v / (1 - iou + v), a constant in the gradient

0 / 0 counts as 0, and a side of negative length as 0. Half and bfloat16 are computed in float.

boxes_a: [..., M, 4].
boxes_b: [..., K, 4]. Leading dimensions are broadcast against each other.
valid_a: [..., M] as in boxes_a: which boxes count; [0] for all. Pairs of another box are 0, and
  its coordinates are not read.
valid_b: [..., K] as in boxes_b, or [0].
iou: [..., M, K].
config: "kind=giou box_format=xyxy"; kind: iou, giou, diou or ciou; box_format: xyxy (corners) or
  cxcywh (centre and size).
)doc");

REGISTER_OP("Yolov1>AlignedIou")
    .Input("boxes_a: T")
    .Input("boxes_b: T")
    .Input("valid_a: bool")
    .Input("valid_b: bool")
    .Output("iou: T")
    .Attr("config: string")
    .Attr("T: {float, double, half, bfloat16}")
    .SetShapeFn(InferShapes<IouShape::kAligned>)
    .Doc(R"doc(
The overlap of boxes a and b one by one; formulas and config as in Yolov1>PairwiseIou.

boxes_a: [..., 4].
boxes_b: [..., 4]. Leading dimensions are broadcast against each other.
valid_a: [...] as in boxes_a, or [0] for all.
valid_b: [...] as in boxes_b, or [0].
iou: [...].
)doc");

REGISTER_OP("Yolov1>PairwiseIouGrad")
    .Input("boxes_a: T")
    .Input("boxes_b: T")
    .Input("valid_a: bool")
    .Input("valid_b: bool")
    .Input("upstream: T")
    .Output("gradient_a: T")
    .Output("gradient_b: T")
    .Attr("config: string")
    .Attr("T: {float, double, half, bfloat16}")
    .SetShapeFn(InferGradientShapes<IouShape::kPairwise>)
    .Doc(R"doc(
The gradient of sum(upstream * iou) of Yolov1>PairwiseIou; its inputs, and:

upstream: [..., M, K] like iou; not read for pairs that are not valid.
gradient_a: like boxes_a, summed over all that a box was paired with; 0 for a box that is not valid.
gradient_b: like boxes_b.
)doc");

REGISTER_OP("Yolov1>AlignedIouGrad")
    .Input("boxes_a: T")
    .Input("boxes_b: T")
    .Input("valid_a: bool")
    .Input("valid_b: bool")
    .Input("upstream: T")
    .Output("gradient_a: T")
    .Output("gradient_b: T")
    .Attr("config: string")
    .Attr("T: {float, double, half, bfloat16}")
    .SetShapeFn(InferGradientShapes<IouShape::kAligned>)
    .Doc(R"doc(
The gradient of sum(upstream * iou) of Yolov1>AlignedIou; its inputs, and:

upstream: [...] like iou; not read for pairs that are not valid.
gradient_a: like boxes_a, summed over all that a box was paired with; 0 for a box that is not valid.
gradient_b: like boxes_b.
)doc");

}  // namespace yolov1
