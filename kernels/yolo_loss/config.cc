// The text that configures the loss, and what its inputs must look like.
#include "kernels/config.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <sstream>
#include <utility>

#include "kernels/yolo_loss/kernel.h"

namespace yolov1 {
namespace {

using Shape = std::vector<int64_t>;

// Whether `shape` is a batch of images of these sizes.
bool Fits(const Shape& shape, std::initializer_list<int64_t> image) {
  return shape.size() == image.size() + 1 &&
         std::equal(image.begin(), image.end(), shape.begin() + 1);
}

// What is wrong with `name`, whose images should have the sizes that `formula` explains.
std::string Complaint(const char* name, const Grid& grid, const Shape& image, const char* formula,
                      const Shape& got) {
  std::ostringstream out;
  out << "yolo_loss: " << name << " must be [N, " << ShapeText(image).substr(1)
      << " for GridSpec(S=" << grid.S << ", B=" << grid.B << ", C=" << grid.C << ") (" << formula
      << "), got " << ShapeText(got) << ".";
  return out.str();
}

}  // namespace

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
  if (!reader.Find("on_collision").empty())
    reader.Choose("on_collision", {"first", "last", "largest"}, &config->on_collision);
  Activations& a = config->activations;
  if (!reader.Find("activate_classes").empty())
    reader.Choose("activate_classes", {"linear", "sigmoid", "softmax"}, &a.classes);
  for (auto [key, activation] : {std::pair{"activate_confidences", &a.confidences},
                                 {"activate_xy", &a.xy},
                                 {"activate_wh", &a.wh}})
    if (!reader.Find(key).empty()) reader.Choose(key, {"linear", "sigmoid"}, activation);
  return reader.error;
}

// Every call comes through here: text is made only where there is something to say.
std::string CheckPredictions(const YoloLossConfig& config, const Shape& predictions) {
  const Grid& grid = config.grid;
  const int64_t S = grid.S, D = grid.channels();
  if (config.layout == Layout::kCells && !Fits(predictions, {S, S, D}))
    return Complaint("predictions", grid, {S, S, D}, "D = C + 5B", predictions);
  if (config.layout == Layout::kPlanes && !Fits(predictions, {grid.flat_size()}))
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
  if (!Fits(targets, {S, S, D_target}))
    return Complaint("targets", grid, {S, S, D_target}, "C + 5", targets);
  if (predictions[0] != targets[0])
    return "yolo_loss: predictions and targets must hold the same images, got " +
           std::to_string(predictions[0]) + " and " + std::to_string(targets[0]) + ".";
  return "";
}

std::string CheckYoloLossBoxes(const YoloLossConfig& config, const Shape& predictions,
                               const Shape& boxes, const Shape& labels, const Shape& valid) {
  const std::string error = CheckPredictions(config, predictions);
  if (!error.empty()) return error;
  const int64_t images = predictions[0];
  if (labels.size() == 2 && labels[0] == images && boxes == Shape{images, labels[1], 4} &&
      (valid == labels || valid == Shape{images}))
    return "";
  return "yolo_loss: objects must be boxes [N, M, 4], labels [N, M] and a count [N] or mask "
         "[N, M] with N = " +
         std::to_string(images) + " as in the predictions, got " + ShapeText(boxes) + ", " +
         ShapeText(labels) + " and " + ShapeText(valid) + ".";
}

}  // namespace yolov1
