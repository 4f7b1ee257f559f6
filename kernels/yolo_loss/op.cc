// Interface of the op: attributes, shapes, documentation.
#include "kernels/tensorflow.h"
#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

using tensorflow::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

Status InferShapes(InferenceContext* c) {
  std::string text;
  bool compute_gradient;
  TF_RETURN_IF_ERROR(c->GetAttr("config", &text));
  TF_RETURN_IF_ERROR(c->GetAttr("compute_gradient", &compute_gradient));
  YoloLossConfig config;
  const std::string error = ParseYoloLossConfig(text, &config);
  if (!error.empty()) return absl::InvalidArgumentError(error);

  const Grid& grid = config.grid;
  const DimensionHandle unknown = c->UnknownDim(), side = c->MakeDim(grid.S);
  const ShapeHandle expected_predictions =
      config.layout == Layout::kCells
          ? c->MakeShape({unknown, side, side, c->MakeDim(grid.channels())})
          : c->MakeShape({unknown, c->MakeDim(grid.flat_size())});
  const ShapeHandle expected_targets =
      c->MakeShape({unknown, side, side, c->MakeDim(grid.target_channels())});
  ShapeHandle predictions, targets;
  TF_RETURN_WITH_CONTEXT_IF_ERROR(c->Merge(c->input(0), expected_predictions, &predictions),
                                  "yolo_loss: predictions do not fit the grid and layout");
  TF_RETURN_WITH_CONTEXT_IF_ERROR(c->Merge(c->input(1), expected_targets, &targets),
                                  "yolo_loss: targets do not fit the grid");
  DimensionHandle images;
  TF_RETURN_WITH_CONTEXT_IF_ERROR(c->Merge(c->Dim(predictions, 0), c->Dim(targets, 0), &images),
                                  "yolo_loss: predictions and targets hold different batches");
  c->set_output(0, config.mean() ? c->Scalar() : c->Vector(images));
  c->set_output(1, c->Matrix(images, 5));
  c->set_output(2, compute_gradient ? predictions : c->Vector(0));
  return tensorflow::OkStatus();
}

}  // namespace

REGISTER_OP("Yolov1>YoloLoss")
    .Input("predictions: T")
    .Input("targets: Ttargets")
    .Output("loss: Tloss")
    .Output("terms: Tloss")
    .Output("gradient: T")
    .Attr("config: string")
    .Attr("compute_gradient: bool")
    .Attr("T: {float, double, half, bfloat16}")
    .Attr("Ttargets: {float, double, half, bfloat16}")
    .Attr("Tloss: {float, double}")
    .SetShapeFn(InferShapes)
    .Doc(R"doc(
The YOLOv1 loss of a batch, its terms and, on request, its gradient in the same pass.

loss = factor * (weight_xy * sum r_j [(x_j - x)^2 + (y_j - y)^2]
               + weight_wh * sum r_j [(q(w_j) - q(w))^2 + (q(h_j) - q(h))^2]
               + weight_object * sum r_j (c_j - target)^2
               + weight_no_object * sum over the no_object set of c_j^2
               + weight_class * sum over object cells of (p_k - t_k)^2)

with r_j = 1 for the responsible box(es) j of an object cell, and 1 - IoU or its kin in place of the
first two sums where box is not "squared". yolov1/semantics.py says what each choice means. Sums
are taken in Tloss: double for double predictions, else float. Targets are of the dtype of the
predictions, or float beside predictions of 16 bits.

predictions: [N, S, S, C + 5 B] (layout "cells") or [N, S S (C + 5 B)] (layout "planes").
targets: [N, S, S, C + 5]: classes, object flag, x, y in the cell, w, h of the image.
loss: [N], or a scalar with reduction "mean" (0 for an empty batch).
terms: [N, 5]: xy, wh, object, no_object, class, weighted; they sum to the image's loss.
gradient: of the sum of `loss` by the predictions, in their shape; [0] without compute_gradient.
config: grid, layout, reduction and semantics as yolov1/kernels/ writes them, "key=value" words:
  S, B, C, layout, reduction, the weights, factor and the choices. One text and not sixteen
  attributes, because eagerly each attribute costs 0.3 microseconds; and weights as
  decimals, because a float attribute would round 5 / 49 to float32 in a float64 op.
)doc");

REGISTER_OP("Yolov1>YoloLossGrad")
    .Input("upstream: Tloss")
    .Input("gradient: T")
    .Input("predictions: T")
    .Output("product: T")
    .Attr("T: {float, double, half, bfloat16}")
    .Attr("Tloss: {float, double}")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(1));
      return tensorflow::OkStatus();
    })
    .Doc(R"doc(
The gradient that Yolov1>YoloLoss computed, times the gradient that comes from above.

upstream: [N], one value for each image; or a scalar.
gradient: [N, ...]. Handed through without a copy where every upstream value is 1.
predictions: [N, ...]. Not read: it ties the product to the predictions, so that a second derivative
  is refused instead of being taken for zero.
product: [N, ...] upstream[n] * gradient[n].
)doc");

}  // namespace yolov1
