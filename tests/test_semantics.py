import dataclasses

import pytest

from yolov1.semantics import CHOICES, PRESETS, LossSemantics

# Section 5 of the specification of the four systems: weights, factor, then the choices.
PUBLISHED = {
    "paper": (
        *(5, 5, 1, 0.5, 1, 1, "predict_sqrt", "iou", "non_responsible", "first", "none"),
        *("clamped", "squared", "squared", "squared"),
    ),
    "darknet": (
        *(5, 5, 1, 0.5, 1, 0.5, "predict_sqrt", "iou", "non_responsible", "first", "rmse"),
        *("clamped", "squared", "squared", "squared"),
    ),
    "keras_voc": (
        *(5 / 49, 5 / 448, 1, 0.5, 1, 1, "sqrt_in_loss", "one", "non_responsible", "all", "none"),
        *("clamped", "squared", "squared", "squared"),
    ),
    "tf2_person": (
        *(5, 5, 1, 0.5, 1, 1, "heron10", "one", "empty_cells", "last", "none"),
        *("abs", "squared", "squared", "squared"),
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_the_published_numbers(name):
    assert dataclasses.astuple(LossSemantics.preset(name)) == PUBLISHED[name]


def test_of_takes_a_name_or_an_instance():
    variant = dataclasses.replace(LossSemantics.preset("paper"), ties="last")
    assert LossSemantics.of(variant) is variant
    assert LossSemantics.of("darknet") == LossSemantics.preset("darknet")
    with pytest.raises(TypeError, match="a LossSemantics or a preset's name .*, got int"):
        LossSemantics.of(3)
    with pytest.raises(ValueError, match="one of 'paper', 'darknet', .*, got 'yolo9000'"):
        LossSemantics.of("yolo9000")


@pytest.mark.parametrize("field", CHOICES)
def test_unknown_choice(field):
    with pytest.raises(ValueError, match=f"{field} must be one of .*, got 'other'"):
        LossSemantics(**{field: "other"})


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "5x", None])
def test_bad_weight(value):
    with pytest.raises(ValueError, match="weight_xy must be a finite number of at least 0"):
        LossSemantics(weight_xy=value)


def test_weights_are_floats_and_instances_are_hashable():
    semantics = LossSemantics(weight_xy=3)
    assert isinstance(semantics.weight_xy, float)
    assert len({semantics, LossSemantics(weight_xy=3.0)}) == 1
