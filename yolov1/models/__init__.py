"""Networks: images ``[N, image_size, image_size, 3]`` in [0, 1] to predictions ``[N, S, S, D]``.

    model = models.build("laptop", grid=GridSpec(S=7, B=2, C=3, image_size=112), width=1.5)

Predictions have the canonical channel order (classes, confidences, boxes) and are float32 under
every mixed precision policy. Kernels carry no regulariser (decay belongs to the trainer), but for
the posts' networks as published.

``import yolov1.models`` is all that ``keras.models.load_model`` needs to read a saved network.
"""

import inspect

import keras

from yolov1.activations import ACTIVATIONS
from yolov1.darknet.network import build_for_grid
from yolov1.grid import GridSpec
from yolov1.heads import (
    ActivateCells,
    YoloReshape,
    cells_to_planes,
    planes_to_cells,
)
from yolov1.models.applications import build_application
from yolov1.models.classifier import copy_backbone, copy_fitting, on_top_of
from yolov1.models.cost import multiply_adds
from yolov1.models.laptop import build_laptop
from yolov1.models.paper import build_fast, build_paper
from yolov1.models.posts import build_keras_voc, build_tf2_person
from yolov1.models.pyramid import build_pyramid
from yolov1.option_text import wrong_kind
from yolov1.semantics import LossSemantics

__all__ = [
    "ACTIVATIONS",
    "NAMES",
    "ActivateCells",
    "YoloReshape",
    "activations_of",
    "build",
    "build_classifier",
    "check_options",
    "cells_to_planes",
    "copy_backbone",
    "copy_fitting",
    "grid_of",
    "logits",
    "multiply_adds",
    "options_of",
    "planes_to_cells",
    "semantics_of",
]

_BUILDERS = {
    "paper": build_paper,
    "fast": build_fast,
    "laptop": build_laptop,
    "pyramid": build_pyramid,
    "keras_voc": build_keras_voc,
    "tf2_person": build_tf2_person,
}
# prefix of a name -> (builder, its argument that the rest of the name is, what that rest is)
_PREFIXES = {
    "applications:": (build_application, "application", "NAME"),
    "darknet:": (build_for_grid, "cfg", "CFG"),
}
NAMES = (*_BUILDERS, *(prefix + rest for prefix, (_, _, rest) in _PREFIXES.items()))


def build(name: str, *, grid: GridSpec | None = None, **options) -> keras.Model:
    """Builds an untrained network.

    Args:
        name: one of `NAMES`; ``applications:NAME`` takes any model of ``keras.applications``,
            ``darknet:CFG`` the path of a Darknet cfg.
        grid: geometry; fixes the input size, the grid and the channels of the output. That of a
            cfg may be None; else it must be the cfg's.
        **options: the named network's own; `options_of(name)` lists them with their defaults.

    Raises:
        ValueError: an unknown name, an unknown option, or a value that the network refuses.
        TypeError: a network without a grid of its own, and none given.
    """
    check_options(name, options)
    builder, fixed = _builder(name)
    if grid is None and inspect.signature(builder).parameters["grid"].default is not None:
        raise TypeError(f"models.build: {name!r} needs grid=, the geometry it is built for.")
    return builder(grid=grid, **fixed, **options)


def build_classifier(name: str, *, grid: GridSpec, activations=None, **options) -> keras.Model:
    """Builds the part of a network that is pretrained, with a classifier on top.

    Args:
        name, options: as `build` takes them.
        grid: its C is the number of classes, its image_size the side of the input.
        activations: of the detector's head, which is not used here.

    Returns:
        Images in [0, 1] to logits float32 ``[N, C]``; `copy_backbone` moves the weights on.

    Raises:
        ValueError: as `build`, or a network that has no part to pretrain.
    """
    return on_top_of(build(name, grid=grid, **options), name, grid)


def options_of(name: str) -> dict:
    """The options that `build` takes for this network, with their defaults.

    Raises:
        ValueError: an unknown name.
    """
    builder, fixed = _builder(name)
    parameters = inspect.signature(builder).parameters
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if key != "grid" and key not in fixed
    }


def check_options(name: str, options: dict):
    """Refuses what `build` would refuse without a look at the grid.

    Raises:
        ValueError: an unknown name, an unknown option, or a value that is not of the kind of the
            option's default.
    """
    known = options_of(name)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"models.build: {name!r} has no option {', '.join(map(repr, unknown))}; "
            f"its options are {', '.join(known)}."
        )
    for option, value in options.items():
        kind = wrong_kind(value, known[option])
        if kind:
            raise ValueError(f"models.build: {option} of {name!r} must be {kind}, got {value!r}.")


def grid_of(model: keras.Model) -> GridSpec:
    """The geometry that a network was built for, also after saving and loading it.

    Raises:
        ValueError: the model does not end in `ActivateCells`.
    """
    last = _last(model, "grid_of", " Pass grid= where you call this from.")
    return GridSpec(S=model.output_shape[1], B=last.B, C=last.C, image_size=model.input_shape[1])


def logits(model: keras.Model) -> keras.Model:
    """The same network, with the same layers and weights, without its last activations.

    What is trained with ``YoloLoss(from_logits=True)`` or ``ops.yolo_loss(activations=...)``, where
    the activations are those of `activations_of`; detectors take the network itself.

    Raises:
        ValueError: the model does not end in `ActivateCells`.
    """
    last = _last(model, "logits")
    linear = type(last).from_config(last.get_config() | {"activations": "linear"})
    return keras.Model(model.inputs[0], linear(last.input), name=f"{model.name}_logits")


def activations_of(model: keras.Model) -> dict[str, str]:
    """The activations in a network's last layer, by block.

    Raises:
        ValueError: the model does not end in `ActivateCells`.
    """
    return dict(_last(model, "activations_of").activations)


def semantics_of(model) -> LossSemantics | None:
    """What a network says of its own outputs and loss: the semantics of the Darknet cfg that it is
    from, also after saving and loading it. None of all others, which can be trained with any."""
    layers = getattr(model, "layers", None)
    return getattr(layers[-1], "semantics", None) if layers else None


def _last(model, function, advice=""):
    last = model.layers[-1]
    if not isinstance(last, ActivateCells):
        raise ValueError(
            f"models.{function}: the model must end in an ActivateCells layer, as models.build's "
            f"do, got {type(last).__name__}.{advice}"
        )
    return last


def _builder(name: str):
    """The function that builds a network, and the arguments that its name gives it."""
    for prefix, (builder, argument, _) in _PREFIXES.items():
        if name.startswith(prefix):
            return builder, {argument: name[len(prefix) :]}
    if name not in _BUILDERS:
        raise ValueError(f"models.build: no network {name!r}; there are {', '.join(NAMES)}.")
    return _BUILDERS[name], {}
