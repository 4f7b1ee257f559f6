"""Losses compared: held to the op, to numbers by hand, and to a training's first step."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments.lib import losses
from tests.ops.loss_cases import random_case
from yolov1 import ops
from yolov1.grid import GridSpec
from yolov1.semantics import LossSemantics

GRID = GridSpec(S=3, B=2, C=4, image_size=24)


class Scaled(keras.layers.Layer):
    """A network of one weight: its outputs are the "images" times that."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, images):
        return images * self.scale


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input(GRID.prediction_shape)
    return keras.Model(inputs, Scaled()(inputs))


def compared(model, text, outputs=None, targets=None, **options):
    if outputs is None:
        outputs, targets = random_case(GRID, 3, 0.5)
    return losses.compare(model, outputs, targets, GRID, losses.parse(text), **options)


def one_object(outputs_of_box, confidence=0.5):
    """One image, an object of a quarter of its area in the middle cell, and outputs of box 0."""
    outputs = np.zeros((1, *GRID.prediction_shape), np.float32)
    targets = np.zeros((1, *GRID.target_shape), np.float32)
    targets[0, 1, 1] = [1, 0, 0, 0, 1, 0.5, 0.5, 0.5, 0.5]
    outputs[0, 1, 1, GRID.C] = confidence
    outputs[0, 1, 1, GRID.box_channels.start :][:4] = outputs_of_box
    return outputs, targets


def test_names():
    found = losses.parse("paper, darknet,paper:box=ciou,weight_xy=1,tf2_person,wh=plain")
    assert list(found) == ["paper", "darknet", "paper:box=ciou,weight_xy=1", "tf2_person:wh=plain"]
    assert found["paper:box=ciou,weight_xy=1"] == LossSemantics(box="ciou", weight_xy=1)
    for text, named in (
        ("", "''"),
        ("box=ciou", "'box=ciou'"),
        ("paper,paper", "each once"),
        ("mine", "'mine'"),
        ("paper:boxes=ciou", "'boxes'"),
        ("paper:box=square", "'square'"),
    ):
        with pytest.raises(ValueError, match=named):
            losses.parse(text)


@pytest.mark.each_value
@pytest.mark.parametrize("impl", ["fused", "reference"])
@pytest.mark.parametrize("name", ["paper", "darknet", "keras_voc", "tf2_person", "paper:box=giou"])
def test_each_is_the_op(model, name, impl):
    outputs, targets = random_case(GRID, 3, 0.5)
    (one,) = compared(model, name, impl=impl).values()
    variable = tf.Variable(outputs)
    with tf.GradientTape() as tape:
        loss, terms = ops.yolo_loss(
            variable, targets, grid=GRID, semantics=one.semantics, impl=impl
        )
    gradient = tape.gradient(loss, variable).numpy()
    np.testing.assert_array_equal(one.by_outputs[0], gradient / np.float32(3))
    np.testing.assert_allclose(one.terms, tf.reduce_mean(terms, 0), rtol=1e-6)
    np.testing.assert_allclose(one.loss, tf.reduce_mean(loss), rtol=1e-6)
    # The chain rule by hand: the outputs are the images times the weight.
    by_hand = np.vdot(np.float64(gradient) / 3, outputs)
    np.testing.assert_allclose(one.by_weights[0], by_hand, rtol=1e-5)
    # A term's gradient is what is left where the others weigh nothing; they add up to the whole.
    parts = [
        compared_term(variable, targets, losses.of_term(one.semantics, term), impl) / 3
        for term in ("xy", "wh", "object", "no_object", "class")
    ]
    np.testing.assert_allclose(sum(parts), gradient / 3, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.output_norms, [np.linalg.norm(p) for p in parts], rtol=1e-5)
    weights = [abs(np.vdot(np.float64(part), outputs)) for part in parts]
    np.testing.assert_allclose(one.weight_norms, weights, rtol=1e-4, atol=1e-6)


def compared_term(variable, targets, semantics, impl):
    with tf.GradientTape() as tape:
        loss = ops.yolo_loss(variable, targets, grid=GRID, semantics=semantics, impl=impl).loss
    return tape.gradient(loss, variable).numpy()


def test_half_a_loss_points_the_same_way(model):
    """Darknet minimises half of the paper's sum; they differ where no box overlaps an object."""
    found = compared(model, "paper,paper:factor=0.5,darknet:no_overlap_fallback=none")
    paper, *halves = found.values()
    for half in halves:
        assert losses.norm(half.by_outputs) == losses.norm(paper.by_outputs) / 2
        assert losses.norm(half.by_weights) == losses.norm(paper.by_weights) / 2
        np.testing.assert_array_equal(half.terms, paper.terms / 2)
        assert not losses.disputed(half.cells, paper.cells).any()
    for by in ("by_outputs", "by_weights"):
        cosines = losses.cosines([getattr(one, by) for one in found.values()])
        np.testing.assert_allclose(cosines, np.ones((3, 3)), rtol=1e-12)


