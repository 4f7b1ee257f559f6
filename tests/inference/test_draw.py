import numpy as np
import pytest

from yolov1 import data
from yolov1.inference import Detections, class_colour, draw, draw_grid

GREY = np.full((120, 160, 3), 128, np.uint8)


def one(box, label=0, score=0.9):
    return Detections(np.float32([box]), [score], [label])


def painted(image, colour):
    return np.all(image == np.uint8(colour), axis=-1)


def test_the_frame_lies_on_the_box():
    image = draw(GREY, one([0.25, 0.5, 0.75, 0.9]), ("cat",))
    assert image.shape == GREY.shape and image.dtype == np.uint8
    mask = painted(image, class_colour(0))
    assert mask[round(0.9 * 119), 45:115].all()  # the lower edge
    assert mask[70:105, round(0.25 * 159)].all()  # the left edge
    assert not mask[75:100, 60:100].any()  # the inside


@pytest.mark.parametrize(
    "box", [[0, 0, 0.1, 0.1], [0.9, 0.9, 1, 1], [0.9, 0, 1.3, 0.05], [-0.5, -0.5, 1.5, 1.5]]
)
@pytest.mark.parametrize("shape", [(40, 40), (60, 300), (448, 300)])
def test_labels_stay_inside_the_picture(box, shape):
    """The label's text covers as much at the border as it does in the middle."""
    canvas = np.full((*shape, 3), 128, np.uint8)
    names = ("cell",)
    at_border = draw(canvas, one(box), names, min_side=240)
    middle = draw(canvas, one([0.45, 0.45, 0.5, 0.5]), names, min_side=240)

    def ink(image):
        return int((~painted(image, (128, 128, 128)) & ~painted(image, class_colour(0))).sum())

    assert ink(at_border) >= 0.95 * ink(middle) > 100


def test_labels_do_not_hide_each_other():
    found = Detections(np.float32([[0.3, 0.4, 0.6, 0.7]] * 2), [0.9, 0.8], [0, 1])
    sizes = []
    for boxes in (found, found.above(0.85)):
        image = draw(GREY, boxes, ("cat", "dog"), min_side=300)
        sizes.append(int(painted(image, class_colour(0)).sum()))
    assert sizes[0] > 0.85 * sizes[1]  # the frame of the other runs through a place for a label


def test_small_pictures_are_enlarged():
    image = np.zeros((64, 96, 3), np.uint8)
    assert draw(image, one([0, 0, 1, 1]), ("a",), min_side=256).shape == (256, 384, 3)
    assert draw(image, one([0, 0, 1, 1]), ("a",), min_side=32).shape == (64, 96, 3)


def test_scores_below_the_threshold_are_left_out():
    found = Detections(np.float32([[0.1, 0.5, 0.4, 0.9], [0.6, 0.5, 0.9, 0.9]]), [0.9, 0.2], [0, 1])
    image = draw(GREY, found, ("cat", "dog"), score_threshold=0.5)
    assert painted(image, class_colour(0)).any()
    assert not painted(image, class_colour(1)).any()
    assert painted(draw(GREY, found, ("cat", "dog")), class_colour(1)).any()


def test_the_better_box_is_on_top():
    found = Detections(np.float32([[0.2, 0.5, 0.8, 0.9]] * 2), [0.3, 0.8], [0, 1])
    image = draw(GREY, found, ("cat", "dog"))
    assert painted(image, class_colour(1))[65:100, round(0.8 * 159)].all()


def test_examples_can_be_drawn_and_truth_lies_below():
    example = data.open("shapes:count=1", split="val", image_size=112)[0]
    classes = data.open("shapes:count=1", split="val", image_size=112).classes
    before = example.image.copy()
    image = draw(example.image, example, classes)
    assert painted(image, class_colour(example.labels[0])).any()
    np.testing.assert_array_equal(example.image, before)
    with_truth = draw(GREY, Detections.empty(), classes, truth=example)
    assert painted(with_truth, (255, 255, 255)).any()


def test_nothing_to_draw_and_floating_images():
    np.testing.assert_array_equal(draw(GREY, Detections.empty(), ()), GREY)
    np.testing.assert_array_equal(draw(GREY / 255, Detections.empty(), ()), GREY)


def test_a_label_without_a_name_is_still_drawn():
    assert painted(draw(GREY, one([0.2, 0.5, 0.8, 0.9], label=3), ("a",)), class_colour(3)).any()


def test_colours_differ():
    colours = np.array([class_colour(k) for k in range(20)], float)
    assert len({tuple(c) for c in colours}) == 20
    distance = np.abs(colours[:, None] - colours).sum(axis=-1) + 999 * np.eye(20)
    assert distance.min() > 30


def test_grid_lines_part_the_picture():
    image = draw_grid(np.zeros((60, 90, 3), np.uint8), 3)
    lines = painted(image, (255, 255, 255))
    assert lines[20].all() and lines[40].all() and lines[:, 30].all() and lines[:, 60].all()
    assert lines.sum() == 2 * 90 + 2 * 60 - 4
    assert draw_grid(np.zeros((60, 90, 3), np.uint8), 1).max() == 0
