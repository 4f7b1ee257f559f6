// The text that configures the op, and what its inputs must look like.
#include "kernels/config.h"

#include <limits>

#include "kernels/nms/kernel.h"

namespace yolov1 {
namespace {

constexpr const char* kOp = "non_max_suppression";

}  // namespace

std::string ParseNmsConfig(std::string_view text, NmsConfig* config) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ConfigReader reader = {kOp, text};
  double score = 0, iou = 0;  // decimals become floats as TensorFlow's do: through a double
  reader.Read("score_threshold", "a number", -kInfinity, kInfinity, &score);
  reader.Read("iou_threshold", "a number from 0 to 1", 0.0, 1.0, &iou);
  reader.Read("max_detections", "an integer from 1 to 2^31 - 1", int64_t{1},
              int64_t{std::numeric_limits<int32_t>::max()}, &config->max_detections);
  reader.Choose("clip", {"False", "True"}, &config->clip);
  config->score_threshold = static_cast<float>(score);
  config->iou_threshold = static_cast<float>(iou);
  return reader.error;
}

// Every call comes through here: text is made only where there is something to say.
std::string CheckNmsShapes(const std::vector<int64_t>& boxes_xyxy,
                           const std::vector<int64_t>& scores) {
  const bool fit = boxes_xyxy.size() == 3 && scores.size() == 3 && boxes_xyxy[2] == 4 &&
                   boxes_xyxy[0] == scores[0] && boxes_xyxy[1] == scores[1];
  const std::string start = std::string(kOp) + ": ";
  if (!fit)
    return start + "boxes_xyxy must be [N, K, 4] and scores [N, K, C], got " +
           ShapeText(boxes_xyxy) + " and " + ShapeText(scores) + ".";
  // The kernel numbers the scores of an image with 32 bits.
  int64_t candidates;
  if (__builtin_mul_overflow(scores[1], scores[2], &candidates) || candidates > int64_t{1} << 32)
    return start + "an image must have at most 2^32 scores (K * C), got " + ShapeText(scores) +
           "; keep the best boxes beforehand.";
  return "";
}

}  // namespace yolov1