def test_directions_by_hand(model):
    """The object is the box's left half and more: IoU 1/2, confidence 0.6."""
    outputs, targets = one_object([0.5, 0.5, np.sqrt(0.25), np.sqrt(0.5)], confidence=0.6)
    only = "weight_xy=0,weight_wh=0,weight_no_object=0,weight_class=0"
    text = f"paper:{only},paper:{only},confidence_target=one,paper:weight_object=0"
    towards, away, rest = compared(model, text, outputs, targets).values()
    assert losses.norm(towards.by_outputs) == pytest.approx(2 * (0.6 - 0.5), rel=1e-5)
    assert losses.norm(away.by_outputs) == pytest.approx(2 * (1 - 0.6), rel=1e-5)
    cosines = losses.cosines([one.by_outputs for one in (towards, away, rest)])
    # Against each other; and at right angles to what moves other channels.
    np.testing.assert_allclose(cosines, [[1, -1, 0], [-1, 1, 0], [0, 0, 1]], atol=1e-7)
    nothing = compared(model, f"paper:{only},weight_object=0", outputs, targets)
    assert losses.cosines([one.by_outputs for one in (*nothing.values(), rest)])[0] == [None, None]


def test_the_same_boxes_by_hand():
    outputs = np.zeros((1, *GRID.prediction_shape), np.float32)
    outputs[..., GRID.box_channels] = np.tile([0.2, -0.3, -0.5, 0.25], GRID.B)
    variable = tf.Variable(outputs)
    for was, wanted, expected, slopes in (
        ("predict_sqrt", "plain", [0.2, -0.3, 0.25, 0.0625], [1, 1, -1, 0.5]),
        ("heron10", "predict_sqrt", [0.2, -0.3, 0, 0.5], [1, 1, 0, 1]),
        ("heron10", "sqrt_in_loss", [0.2, -0.3, -0.5, 0.25], [1, 1, 1, 1]),
    ):
        with tf.GradientTape() as tape:
            read = losses.read_as(variable, GRID, was, wanted)
        first = GRID.box_channels.start
        np.testing.assert_allclose(read[0, 1, 2, first : first + 4], expected, rtol=1e-6)
        np.testing.assert_array_equal(read[..., :first], outputs[..., :first])
        gradient = tape.gradient(read, variable)[0, 1, 2, first : first + 4]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-6)


def test_boxes_that_are_the_same_have_the_same_loss(model):
    """A loss of overlaps knows no convention: of the same boxes it has the same gradient."""
    text = "paper:box=ciou,paper:box=ciou,wh=plain"
    roots, sizes = compared(model, text, wh="predict_sqrt").values()
    np.testing.assert_allclose(sizes.terms, roots.terms, rtol=1e-6)
    np.testing.assert_allclose(sizes.by_outputs[0], roots.by_outputs[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(sizes.by_weights, roots.by_weights, rtol=1e-5)
    # The same numbers are other boxes.
    roots, sizes = compared(model, text).values()
    assert abs(sizes.loss - roots.loss) > 0.1


def test_a_run(call_experiment, known_run, tmp_path):
    words = "paper,paper:factor=0.5,tf2_person", f"--output_dir={tmp_path}"
    done = call_experiment(
        "compare_losses",
        f"--checkpoint={known_run}",
        "--images=3",
        f"--losses={words[0]}",
        words[1],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    paper, half, person = summary["losses"].values()
    assert half["by_weights"] == paper["by_weights"] / 2 > 0
    # The run's outputs are roots of 0.5 * 0.5, which tf2_person was given as 0.25.
    assert summary["same"] == "boxes" and "for tf2_person they were squared" in summary["wh"]
    assert person["terms"]["xy"]["value"] == pytest.approx(paper["terms"]["xy"]["value"])
    assert summary["batch"] == ["test-00000", "test-00001", "test-00002"]
    page = (tmp_path / "compare_losses.html").read_text()
    assert page.count("data:image/png") == len(list((tmp_path / "pictures").iterdir())) == 3
    assert "paper:factor=0.5" in page and "paper:factor=0.5" in done.stdout


@pytest.mark.slow
def test_fresh_weights_are_those_of_the_first_step(call_experiment, tmp_path):
    sizes = ("--dataset=shapes:count=8", "--image_size=32", "--S=2", "--batch_size=8", "--seed=5")
    train = (*sizes, "--epochs=1", "--eval_every=0", f"--output_dir={tmp_path / 'run'}")
    done = call_experiment("train", *train)
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "run" / "metrics.csv").open())
    done = call_experiment("compare_losses", *sizes, "--pictures=0", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    paper = json.loads((tmp_path / "summary.json").read_text())["losses"]["paper"]
    assert paper["loss"] == pytest.approx(float(row["loss"]), rel=2e-6)
    for term, of in paper["terms"].items():
        assert of["value"] == pytest.approx(float(row[term]), rel=1e-5), term
    run = f"--checkpoint={tmp_path / 'run'}"
    for wrong in ("--model=laptop", "--losses=mine", "--same=all"):
        done = call_experiment("compare_losses", run, wrong, f"--output_dir={tmp_path}")
        assert done.returncode == 1 and wrong[2:].partition("=")[0] in done.stderr


@pytest.mark.slow
def test_a_loss_of_other_outputs_is_refused(call_experiment, tmp_path):
    """A cross-entropy is one of probabilities."""
    words = ("--losses=paper,paper:class_loss=cross_entropy", f"--output_dir={tmp_path / 'x'}")
    done = call_experiment("compare_losses", "--debug", *words, "--activations=linear")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    says = "--losses=paper:class_loss=cross_entropy: --activations must make probabilities"
    assert says in done.stderr and not (tmp_path / "x").exists()
    done = call_experiment("compare_losses", "--debug", *words, "--activations=softmax")
    assert done.returncode == 0, done.stderr
