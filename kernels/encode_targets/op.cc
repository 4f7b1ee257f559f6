// The boxes of a data set as the targets of a batch of windows: the interface, the text that
// configures it, what its inputs must look like, and how it is run.
#include <algorithm>

#include "kernels/config.h"
#include "kernels/encode_targets/kernel.h"
#include "kernels/ops.h"
#include "kernels/parallel.h"

namespace yolov1 {
namespace {

constexpr const char* kFace = "encode_targets";

constexpr const char* kDoc = R"doc(
The targets of a batch: the boxes of some images of a data set, as seen in a window of each.

A box is clipped to its window, which is rounded to whole pixels as load_images does. It goes where
less than min_visible of its area is left, or a side of less than 0.5 % of the window's. Of several
boxes with their centre in one cell, one is kept. There is no gradient.

boxes_cxcywh: [K, 4]: all boxes of the data set, fractions of their image.
labels: [K].
splits: [N + 1]: image i has the boxes from splits[i] on, before splits[i + 1].
indices: [n]: which images.
sizes: [n, 2]: their heights and widths in pixels.
windows: [n, 4]: corners x0, y0, x1, y1 as fractions of the image.
flips: [n, 2]: left to right, top to bottom.
transpose: [n].
targets: [n, S, S, C + 5].
config: "S=7 C=20 on_collision=first min_visible=0.25 neighbours=no"; on_collision: first, last or
largest; neighbours: yes where empty cells describe an object of a cell beside them, else no.
)doc";

struct Expected {
  const char* name;
  DType type;
  const char* shape;
};
constexpr Expected kExpected[] = {
    {"boxes_cxcywh", DType::kFloat, "[K, 4]"}, {"labels", DType::kInt32, "[K]"},
    {"splits", DType::kInt64, "[N + 1]"},      {"indices", DType::kInt64, "[n]"},
    {"sizes", DType::kInt32, "[n, 2]"},        {"windows", DType::kFloat, "[n, 4]"},
    {"flips", DType::kBool, "[n, 2]"},         {"transpose", DType::kBool, "[n]"},
};

std::string InferTargets(Call* call) {
  const std::vector<View>& in = call->in;
  int64_t n = kUnknown;
  for (size_t k = 3; k < in.size(); ++k)
    if (Ranked(in[k].shape) && !in[k].shape.empty()) n = std::max(n, in[k].shape[0]);
  bool fit = Fits(in[0].shape, {Dim(in[1].shape, 0), 4}) && Fits(in[1].shape, {kUnknown}) &&
             Fits(in[2].shape, {kUnknown}) && Dim(in[2].shape, 0) != 0 && Fits(in[3].shape, {n}) &&
             Fits(in[4].shape, {n, 2}) && Fits(in[5].shape, {n, 4}) && Fits(in[6].shape, {n, 2}) &&
             Fits(in[7].shape, {n});
  for (size_t k = 0; k < in.size(); ++k) fit = fit && in[k].type == kExpected[k].type;
  if (!fit) {
    std::string expected, got;
    for (size_t k = 0; k < in.size(); ++k) {
      const Expected& want = kExpected[k];
      expected +=
          (k ? ", " : "") + std::string(want.name) + " " + DTypeName(want.type) + " " + want.shape;
      got += (k ? ", " : "") + std::string(DTypeName(in[k].type)) + " " + ShapeText(in[k].shape);
    }
    return std::string(kFace) + ": inputs must be " + expected + ", got " + got + ".";
  }
  const Grid& grid = call->As<EncodeTargetsConfig>().grid;
  call->Result(0, DType::kFloat, {n, grid.S, grid.S, grid.target_channels()});
  return "";
}

std::string OnCpu(const Call& call, const ParallelFor& parallel) {
  EncodeTargetsArgs args;
  args.config = call.As<EncodeTargetsConfig>();
  args.images = call.in[3].size();
  args.all_boxes = call.in[1].size();
  args.all_images = call.in[2].size() - 1;
  args.boxes_cxcywh = static_cast<const float*>(call.in[0].data);
  args.labels = static_cast<const int32_t*>(call.in[1].data);
  args.splits = static_cast<const int64_t*>(call.in[2].data);
  args.indices = static_cast<const int64_t*>(call.in[3].data);
  args.sizes = static_cast<const int32_t*>(call.in[4].data);
  args.windows = static_cast<const float*>(call.in[5].data);
  args.flips = static_cast<const bool*>(call.in[6].data);
  args.transpose = static_cast<const bool*>(call.in[7].data);
  args.targets = static_cast<float*>(call.out[0].data);
  FirstComplaint first;
  parallel(
      args.images, args.config.grid.flat_target_size() / 4 + 100,
      [&](int64_t begin, int64_t end) { first.Add(begin, EncodeTargetsCpu(args, begin, end)); });
  return first.text();
}

}  // namespace

const Op kEncodeTargets = [] {
  Op op;
  op.name = "Yolov1>EncodeTargets";
  op.face = kFace;
  op.inputs = {"boxes_cxcywh: T", "labels: int32", "splits: int64", "indices: int64",
               "sizes: int32",    "windows: T",    "flips: bool",   "transpose: bool"};
  op.outputs = {"targets: T"};
  op.attributes = {"T: {float}"};
  op.doc = kDoc;
  op.configure = ConfigureBy<EncodeTargetsConfig, ParseEncodeTargetsConfig>;
  op.infer = InferTargets;
  op.cpu = OnCpu;
  return op;
}();

std::string ParseEncodeTargetsConfig(std::string_view text, EncodeTargetsConfig* config) {
  constexpr int64_t kMost = int64_t{1} << 20;
  ConfigReader reader = {kFace, text};
  reader.Read("S", "an integer from 1 to 4096", int64_t{1}, int64_t{4096}, &config->grid.S);
  reader.Read("C", "an integer from 1 to 2^20", int64_t{1}, kMost, &config->grid.C);
  reader.Choose("on_collision", {"first", "last", "largest"}, &config->on_collision);
  reader.Read("min_visible", "a number from 0 to 1", 0.0, 1.0, &config->min_visible);
  reader.Choose("neighbours", {"no", "yes"}, &config->neighbours);
  return reader.Finish();
}

}  // namespace yolov1
