"""Weights files made here, and the recipe of the reference's."""

import importlib.util
import json

import numpy as np

from tests.shared import shared
from yolov1.darknet import plan, read_cfg, write_weights


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
