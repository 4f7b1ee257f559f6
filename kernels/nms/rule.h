// The parts of the rule that the CPU and the GPU must share to the bit.
#pragma once

#include <cstdint>

#include "kernels/core/activation.h"
#include "kernels/core/iou.h"
#include "kernels/core/macros.h"
#include "kernels/nms/kernel.h"

namespace yolov1 {

// Bits that rise with a score. Flipped so, those of floats are in the order of their values.
YOLOV1_HOST_DEVICE uint32_t RisingBits(float score) {
  const auto bits = BitCast<int32_t>(score + 0.0f);  // -0 and 0 are equal
  return static_cast<uint32_t>(bits ^ (bits >> 31 | INT32_MIN));
}

// Keys rise as the score falls, then by box and class, which `place` in [K, C] tells.
YOLOV1_HOST_DEVICE uint64_t NmsKey(uint32_t rising_bits, int64_t place) {
  return uint64_t{~rising_bits} << 32 | static_cast<uint64_t>(place);
}
YOLOV1_HOST_DEVICE int64_t PlaceOf(uint64_t key) { return static_cast<uint32_t>(key); }

// The score of a key, if it is positive: as all are under a soft rule.
YOLOV1_HOST_DEVICE float PositiveScoreOf(uint64_t key) {
  return BitCast<float>(~static_cast<uint32_t>(key >> 32) ^ 0x80000000u);
}

// A box [4], ready for pairs.
YOLOV1_HOST_DEVICE IouBox<float> NmsBox(const float* box) {
  const float x1 = box[2] < box[0] ? box[0] : box[2];  // an inverted box is empty
  const float y1 = box[3] < box[1] ? box[1] : box[3];
  return MakeIouBox<float>(IouKind::kIou, BoxFormat::kXyxy, {box[0], box[1], x1, y1});
}

// Whether a box goes where `kept` stays.
YOLOV1_HOST_DEVICE bool Suppresses(const IouBox<float>& kept, const IouBox<float>& box,
                                   float iou_threshold) {
  return PairIou<IouKind::kIou>(box, kept) > iou_threshold;
}

// What is left of a score where `kept`, a box of the same class, is kept first (Soft-NMS, Bodla et
// al., ICCV 2017, arXiv 1704.04503). Subnormal numbers are 0, which they are to TensorFlow's
// threads.
template <NmsRule rule>
YOLOV1_HOST_DEVICE float Decayed(float score, const IouBox<float>& kept, const IouBox<float>& box,
                                 const NmsConfig& config) {
  static_assert(rule != NmsRule::kHard);
  const float iou = PairIou<IouKind::kIou>(box, kept);  // a NaN is no overlap
  float factor;
  if constexpr (rule == NmsRule::kLinear) {
    factor = Select(iou > config.iou_threshold, 1.0f - iou, 1.0f);
  } else {
    factor = Select(iou > 0.0f, ExpOfNegative(-(iou * iou) / config.sigma), 1.0f);
  }
  const float left = score * factor;
  return Select(left < 0x1p-126f, 0.0f, left);
}

// The corners of a box that is found.
YOLOV1_HOST_DEVICE void WriteCorners(const IouBox<float>& box, bool clip, float* to) {
  // A NaN stays the one it is: a GPU's minimum would make its own of it.
  const auto clipped = [=](float x) { return clip && x == x ? Max(Min(x, 1.0f), 0.0f) : x; };
  to[0] = clipped(box.x0);
  to[1] = clipped(box.y0);
  to[2] = clipped(box.x1);
  to[3] = clipped(box.y1);
}

}  // namespace yolov1
