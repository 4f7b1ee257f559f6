"""`YoloLoss` for Keras' `compile` and `fit`, and `YoloTerms`: its five terms as metrics."""

import dataclasses

import keras
import tensorflow as tf

from yolov1.grid import GridSpec
from yolov1.ops import yolo_loss
from yolov1.semantics import TERMS, LossSemantics

# Of Keras' reductions, those that are the mean over the images where no image has a weight.
_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


@keras.saving.register_keras_serializable(package="yolov1")
class YoloLoss(keras.losses.Loss):
    """The YOLO loss, by default its mean over the images.

    Args:
        grid: the `GridSpec`.
        semantics: a `LossSemantics` or a preset's name.
        layout: ``"cells"`` for predictions ``[N, S, S, D]``, ``"planes"`` for ``[N, S * S * D]``.
        impl: ``"auto"``, ``"fused"`` or ``"reference"``; see `yolov1.ops.yolo_loss`.
        reduction: as in every Keras loss.

    ``y_true`` are targets ``[N, S, S, C + 5]``, ``y_pred`` predictions of any floating dtype, which
    the op takes as they are: under a mixed precision policy nothing is cast, gradients come back in
    the predictions' dtype, and the loss is float32 (float64 for float64 predictions). There is no
    ``dtype`` argument for that reason.

    ``sample_weight`` ``[N]`` weighs images as in every Keras loss: the default reduction sums
    weight times loss and divides by N.

    Under a `tf.distribute` strategy each replica takes the mean over its share of the batch,
    divided by the number of replicas, as every Keras loss does. Where the shares are equal the
    gradients are those of one device with the whole batch; a last batch that cannot be shared
    equally weighs its images unequally (drop it: ``batch(..., drop_remainder=True)``).
    """

    def __init__(
        self,
        grid=None,
        semantics="paper",
        layout="cells",
        impl="auto",
        reduction="sum_over_batch_size",
        name="yolo_loss",
    ):
        super().__init__(name=name, reduction=reduction)
        self.grid = grid or GridSpec()
        self.semantics = LossSemantics.of(semantics)
        self.layout = layout
        self.impl = impl

    @property
    def dtype(self):
        """None, by which Keras casts neither predictions nor targets nor the loss."""
        return None

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None and self._op_takes_the_mean():
            return self._evaluate(y_true, y_pred, "mean").loss
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        """One loss for each image, ``[N]``."""
        return self._evaluate(y_true, y_pred, "none").loss

    def terms(self, y_true, y_pred):
        """The terms ``[N, 5]`` in the order of `yolov1.semantics.TERMS`; they sum to `call`.

        Where a loss with the same options has been computed of these two tensors, nothing is
        computed again.
        """
        targets, options, terms = getattr(y_pred, "_yolov1_terms", (None, None, None))
        if targets is not None and targets is y_true and options == self._options():
            return terms
        return self._evaluate(y_true, y_pred, "none").terms

    def _op_takes_the_mean(self):
        """Whether the mean is the op's, so that in `fit` the gradient of its output is exactly one
        and the gradient op has nothing to multiply. Several replicas need Keras' scaling.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self.reduction in _MEANS and replicas == 1

    def _evaluate(self, y_true, y_pred, reduction):
        options = self._options()
        output = yolo_loss(y_pred, y_true, reduction=reduction, **options)
        # Left on the predictions, where a metric of the same step finds them: a tensor never
        # changes, and belongs to one trace and one replica. A graph's terms on an eager tensor
        # would outlive their graph.
        if isinstance(y_pred, tf.Tensor) and isinstance(y_true, tf.Tensor):
            if getattr(y_pred, "graph", None) is getattr(output.terms, "graph", None):
                y_pred._yolov1_terms = (y_true, options, output.terms)
        return output

    def _options(self):
        names = ("grid", "semantics", "layout", "impl")
        return {name: getattr(self, name) for name in names}

    def get_config(self):
        return {
            **super().get_config(),
            **self._options(),
            "grid": dataclasses.asdict(self.grid),
            "semantics": dataclasses.asdict(self.semantics),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["grid"] = GridSpec(**config["grid"])
        config["semantics"] = LossSemantics(**config["semantics"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="yolov1")
class YoloTerms(keras.metrics.Metric):
    """The loss's terms, as means over the images seen since the epoch began.

        loss = YoloLoss(grid=grid)
        model.compile(optimizer, loss=loss, metrics=[YoloTerms(loss)])

    The logs then have ``xy``, ``wh``, ``object``, ``no_object`` and ``class`` beside ``loss``, of
    which they are the parts, and ``val_xy`` and so on for validation data. The loss of a step
    leaves its terms for the metric, so the op runs once; without such a loss the metric runs it
    itself. As with every metric, take a new one for each `compile`: Keras does not reset an old
    one before its first epoch. `evaluate` names the values with ``return_dict=True``.

    Args:
        loss: the `YoloLoss`.
        prefix: goes before each name in the logs, for models with several losses.

    In ``metrics=`` every image counts once, whatever ``sample_weight`` says. In
    ``weighted_metrics=`` the result is as for every Keras metric: the sum of weight times term,
    divided by the sum of the weights (a loss divides by the number of images).

    Raises:
        TypeError: `loss` is not a `YoloLoss`.
    """

    def __init__(self, loss, prefix="", name="yolo_terms", dtype=None):
        if not isinstance(loss, YoloLoss):
            raise TypeError(
                "YoloTerms: loss must be the YoloLoss that compile() gets, got "
                f"{type(loss).__name__}."
            )
        super().__init__(name=name, dtype=dtype)
        self.loss = loss
        self.prefix = prefix
        self.total = self.add_variable((len(TERMS),), "zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable((), "zeros", dtype=self.dtype, name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        terms = tf.cast(self.loss.terms(y_true, y_pred), self.dtype)
        if sample_weight is None:
            count = tf.cast(tf.shape(terms)[0], self.dtype)
        else:
            weights = tf.reshape(tf.cast(sample_weight, self.dtype), [-1, 1])
            terms, count = terms * weights, tf.reduce_sum(weights)
        self.total.assign_add(tf.reduce_sum(terms, axis=0))
        self.count.assign_add(count)

    def result(self):
        means = keras.ops.divide_no_nan(self.total, self.count)
        names = [self.prefix + name for name in TERMS]
        return dict(zip(names, tf.unstack(means), strict=True))

    def get_config(self):
        config = {"loss": keras.losses.serialize(self.loss), "prefix": self.prefix}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.losses.deserialize(config["loss"])})
