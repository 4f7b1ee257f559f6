// A fuzz target in the form of libFuzzer: bytes to a configuration text, or to a call of the
// kernel. `make fuzz` drives it by coverage, `make sanitize` with bytes from a generator
// (replay.cc).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>

#include "tests/native/bytes.h"
#include "tests/native/yolo_loss_call.h"

namespace yolov1 {
namespace {

// ------------------------------------------------------------------------------ configuration text

std::string Choice(Bytes* in, const char* key, std::initializer_list<const char*> names) {
  return std::string(" ") + key + "=" + names.begin()[in->Below(names.size())];
}

// A text as yolov1/kernels/ writes it, always valid.
std::string ConfigText(Bytes* in, const Grid& grid) {
  std::string text = "S=" + std::to_string(grid.S) + " B=" + std::to_string(grid.B) +
                     " C=" + std::to_string(grid.C);
  text += Choice(in, "layout", {"cells", "planes"});
  text += Choice(in, "reduction", {"none", "mean", "mean_loss"});
  for (const char* key :
       {"weight_xy", "weight_wh", "weight_object", "weight_no_object", "weight_class", "factor"})
    text += Choice(in, key, {"1.0", "5.0", "0.0", "0.5", "0.10204081632653061", "1e-40", "1e+300"});
  text += Choice(in, "wh", {"predict_sqrt", "sqrt_in_loss", "heron10", "plain"});
  text += Choice(in, "confidence_target", {"iou", "one"});
  text += Choice(in, "no_object", {"non_responsible", "empty_cells"});
  text += Choice(in, "ties", {"first", "last", "all"});
  text += Choice(in, "no_overlap_fallback", {"none", "rmse"});
  text += Choice(in, "iou_overlap", {"clamped", "abs"});
  text += Choice(in, "box", {"squared", "iou", "giou", "diou", "ciou"});
  for (const char* key : {"confidence_loss", "class_loss"})
    if (in->Below(2)) text += Choice(in, key, {"squared", "cross_entropy"});
  if (in->Below(2)) text += Choice(in, "on_collision", {"first", "last", "largest"});
  if (in->Below(2)) text += Choice(in, "activate_classes", {"linear", "sigmoid", "softmax"});
  for (const char* key : {"activate_confidences", "activate_xy", "activate_wh"})
    if (in->Below(4) == 0) text += Choice(in, key, {"linear", "sigmoid"});
  return text;
}

// What the kernels rely on in a configuration that was accepted.
void CheckText(std::string_view text) {
  YoloLossConfig config;
  if (!Accepts(ParseYoloLossConfig, "yolo_loss", text, &config)) return;
  const Grid& grid = config.grid;
  for (int64_t number : {grid.S, grid.B, grid.C})
    Require(1 <= number && number <= 32768, "grid numbers from 1 to 32768");
  const LossSemantics& s = config.semantics;
  for (double weight :
       {s.weight_xy, s.weight_wh, s.weight_object, s.weight_no_object, s.weight_class, s.factor})
    Require(0 <= weight && weight <= std::numeric_limits<double>::max(), "a finite weight");
  Require(CheckYoloLossShapes(config, {}, {}) != "", "shapes without dimensions are refused");
}

// The shapes that fit are accepted, and no others.
void CheckShapes(const YoloLossConfig& config, int64_t images, Bytes* in) {
  const Grid& grid = config.grid;
  std::vector<int64_t> predictions = {images, grid.flat_size()};
  if (config.layout == Layout::kCells) predictions = {images, grid.S, grid.S, grid.channels()};
  std::vector<int64_t> targets = {images, grid.S, grid.S, grid.target_channels()};
  Require(CheckYoloLossShapes(config, predictions, targets) == "", "fitting shapes are accepted");
  const int64_t most = in->Below(4);
  std::vector<int64_t> boxes = {images, most, 4}, labels = {images, most}, valid = {images};
  if (in->Below(2)) valid.push_back(most);
  Require(CheckYoloLossBoxes(config, predictions, boxes, labels, valid) == "",
          "fitting objects are accepted");
  const auto other = [in](std::vector<int64_t> shape) {
    shape[in->Below(shape.size())] += 1 + in->Below(3);
    return shape;
  };
  Require(CheckYoloLossShapes(config, other(predictions), targets) != "" &&
              CheckYoloLossShapes(config, predictions, other(targets)) != "",
          "other shapes are refused");
  Require(CheckYoloLossBoxes(config, other(predictions), boxes, labels, valid) != "" &&
              CheckYoloLossBoxes(config, predictions, other(boxes), labels, valid) != "" &&
              CheckYoloLossBoxes(config, predictions, boxes, other(labels), valid) != "" &&
              CheckYoloLossBoxes(config, predictions, boxes, labels, other(valid)) != "",
          "objects of other shapes are refused");
}

// ------------------------------------------------------------------------------------------- calls

std::vector<double> Targets(Bytes* in, const Grid& grid, int64_t images, int64_t share) {
  std::vector<double> out(images * grid.flat_target_size());
  for (size_t cell = 0; cell < out.size(); cell += grid.target_channels()) {
    if (in->Below(8) >= share) continue;
    for (int64_t k = 0; k < grid.target_channels(); ++k) out[cell + k] = Value(in);
    if (in->Below(4)) out[cell + grid.target_object_channel()] = 1;
  }
  return out;
}

// Few numbers often, so that cells collide and centres lie on their borders, 1 among them; broken
// ones less often: one of them leaves nothing of an image's loss to compare.
float BoxSide(Bytes* in) {
  static const float kSpecial[] = {NAN, INFINITY, -INFINITY, -0.25f, 1.25f, 0x1.fffffep-1f};
  const int64_t code = in->Below(32);
  if (code == 0) return static_cast<float>(Value(in));
  if (code == 1) return kSpecial[in->Below(std::size(kSpecial))];
  return static_cast<float>(in->Below(code < 20 ? 9 : 113)) / (code < 20 ? 8 : 112);
}

int32_t Label(Bytes* in, int64_t C) {
  const int32_t classes = static_cast<int32_t>(C);
  const int32_t special[] = {-1, classes, INT32_MIN, INT32_MAX};
  return in->Below(8) ? static_cast<int32_t>(in->Below(classes)) : special[in->Below(4)];
}

Objects AnyObjects(Bytes* in, const Grid& grid, int64_t images) {
  Objects out;
  out.most = in->Below(in->Below(2) ? 4 : 40);
  out.is_mask = in->Below(2);
  for (int64_t box = 0; box < images * out.most; ++box) {
    for (int k = 0; k < 4; ++k) out.boxes.push_back(BoxSide(in));
    out.labels.push_back(Label(in, grid.C));
    if (out.is_mask) out.valid.push_back(in->Below(2));
  }
  const int32_t special[] = {-1, INT32_MIN, INT32_MAX};
  for (int64_t image = 0; image < images && !out.is_mask; ++image)
    out.valid.push_back(in->Below(8) ? static_cast<int32_t>(in->Below(out.most + 3))
                                     : special[in->Below(3)]);
  return out;
}

void CheckCall(Bytes* in) {
  static const DType kTypes[] = {DType::kFloat, DType::kDouble, DType::kHalf, DType::kBfloat16};
  LossCall call;
  const Grid grid = {1 + in->Below(7), 1 + in->Below(6), 1 + in->Below(40)};
  Require(ParseYoloLossConfig(ConfigText(in, grid), &call.config) == "", "a valid configuration");
  call.images = in->Below(10);  // the kernel takes them eight at a time
  CheckShapes(call.config, call.images, in);
  call.type = kTypes[in->Below(4)];
  call.target_type = in->Below(2) ? call.type : DType::kFloat;
  if (!YoloLossSupports(call.type, call.target_type)) call.target_type = call.type;
  call.offset = in->Below(17);
  call.pieces = 1 + in->Below(4);
  call.threads = in->Below(8) == 0;
  call.large = in->Below(2) == 0;
  const int64_t share = in->Below(9);
  call.in_place = in->Below(2);
  call.of_boxes = in->Below(2);
  if (call.of_boxes) {
    call.target_type = Outputs::SumType(call);
    call.objects = AnyObjects(in, grid, call.images);
    call.targets = Encoded(call.config, call.images, call.objects);
  } else {
    call.targets = Targets(in, grid, call.images, share);
  }
  call.predictions.resize(call.images * grid.flat_size());
  for (double& value : call.predictions) value = Value(in);
  call.cuda = in->Below(8) == 0;
  Check(call);
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [](yolov1::Bytes* in) { return yolov1::ConfigText(in, {7, 2, 20}); };
  return yolov1::Fuzz(data, size, 4, text, yolov1::CheckText, yolov1::CheckCall);
}
