// A fuzz target for non-maximum suppression, as fuzz_yolo_loss.cc is for the loss: bytes to a
// configuration text, or to a call that is held against the plain rule.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/activation.h"
#include "kernels/core/iou.h"
#include "kernels/nms/kernel.h"
#include "tests/native/buffers.h"
#include "tests/native/bytes.h"

namespace yolov1 {
namespace {

void CheckNmsText(std::string_view text) {
  NmsConfig config;
  if (!Accepts(ParseNmsConfig, "non_max_suppression", text, &config)) return;
  Require(0 <= config.iou_threshold && config.iou_threshold <= 1, "an overlap from 0 to 1");
  Require(!std::isnan(config.score_threshold), "a score that is a number");
  Require(config.rule == NmsRule::kHard || config.score_threshold >= 0, "no negative score");
  Require(0 < config.sigma && config.sigma <= 2e30f, "a positive sigma");
  Require(
      1 <= config.max_detections && config.max_detections <= std::numeric_limits<int32_t>::max(),
      "a number of detections that 32 bits hold");
}

// In vectors of the exact size, so that the address sanitizer sees each access outside of them.
struct Found {
  std::vector<float> boxes, scores;
  std::vector<int32_t> labels, count;

  explicit Found(const NmsArgs& args)
      : boxes(args.images * args.config.max_detections * 4, -7.0f),
        scores(args.images * args.config.max_detections, -7.0f),
        labels(args.images * args.config.max_detections, -7),
        count(args.images, -7) {}

  void PointTo(NmsArgs* args) {
    args->found_boxes = boxes.data();
    args->found_scores = scores.data();
    args->labels = labels.data();
    args->count = count.data();
  }
};

bool Same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return x == y || (std::isnan(x) && std::isnan(y)); });
}

float Overlap(const float* a, const float* b) {
  const auto ready = [](const float* box) {
    return MakeIouBox<float>(IouKind::kIou, BoxFormat::kXyxy, {box[0], box[1], box[2], box[3]});
  };
  return PairIou<IouKind::kIou>(ready(a), ready(b));
}

// By what a soft rule multiplies the score of a box that overlaps one that is kept.
float Factor(float overlap, const NmsConfig& config) {
  if (config.rule == NmsRule::kLinear) return overlap > config.iou_threshold ? 1 - overlap : 1;
  return std::isnan(overlap) ? 1 : ExpOfNegative(-(overlap * overlap) / config.sigma);
}

// The plain rules: the best candidate of all, against all that are left; of which it takes either
// the score or a part of it.
void PlainImage(const NmsArgs& args, int64_t image, Found* found) {
  const NmsConfig& config = args.config;
  const int64_t K = args.boxes, C = args.classes, M = config.max_detections;
  const float* boxes = args.boxes_xyxy + image * K * 4;
  std::vector<float> scores(args.scores + image * K * C, args.scores + (image + 1) * K * C);
  std::vector<int64_t> left, kept;
  for (int64_t place = 0; place < K * C; ++place) left.push_back(place);
  const auto drop = [&](const auto& goes) {
    left.erase(std::remove_if(left.begin(), left.end(), goes), left.end());
  };
  for (;;) {
    drop([&](int64_t place) { return !(scores[place] > config.score_threshold); });
    if (left.empty() || static_cast<int64_t>(kept.size()) == M) break;
    const int64_t best = *std::max_element(  // of equal ones the first
        left.begin(), left.end(), [&](int64_t a, int64_t b) { return scores[a] < scores[b]; });
    kept.push_back(best);
    drop([&](int64_t place) {
      if (place == best || place % C != best % C) return place == best;
      const float overlap = Overlap(boxes + place / C * 4, boxes + best / C * 4);
      if (config.rule == NmsRule::kHard) return overlap > config.iou_threshold;
      scores[place] *= Factor(overlap, config);
      return scores[place] < std::numeric_limits<float>::min();
    });
  }
  const int64_t count = kept.size();
  found->count[image] = static_cast<int32_t>(count);
  for (int64_t i = 0; i < M; ++i) {
    const int64_t to = image * M + i;
    const bool none = i >= count;
    found->scores[to] = none ? 0 : scores[kept[i]];
    found->labels[to] = none ? 0 : static_cast<int32_t>(kept[i] % C);
    for (int64_t e = 0; e < 4; ++e) {
      const float* box = none ? nullptr : boxes + kept[i] / C * 4;
      float x = none ? 0 : box[e];
      if (!none && e >= 2 && x < box[e - 2]) x = box[e - 2];
      found->boxes[to * 4 + e] = args.config.clip && x < 0 ? 0 : args.config.clip && x > 1 ? 1 : x;
    }
  }
}

