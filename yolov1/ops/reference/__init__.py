"""The ops in plain TensorFlow, one to one with `yolov1.ops`: fallback, test truth and baseline."""

from yolov1.ops.reference.box_iou import aligned_iou, pairwise_iou
from yolov1.ops.reference.nms import non_max_suppression
from yolov1.ops.reference.yolo_loss import yolo_loss

__all__ = ["aligned_iou", "non_max_suppression", "pairwise_iou", "yolo_loss"]
