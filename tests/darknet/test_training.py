"""Five updates of Darknet's own training, with the network, loss, step and optimizer of a run."""

from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared
from yolov1 import darknet, ops
from yolov1.darknet.network import load, save
from yolov1.darknet.weights import read_blocks
from yolov1.heads import cells_to_planes
from yolov1.training import TrainConfig, cfg_files
from yolov1.training.checkpoints import Progress
from yolov1.training.optimizers import build_optimizer
from yolov1.training.state import State
from yolov1.training.step import make_step
from yolov1.training.tasks import TASKS

NETWORKS = ("tiny8", "v1_8", "paper")
PARTS, BATCH = 2, 8


class Case(NamedTuple):
    """A golden training: its plan, what Darknet recorded, and our state with what makes a step."""

    plan: object
    golden: dict
    state: State
    config: TrainConfig
    targets: np.ndarray
    masks: object


class Masks:
    """Dropout that keeps what Darknet's kept: part after part, one call after another."""

    def __init__(self, model, golden):
        names = [name for name in golden if name.startswith("dropout_kept")]
        self.kept = self.calls = None
        if not names:
            return
        (name,) = names
        layer = model.get_layer(f"{name[-3:]}_dropout")
        kept = golden[name].astype(
            np.float32
        )  # [steps, parts, n, unit], a unit's place as (c, h, w)
        shape = tuple(layer.input.shape[1:])
        if len(shape) == 3:
            h, w, c = shape  # Darknet's units are in the order (c, h, w)
            kept = kept.reshape(*kept.shape[:3], c, h, w).transpose(0, 1, 2, 4, 5, 3)
        self.kept = tf.constant(kept.reshape(-1, *kept.shape[2:]))
        self.calls = tf.Variable(0)

        def call(inputs, training=None):
            mask = self.kept[self.calls]
            self.calls.assign_add(1)
            return inputs * mask / (1 - layer.rate)

        layer.call = call

    def go_to(self, step):
        if self.calls is not None:
            self.calls.assign(step * PARTS)


def opened(name, gradient="darknet", jit=False):
    folder = shared("golden", "darknet_full", "train")
    cfg = folder / f"{name}.cfg"
    with np.load(folder / f"{name}.npz") as file:
        golden = {key: file[key] for key in file.files}
    values = {
        "model": f"darknet:{cfg}",
        "schedule": f"darknet:{cfg}",
        "optimizer": "darknet",
        "batch_size": BATCH,
        "subdivisions": PARTS,
        "epochs": len(golden["rate"]),
        "clip_norm": 0.0,
        "ema": 0.0,
        "jit_compile": jit,
    }
    fixed, defaults = cfg_files.fields(values)
    config = TrainConfig(**values | fixed | defaults)
    plan = darknet.plan(darknet.read_cfg(cfg))
    model = load(cfg, folder / f"{name}.weights", batch_norm_gradient=gradient)
    optimizer = build_optimizer(config, steps_per_epoch=1)
    optimizer.build(model.trainable_variables)
    progress = Progress(len(TASKS["detect"].terms))
    state = State(tf.distribute.get_strategy(), model, optimizer, None, progress, None)
    classes = plan.classes
    truth = golden["truth"]  # object, classes, box
    targets = np.concatenate(
        [truth[..., 1 : 1 + classes], truth[..., :1], truth[..., 1 + classes :]], axis=-1
    )
    return Case(plan, golden, state, config, targets, Masks(model, golden))


def delta(case, predictions, targets):
    """Minus the gradient of the sum of the images' losses: Darknet's ``delta``."""
    with tf.GradientTape() as tape:
        predictions = tf.convert_to_tensor(predictions)
        tape.watch(predictions)
        loss = ops.yolo_loss(
            *(predictions, tf.constant(targets)),
            grid=case.plan.grid,
            semantics=case.config.loss_semantics(),
        ).loss
        loss = tf.reduce_sum(loss)  # of the images
    return -tape.gradient(loss, predictions).numpy()


def blocks_of(case, tmp_path):
    """Every parameter, as Darknet would read it from the file that we write."""
    save(case.state.model, tmp_path / "now.cfg", tmp_path / "now.weights")
    return {
        f"l{layer.index:02}_{name}": np.array(array).ravel()
        for layer, arrays in read_blocks(tmp_path / "now.weights", case.plan)
        for name, array in arrays.items()
    }