std::vector<float> Values(Bytes* in, int64_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(Value(in));
  return values;
}

void CheckNmsCall(Bytes* in) {
  NmsArgs args;
  args.config = {static_cast<float>(Value(in)), in->Below(9) / 8.0f, 1 + in->Below(40),
                 in->Below(2) == 0};
  args.config.rule = static_cast<NmsRule>(in->Below(3));
  const float sigmas[] = {0.5f, 0.1f, 3.0f, 1e-30f, 1e30f};
  args.config.sigma = sigmas[in->Below(5)];
  args.images = in->Below(4);
  args.boxes = in->Below(30);
  args.classes = in->Below(8);
  const bool cuda = in->Below(8) == 0;
  if (cuda && in->Below(4) == 0) {  // around the groups of boxes that a block takes at once
    args.images = 1;
    args.boxes = (1 + in->Below(2)) * 128 + in->Below(4) - 1;
    args.classes = 1 + in->Below(2);
    args.config.score_threshold = -1;  // most are candidates
    args.config.max_detections = 1 + in->Next() * 2;
  }
  if (args.config.rule != NmsRule::kHard)
    args.config.score_threshold = std::abs(args.config.score_threshold) / 4;
  const std::vector<float> boxes = Values(in, args.images * args.boxes * 4);
  const std::vector<float> scores = Values(in, args.images * args.boxes * args.classes);
  args.boxes_xyxy = boxes.data();
  args.scores = scores.data();
  Require(
      CheckNmsShapes({args.images, args.boxes, 4}, {args.images, args.boxes, args.classes}) == "",
      "fitting shapes are accepted");
  Require(CheckNmsShapes({args.images, args.boxes, 4}, {args.images, args.boxes + 1, 1}) != "",
          "other shapes are refused");

  Found want(args), whole(args), pieces(args), gpu(args);
  for (int64_t image = 0; image < args.images; ++image) PlainImage(args, image, &want);
  whole.PointTo(&args);
  Require(NmsCpu(args, 0, args.images) && NmsCpuCost(args) > 0, "memory, and a positive cost");
  pieces.PointTo(&args);
  for (int64_t image = args.images; image-- > 0;) Require(NmsCpu(args, image, image + 1), "memory");
  if (cuda) {
    std::vector<uint64_t> workspace((NmsWorkspace(args) + 7) / 8, 0xa5a5a5a5a5a5a5a5);
    gpu.PointTo(&args);
    Require(NmsCuda(args, workspace.data(), nullptr) == "", "a launch");
  }
  for (const Found* got : {&whole, &pieces, cuda ? &gpu : &whole})
    Require(Same(got->boxes, want.boxes) && Same(got->scores, want.scores) &&
                got->labels == want.labels && got->count == want.count,
            "what the plain rule keeps");
}

}  // namespace
}  // namespace yolov1

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [](yolov1::Bytes*) {
    return "score_threshold=0.001 iou_threshold=0.5 max_detections=300 clip=True "
           "suppression=linear sigma=0.5";
  };
  return yolov1::Fuzz(data, size, 4, text, yolov1::CheckNmsText, yolov1::CheckNmsCall);
}
