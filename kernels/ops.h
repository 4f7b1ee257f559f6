// The table of ops: a line here for each, which its op.cc defines.
#pragma once

#include "kernels/op.h"

namespace yolov1 {

YOLOV1_EXPORT extern const Op kYoloLoss, kYoloLossOfBoxes, kYoloLossGrad;
YOLOV1_EXPORT extern const Op kPairwiseIou, kPairwiseIouGrad, kAlignedIou, kAlignedIouGrad;
YOLOV1_EXPORT extern const Op kNonMaxSuppression;
YOLOV1_EXPORT extern const Op kLoadImages, kAugmentImages, kDrawAugmentation, kEncodeTargets;

inline constexpr const Op* kOps[] = {
    &kYoloLoss,        &kYoloLossOfBoxes, &kYoloLossGrad,     &kPairwiseIou,
    &kPairwiseIouGrad, &kAlignedIou,      &kAlignedIouGrad,   &kNonMaxSuppression,
    &kLoadImages,      &kAugmentImages,   &kDrawAugmentation, &kEncodeTargets,
};

}  // namespace yolov1