def difference(got, expected):
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def followed(case, tmp_path, steps=5):
    """Takes the steps; the largest difference of a block's gradient, and after each step of a
    parameter, relative to the block's largest value: ``{"gradient": (x, block), 0: ..., ...}``."""
    golden, state = case.golden, case.state
    step = make_step(case.config, case.plan.grid, state, keep_predictions=True)
    worst = {}
    decay = case.config.weight_decay
    before = blocks_of(case, tmp_path)
    for k in range(steps):
        case.masks.go_to(k)
        images = golden["images"][k].astype(np.float32) / 255
        terms, _, rate, predictions = step(tf.constant(images), tf.constant(case.targets[k]))
        assert rate.numpy() == golden["rate"][k]
        assert int(state.progress.step) * BATCH == golden["seen"][k]
        assert terms.shape == (BATCH, len(TASKS["detect"].terms))
        deltas = delta(case, predictions, case.targets[k]).reshape(PARTS, -1)
        cost = np.square(deltas).sum(axis=1)
        worst[f"cost {k}"] = difference(cost, golden["cost"][k]), "cost"
        if k == 0:
            momenta = of_momenta(case, tmp_path)
            worst["gradient"] = max(
                (
                    difference(
                        -BATCH * (momenta[name] - decay * before[name] * name.endswith("weights")),
                        golden[f"gradient_{name}"],
                    ),
                    name,
                )
                for name in momenta
                if f"gradient_{name}" in golden
            )
        now = blocks_of(case, tmp_path)
        compared = [(difference(now[n], golden[f"step{k}_{n}"]), n) for n in now]
        assert len(compared) == sum(key.startswith(f"step{k}_") for key in golden)
        worst[k] = max(compared)
    return worst


def of_momenta(case, tmp_path):
    """The optimizer's momenta in the places of the variables they are of, as Darknet's blocks."""
    model, optimizer = case.state.model, case.state.optimizer
    kept = [v.numpy() for v in model.trainable_variables]
    for variable, momentum in zip(model.trainable_variables, optimizer.momenta, strict=True):
        variable.assign(momentum)
    found = blocks_of(case, tmp_path)
    for variable, value in zip(model.trainable_variables, kept, strict=True):
        variable.assign(value)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_part_is_darknets(name):
    case = opened(name)
    golden, model = case.golden, case.state.model
    for layer in model.layers:
        if "batch_normalization" in layer.name:
            layer.moving_mean.assign(0 * layer.moving_mean)
            layer.moving_variance.assign(0 * layer.moving_variance)
    n = BATCH // PARTS
    predictions = model(golden["images"][0, :n].astype(np.float32) / 255, training=True)
    planes = keras.ops.convert_to_numpy(cells_to_planes(predictions, case.plan.grid))
    assert difference(planes, golden["first_output"]) < 1e-5
    deltas = cells_to_planes(delta(case, predictions, case.targets[0, :n]), case.plan.grid)
    assert difference(deltas.numpy(), golden["first_delta"]) < 1e-5
    seen = 0
    for key in golden:
        if key.startswith("first_l"):
            _, layer, what = key.split("_")
            moved = getattr(model.get_layer(f"{layer}_batch_normalization"), f"moving_{what}")
            assert difference(100 * moved.numpy(), golden[key]) < 1e-5, key
            seen += 1
    assert seen == {"tiny8": 10, "v1_8": 10, "paper": 0}[name]


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("name", "jit"),
    [*((name, False) for name in NETWORKS), pytest.param("v1_8", True, marks=pytest.mark.slow)],
)
def test_five_updates_are_darknets(name, jit, tmp_path):
    worst = followed(opened(name, jit=jit), tmp_path)
    limit = 1e-5 if name == "paper" else 1e-4
    assert max(value for value, _ in worst.values()) < limit, worst


@pytest.mark.slow
def test_with_the_exact_gradient_of_batch_normalisation_they_are_not(tmp_path):
    """What the odd backward pass is for."""
    worst = followed(opened("tiny8", gradient="exact"), tmp_path)
    assert worst["gradient"][0] > 1e-3 and worst[4][0] > 1e-3, worst
