"""`YoloLoss`: the loss for Keras' `compile` and `fit`."""

import dataclasses

import keras

from yolov1.grid import GridSpec
from yolov1.ops import yolo_loss
from yolov1.semantics import LossSemantics


@keras.saving.register_keras_serializable(package="yolov1")
class YoloLoss(keras.losses.Loss):
    """One loss for each image, so that `sample_weight` works; Keras takes the mean.

    Args:
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` for predictions ``[N, S, S, D]``, ``"planes"`` for ``[N, S * S * D]``.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``; see `yolov1.ops.yolo_loss`.
        reduction: as in every Keras loss; the default is the mean over the images.

    ``y_true`` are targets ``[N, S, S, C + 5]``, ``y_pred`` predictions.
    """

    def __init__(
        self,
        grid=None,
        semantics="paper",
        layout="cells",
        impl="auto",
        reduction="sum_over_batch_size",
        name="yolo_loss",
        **kwargs,
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.grid = grid or GridSpec()
        self.semantics = LossSemantics.of(semantics)
        self.layout = layout
        self.impl = impl

    def call(self, y_true, y_pred):
        return yolo_loss(
            y_pred,
            y_true,
            grid=self.grid,
            semantics=self.semantics,
            layout=self.layout,
            impl=self.impl,
        ).loss

    def get_config(self):
        return {
            **super().get_config(),
            "grid": dataclasses.asdict(self.grid),
            "semantics": dataclasses.asdict(self.semantics),
            "layout": self.layout,
            "impl": self.impl,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["grid"] = GridSpec(**config["grid"])
        config["semantics"] = LossSemantics(**config["semantics"])
        return cls(**config)
