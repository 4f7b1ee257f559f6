// A fuzz target for the targets of a batch of windows, as fuzz_yolo_loss.cc is for the loss: bytes
// to a configuration text, or to a call whose results are targets, whole and in pieces.
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/encode_targets/kernel.h"
#include "tests/native/buffers.h"
#include "tests/native/bytes.h"

namespace yolov1 {
namespace {

void CheckText(std::string_view text) {
  EncodeTargetsConfig config;
  if (!Accepts(ParseEncodeTargetsConfig, "encode_targets", text, &config)) return;
  Require(config.grid.S >= 1 && config.grid.C >= 1, "a grid");
  Require(0 <= config.min_visible && config.min_visible <= 1, "a share from 0 to 1");
}

// An empty cell is all zero; another has one class at most, the flag, and a box of some size.
void CheckRow(const EncodeTargetsConfig& config, const float* row) {
  const Grid& grid = config.grid;
  float classes = 0;
  for (int64_t c = 0; c < grid.C; ++c) {
    Require(row[c] == 0 || row[c] == 1, "a class is 0 or 1");
    classes += row[c];
  }
  const float flag = row[grid.target_object_channel()];
  const float* const box = row + grid.target_box_channel();
  Require(flag == 0 || flag == 1, "a flag is 0 or 1");
  Require(classes <= flag, "one class at most, and none without an object");
  const float margin = config.neighbours == Neighbours::kYes ? 0.5f : 1e-6f;
  for (int k = 0; k < 2; ++k) {
    if (flag == 0) Require(box[k] == 0 && box[2 + k] == 0, "an empty cell is all zero");
    if (flag == 0) continue;
    Require(-margin <= box[k] && box[k] <= 1 + margin, "a place in the cell, or near it");
    Require(0.005f <= box[2 + k] && box[2 + k] <= 1, "a side of the window's");
  }
}

void CheckCall(Bytes* in) {
  constexpr OnCollision kRules[] = {OnCollision::kFirst, OnCollision::kLast, OnCollision::kLargest};
  EncodeTargetsArgs args;
  args.config = {{1 + in->Below(9), 1, 1 + in->Below(5)},
                 kRules[in->Below(3)],
                 in->Below(5) / 4.0,
                 static_cast<Neighbours>(in->Below(2))};
  args.all_images = 1 + in->Below(5);
  args.images = in->Below(6);
  std::vector<int64_t> splits = {0}, indices(args.images);
  while (static_cast<int64_t>(splits.size()) <= args.all_images)
    splits.push_back(splits.back() + in->Below(6));
  args.all_boxes = splits.back();
  std::vector<float> boxes(4 * args.all_boxes), windows(4 * args.images);
  std::vector<int32_t> labels(args.all_boxes), sizes(2 * args.images);
  for (float& value : boxes)
    value = in->Below(8) == 0 ? static_cast<float>(Value(in)) : in->Next() / 256.0f;
  for (int32_t& label : labels) label = static_cast<int32_t>(in->Below(args.config.grid.C + 2)) - 1;
  for (int64_t& index : indices) index = in->Below(args.all_images);
  for (int32_t& size : sizes) size = 1 + static_cast<int32_t>(in->Next()) * 3;
  for (size_t k = 0; k < windows.size(); ++k)
    windows[k] = static_cast<float>(in->Next()) / 512.0f - 0.25f + (k % 4 < 2 ? 0.0f : 0.5f);
  const int64_t wrong = in->Below(4) == 0 && args.images > 0 ? in->Below(args.images) : -1;
  if (wrong >= 0) {
    switch (in->Below(4)) {
      case 0:
        indices[wrong] = args.all_images + in->Below(2) * 1000;
        break;
      case 1:
        indices[wrong] = -1 - in->Next();
        break;
      case 2:
        sizes[2 * wrong] = -static_cast<int32_t>(in->Below(3));
        break;
      default:
        windows[4 * wrong + in->Below(4)] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const std::unique_ptr<bool[]> flips(new bool[2 * args.images]()),
      transpose(new bool[args.images]());
  for (int64_t k = 0; k < 2 * args.images; ++k) flips[k] = in->Below(2) == 0;
  for (int64_t k = 0; k < args.images; ++k) transpose[k] = in->Below(2) == 0;
  args.boxes_cxcywh = boxes.data();
  args.labels = labels.data();
  args.splits = splits.data();
  args.indices = indices.data();
  args.sizes = sizes.data();
  args.windows = windows.data();
  args.flips = flips.get();
  args.transpose = transpose.get();

  const int64_t each = args.config.grid.flat_target_size();
  std::vector<float> whole(args.images * each, -7.0f), pieces(args.images * each, -7.0f);
  args.targets = whole.data();
  const std::string error = EncodeTargetsCpu(args, 0, args.images);
  if (wrong >= 0) {
    const std::string start = "encode_targets: image " + std::to_string(wrong) + " ";
    Require(error.rfind(start, 0) == 0, "the image that is wrong is named: " + error);
    return;
  }
  Require(error.empty(), error);
  args.targets = pieces.data();
  for (int64_t k = args.images; k-- > 0;)
    Require(EncodeTargetsCpu(args, k, k + 1) == "", "a piece");
  Require(whole.empty() || memcmp(whole.data(), pieces.data(), whole.size() * sizeof(float)) == 0,
          "pieces as the whole");
  for (int64_t k = 0; k < args.images * args.config.grid.cells(); ++k)
    CheckRow(args.config, whole.data() + k * args.config.grid.target_channels());
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [](yolov1::Bytes*) {
    return "S=7 C=20 on_collision=first min_visible=0.25 neighbours=yes";
  };
  return yolov1::Fuzz(data, size, 4, text, yolov1::CheckText, yolov1::CheckCall);
}
