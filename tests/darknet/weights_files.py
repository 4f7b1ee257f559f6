"""Weights files made here, and the recipe of the reference's."""

import importlib.util
import json

import numpy as np

from tests.shared import shared
from yolov1.darknet import parse_cfg, plan, read_cfg, write_weights

SMALL = """[net]\nheight=6\nwidth=6\nchannels=2
[convolutional]\nfilters=3\nsize=3\npad=1\nbatch_normalize=1
[local]\nfilters=2\nsize=3\npad=1
[connected]\noutput=4
[connected]\noutput=5\nbatch_normalize=1
"""


def recipe():
    """The module that makes the reference's weights from a seed."""
    path = shared("golden", "darknet_full", "recipe.py")
    spec = importlib.util.spec_from_file_location("recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden(*parts):
    return json.loads(shared("golden", "darknet_full", *parts).read_text())


def expected_blocks(description):
    """{(layer, name): array} of a reference network."""
    return {(k, name): array for k, _, name, array in recipe().blocks(description)}


def micro_plan():
    return plan(read_cfg(shared("golden", "darknet_full", "headers", "micro.cfg")))


def drawn(layer):
    """Numbers for a layer's blocks, the same for the same layer."""
    rng = np.random.default_rng(layer.index)
    return {b.name: rng.standard_normal(b.shape, "float32") for b in layer.blocks}


def written(path, network, seen=0):
    write_weights(path, network, drawn, seen)
    return path


def small(text=SMALL):
    return plan(parse_cfg(text, "small.cfg"))


def by_name(blocks):
    return {(layer.index, name): a for layer, arrays in blocks for name, a in arrays.items()}
