"""A backbone out of ``keras.applications``, with a YOLOv1 head on top.

    models.build("applications:MobileNetV2", grid=grid, weights="imagenet", trainable=False)

The network takes images in [0, 1] like every other; each backbone's own preprocessing (BGR and
means for ResNet50, [-1, 1] for MobileNetV2, ...) is a layer inside.
"""

import inspect
import sys

import keras

from yolov1.grid import GridSpec
from yolov1.heads import conv_head
from yolov1.models.layers import AreaResample


def application_names() -> tuple[str, ...]:
    """The backbones of the installed Keras."""
    return tuple(name for name in dir(keras.applications) if inspect.isfunction(_get(name)))


@keras.saving.register_keras_serializable(package="yolov1")
class Preprocess(keras.layers.Layer):
    """Images in [0, 1] to what the named application was trained on; in float32."""

    def __init__(self, application, **kwargs):
        super().__init__(**kwargs | {"dtype": "float32"})
        self.application = application

    def call(self, inputs):
        # Every application's module has its own `preprocess_input`, for values in [0, 255].
        module = sys.modules[_get(self.application).__module__]
        return module.preprocess_input(inputs * 255.0, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"application": self.application}


def build_application(
    *,
    grid: GridSpec,
    application: str,
    weights: str | None = None,
    trainable: bool = True,
    layer: str | None = None,
    filters: int = 256,
    dropout: float = 0.0,
    activations="linear",
    prior=None,
) -> keras.Model:
    """A ``keras.applications`` backbone, one 3x3 convolution at grid resolution, a 1x1 head.

    Args:
        application: the name, such as ``MobileNetV2``.
        weights: None (random), ``"imagenet"`` (downloaded once by Keras), or the path of a weights
            file made for the backbone without its top.
        trainable: False freezes the backbone, with its batch statistics.
        layer: the backbone's layer to stand on; None takes the last one whose map is at least
            S x S and that no branch goes around: a fine grid is not blown up from a coarse map.
        filters: of the convolution in front of the head.
        dropout: of the features before the head.
        activations, prior: of the head, see `heads.conv_head`.

    Raises:
        ValueError: an unknown application or layer, an image size that Keras refuses, a grid finer
            than every map of the backbone.
        RuntimeError: the ImageNet weights could not be downloaded.
    """
    if application not in application_names():
        raise ValueError(
            f"models.build: keras.applications has no {application!r}; "
            f"it has {', '.join(application_names())}."
        )
    backbone = _features(
        _download(application, weights, (grid.image_size, grid.image_size, 3)), grid, layer
    )
    backbone.trainable = trainable

    images = keras.Input((grid.image_size, grid.image_size, 3), name="images", dtype="float32")
    x = backbone(Preprocess(application, name="preprocess")(images))
    x = AreaResample(grid.S, name="to_grid")(x)
    x = keras.layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name="neck"
    )(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="neck_norm")(x)
    x = keras.layers.LeakyReLU(negative_slope=0.1, name="neck_leaky")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    outputs = conv_head(x, grid, activations=activations, prior=prior)
    return keras.Model(images, outputs, name=application.lower())


def _get(application):
    return getattr(keras.applications, application)


def _download(application, weights, input_shape):
    try:
        return _get(application)(include_top=False, weights=weights, input_shape=input_shape)
    except ValueError:
        raise  # Keras' own words on sizes and paths
    except Exception as error:  # `get_file` raises a bare Exception
        raise RuntimeError(
            f"applications:{application}: the ImageNet weights could not be downloaded ({error}). "
            "Run once with a network (Keras keeps them in ~/.keras/models, which can be copied to "
            "another machine), pass weights=PATH of a weights file, or weights=None to start from "
            "random weights."
        ) from error


def _features(base, grid, name):
    """The part of `base` that ends in the named layer, or in the last one not below S x S."""
    layers = {  # not those that only prepare an image or pad a map
        op.name: op.output
        for op in base.operations  # ConvNeXt adds with a bare operation, which is no layer
        if len(op.output.shape) == 4
        and op.output.shape[-1] > 3
        and not isinstance(op, keras.layers.ZeroPadding2D)
    }
    if name is None:
        necks = _necks(base)
        fine = [
            key
            for key, output in layers.items()
            if key in necks and min(output.shape[1:3]) >= grid.S
        ]
        if not fine:
            side = max(min(output.shape[1:3]) for output in layers.values())
            raise ValueError(
                f"models.build: the finest map of {base.name} at {grid.image_size} px is {side} x "
                f"{side}, too coarse for S={grid.S}; raise image_size or lower S."
            )
        name = fine[-1]
    elif name not in layers:
        raise ValueError(
            f"models.build: {base.name} has no layer {name!r} with a map; "
            f"its last ones are {', '.join(list(layers)[-8:])}."
        )
    return keras.Model(base.input, layers[name], name="backbone")


def _necks(base) -> set[str]:
    """Names of the layers that every path through the network passes, with no branch around."""
    position = {id(op.output): k for k, op in enumerate(base.operations)}
    necks, reach = set(), len(position)  # the earliest output that a later operation reads
    for k, op in reversed(list(enumerate(base.operations))):
        if reach >= k:
            necks.add(op.name)
        for tensor in keras.tree.flatten(op.input) if k else ():
            reach = min(reach, position[id(tensor)])
    return necks
