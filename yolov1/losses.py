"""`YoloLoss` for Keras' `compile` and `fit`, and two metrics beside it.

`YoloTerms` are its five terms, `ResponsibleBoxes` how well the boxes fit that it holds responsible.
"""

import dataclasses

import keras
import tensorflow as tf

from yolov1.activations import resolve_activations
from yolov1.grid import GridSpec
from yolov1.ops import yolo_loss
from yolov1.responsible import responsible_boxes
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
        from_logits: whether ``y_pred`` is what the last layer of a network gives before its
            activations (`yolov1.models.logits`): then the loss activates it, and its gradient is by
            that.
        activations: of a network's head, as it takes them; read with `from_logits`.
        on_collision: which of several objects a cell keeps where ``y_true`` is `ops.Boxes`.

    ``y_true`` are targets ``[N, S, S, C + 5]``, or `ops.Boxes` where a loop of your own calls the
    loss (Keras' `fit` takes one tensor for one output). ``y_pred`` are predictions of any floating
    dtype, which the op takes as they are: under a mixed precision policy nothing is cast, gradients
    come back in the predictions' dtype, and the loss is float32 (float64 for float64 predictions).
    There is no ``dtype`` argument for that reason.

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
        from_logits=False,
        activations="softmax",
        on_collision="first",
    ):
        super().__init__(name=name, reduction=reduction)
        self.grid = grid or GridSpec()
        self.semantics = LossSemantics.of(semantics)
        self.layout = layout
        self.impl = impl
        self.from_logits = from_logits
        self.activations = resolve_activations(activations)
        self.on_collision = on_collision

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
        if targets is not None and targets is y_true and options == self.options:
            return terms
        return self._evaluate(y_true, y_pred, "none").terms

    def _op_takes_the_mean(self):
        """Whether the mean is the op's, so that in `fit` the gradient of its output is exactly one
        and the gradient op has nothing to multiply. Several replicas need Keras' scaling.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self.reduction in _MEANS and replicas == 1

    def _evaluate(self, y_true, y_pred, reduction):
        options = self.options
        output = yolo_loss(y_pred, y_true, reduction=reduction, **options)
        # Left on the predictions, where a metric of the same step finds them: a tensor never
        # changes, and belongs to one trace and one replica. A graph's terms on an eager tensor
        # would outlive their graph.
        if isinstance(y_pred, tf.Tensor) and isinstance(y_true, tf.Tensor):
            if getattr(y_pred, "graph", None) is getattr(output.terms, "graph", None):
                y_pred._yolov1_terms = (y_true, options, output.terms)
        return output

    @property
    def options(self):
        """What it hands to `yolov1.ops.yolo_loss` beside tensors and reduction."""
        names = ("grid", "semantics", "layout", "impl", "on_collision")
        activations = self.activations if self.from_logits else "linear"
        return {name: getattr(self, name) for name in names} | {"activations": activations}

    def get_config(self):
        return {
            **super().get_config(),
            **self.options,
            "grid": dataclasses.asdict(self.grid),
            "semantics": dataclasses.asdict(self.semantics),
            "from_logits": self.from_logits,
            "activations": self.activations,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["grid"] = GridSpec(**config["grid"])
        config["semantics"] = LossSemantics(**config["semantics"])
        return cls(**config)


class _MeansBesideLoss(keras.metrics.Metric):
    """Named means over what has been seen since the epoch began, computed with a loss's options.

    A subclass has its `NAMES` and `_sums`: of each image ``[N, len(NAMES)]`` sums, and the numbers
    of what has been summed. A mean over nothing is 0.
    """

    def __init__(self, loss, prefix, name, dtype):
        if not isinstance(loss, YoloLoss):
            raise TypeError(
                f"{type(self).__name__}: loss must be the YoloLoss that compile() gets, got "
                f"{type(loss).__name__}."
            )
        super().__init__(name=name, dtype=dtype)
        self.loss = loss
        self.prefix = prefix
        shape = (len(self.NAMES),)
        self.total = self.add_variable(shape, "zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable(shape, "zeros", dtype=self.dtype, name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        parts = (tf.cast(part, self.dtype) for part in self._sums(y_true, y_pred))
        if sample_weight is not None:
            weights = tf.reshape(tf.cast(sample_weight, self.dtype), [-1, 1])
            parts = (part * weights for part in parts)
        for state, part in zip((self.total, self.count), parts, strict=True):
            state.assign_add(tf.reduce_sum(part, axis=0))

    def result(self):
        means = keras.ops.divide_no_nan(self.total, self.count)
        names = [self.prefix + name for name in self.NAMES]
        return dict(zip(names, tf.unstack(means), strict=True))

    def get_config(self):
        config = {"loss": keras.losses.serialize(self.loss), "prefix": self.prefix}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.losses.deserialize(config["loss"])})


@keras.saving.register_keras_serializable(package="yolov1")
class YoloTerms(_MeansBesideLoss):
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

    NAMES = TERMS

    def __init__(self, loss, prefix="", name="yolo_terms", dtype=None):
        super().__init__(loss, prefix, name, dtype)

    def _sums(self, y_true, y_pred):
        terms = self.loss.terms(y_true, y_pred)
        return terms, tf.ones_like(terms)


@keras.saving.register_keras_serializable(package="yolov1")
class ResponsibleBoxes(_MeansBesideLoss):
    """How well the boxes that the loss holds responsible fit, as Darknet prints it for each batch.

        model.compile(optimizer, loss=loss, metrics=[YoloTerms(loss), ResponsibleBoxes(loss)])

    The logs then have, as means over the objects seen since the epoch began (0 without any):

    - ``iou`` of object and responsible box, and ``recall50``, ``recall75``: the shares of objects
      where it is above 0.5 and above 0.75;
    - ``class_probability`` for the object's class, and ``any_class_probability``: over all classes;
    - ``object_confidence`` of the responsible box;

    and ``any_confidence``, the mean over all boxes. `yolov1.responsible` defines them. An object
    is one that is in the targets: of several in one cell the encoder keeps one.

    Arguments, errors and weights are those of `YoloTerms`; a weighted image lends its weight to its
    objects. The metric looks at the predictions a second time, in plain TensorFlow.
    """

    NAMES = (
        *("iou", "recall50", "recall75", "class_probability", "any_class_probability"),
        *("object_confidence", "any_confidence"),
    )

    def __init__(self, loss, prefix="", name="responsible_boxes", dtype=None):
        super().__init__(loss, prefix, name, dtype)

    @property
    def objects(self):
        """The number of objects seen, or the sum of their weights."""
        return self.count[0]

    def _sums(self, y_true, y_pred):
        fit = responsible_boxes(y_pred, y_true, **self.loss.options)
        dtype = fit.iou.dtype
        over_objects = (
            *(fit.iou, tf.cast(fit.iou > 0.5, dtype), tf.cast(fit.iou > 0.75, dtype)),
            *(fit.class_probability, fit.any_class_probability, fit.object_confidence),
        )
        sums = [tf.reduce_sum(values, axis=1) for values in over_objects]
        objects = tf.reduce_sum(tf.cast(fit.has_object, dtype), axis=1)
        counts = [objects] * len(sums) + [tf.ones_like(objects)]
        return tf.stack([*sums, fit.any_confidence], axis=1), tf.stack(counts, axis=1)
