"""The framework-free kernels on NumPy arrays: no TensorFlow is needed, or imported.

The extension module behind this package is built with it; without TensorFlow build it with
``YOLOV1_TENSORFLOW=OFF pip install --no-deps --no-build-isolation .``
"""

from yolov1.kernels._module import (
    DTYPES,
    build_info,
    call,
    compare_sources,
    extension,
    ffi_targets,
    shape_text,
)
from yolov1.kernels.augmentation import draw_config, encode_targets_config
from yolov1.kernels.box_iou import (
    BOX_FORMATS,
    KINDS,
    aligned_iou,
    aligned_iou_gradient,
    box_iou_config,
    box_iou_versions,
    box_iou_workspace,
    check_box_iou,
    check_mask,
    pairwise_iou,
    pairwise_iou_gradient,
)
from yolov1.kernels.load_images import (
    IMAGE_DTYPES,
    Pixels,
    augment_images_config,
    check_images,
    check_views,
    load_images_config,
)
from yolov1.kernels.nms import nms_config, nms_workspace, non_max_suppression
from yolov1.kernels.yolo_loss import (
    COLLISION_RULES,
    LAYOUTS,
    Boxes,
    activation_key,
    activations_of,
    check_boxes,
    check_collision,
    check_reduction,
    check_shapes,
    prediction_shape,
    yolo_loss,
    yolo_loss_config,
    yolo_loss_versions,
)

__all__ = [
    "BOX_FORMATS",
    "Boxes",
    "COLLISION_RULES",
    "DTYPES",
    "IMAGE_DTYPES",
    "KINDS",
    "LAYOUTS",
    "Pixels",
    "activation_key",
    "activations_of",
    "aligned_iou",
    "aligned_iou_gradient",
    "augment_images_config",
    "box_iou_config",
    "box_iou_versions",
    "box_iou_workspace",
    "build_info",
    "call",
    "check_box_iou",
    "check_boxes",
    "check_collision",
    "check_images",
    "check_mask",
    "check_reduction",
    "check_shapes",
    "check_views",
    "compare_sources",
    "draw_config",
    "encode_targets_config",
    "extension",
    "ffi_targets",
    "load_images_config",
    "nms_config",
    "nms_workspace",
    "non_max_suppression",
    "pairwise_iou",
    "pairwise_iou_gradient",
    "prediction_shape",
    "shape_text",
    "yolo_loss",
    "yolo_loss_config",
    "yolo_loss_versions",
]
