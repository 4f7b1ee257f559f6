"""The ops: fused kernels, each beside a pure-TensorFlow reference that is one argument away.

`impl=` chooses: ``"fused"``, ``"reference"``, or ``"auto"``, which takes the fused kernel where it
exists for the device and dtype and the reference elsewhere.
"""

from yolov1.kernels import Boxes, Pixels
from yolov1.ops._library import LibraryUnavailable, available, load
from yolov1.ops.box_iou import aligned_iou, pairwise_iou
from yolov1.ops.draw_augmentation import draw_augmentation
from yolov1.ops.encode_targets import encode_targets
from yolov1.ops.load_images import augment_images, load_images
from yolov1.ops.nms import non_max_suppression
from yolov1.ops.yolo_loss import YoloLossOutput, yolo_loss

__all__ = [
    "Boxes",
    "LibraryUnavailable",
    "Pixels",
    "YoloLossOutput",
    "aligned_iou",
    "augment_images",
    "available",
    "draw_augmentation",
    "encode_targets",
    "load",
    "load_images",
    "non_max_suppression",
    "pairwise_iou",
    "yolo_loss",
]
