"""The ops in plain TensorFlow, one to one with `yolov1.ops`: fallback, test truth and baseline."""

from yolov1.data.augmentation import draw as draw_augmentation
from yolov1.ops.reference.box_iou import aligned_iou, pairwise_iou
from yolov1.ops.reference.encode_targets import encode_targets
from yolov1.ops.reference.load_images import (
    augment_images,
    load_images,
    whole_pixels,
)
from yolov1.ops.reference.nms import non_max_suppression
from yolov1.ops.reference.yolo_loss import activate, encode, yolo_loss

__all__ = [
    "activate",
    "aligned_iou",
    "augment_images",
    "draw_augmentation",
    "encode",
    "encode_targets",
    "load_images",
    "non_max_suppression",
    "pairwise_iou",
    "whole_pixels",
    "yolo_loss",
]
