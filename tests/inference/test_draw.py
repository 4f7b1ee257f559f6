import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from yolov1 import boxes as box_formats
from yolov1 import data
from yolov1.data import images
from yolov1.inference import Detections, class_colour, draw, draw_annotation, draw_grid

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


@pytest.mark.parametrize(
    "image, message",
    [
        (GREY.astype(np.float32), r"got up to 128; divide by 255 or give uint8"),
        (GREY / 127 - 1.1, r"got down to -0\.0"),
        (GREY * np.nan, "got NaN"),
        (GREY.astype(np.int32), r"got int32\. .*astype\(np\.uint8\)"),
    ],
)
def test_values_that_are_no_colours_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        draw(image, Detections.empty(), ())


def test_names_in_other_scripts_are_drawn_with_their_glyphs(no_other_font):
    """Each is another picture; without a font for it, it is that of the number."""
    box = one([0.1, 0.4, 0.9, 0.9], label=1)
    images = {name: draw(GREY, box, ("a", name)) for name in ("cat", "собака", "тапочки", "né")}
    assert len({image.tobytes() for image in images.values()}) == 4
    with pytest.warns(UserWarning, match="class names 猫"):
        unknown = draw(GREY, box, ("a", "猫"))
    np.testing.assert_array_equal(unknown, draw(GREY, box, ("a", "class 1")))
    np.testing.assert_array_equal(unknown, draw(GREY, box, ("a",)))  # no name at all


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


SIDES = (28, 126, 84, 210)  # left, right, top, bottom in an image of 140 x 280 pixels
BOX = (77 / 140, 147 / 280, 98 / 140, 126 / 280)  # the same as centre and size


def annotation(form, folder):
    """The box of one image of class 1, as (source, image id)."""
    cx, cy, w, h = BOX
    if form == "text file":
        (folder / "x.txt").write_text(f"1 {cx} {cy} {w} {h}\n")
        return folder / "x.txt", None
    entry = {"label": 1, "bounding_box": [cx - w / 2, cy - h / 2, w, h]}
    if form == "labels.json":
        content = {"classes": ["cat", "dog"], "labels": {"w": None, "x": [entry]}}
        (folder / "labels.json").write_text(json.dumps(content))
        return folder / "labels.json", "x"
    columns = ("id", "objClass", "boxCenterX", "boxCenterY", "boxWidth", "boxHeight")
    rows = [("w", 0, 0.5, 0.5, 1, 1), ("x", 1, *BOX)]
    table = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    if form == "data frame":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        table = pandas.DataFrame(table)
    return table, "x"


@pytest.mark.parametrize("form", ["text file", "labels.json", "columns", "data frame"])
def test_an_annotation_is_drawn_where_its_box_and_the_cells_are(form, tmp_path):
    source, image_id = annotation(form, tmp_path)
    canvas = np.zeros((280, 140, 3), np.uint8)  # not square: x and y must not be swapped
    image = draw_annotation(canvas, source, image_id, S=7)
    frame = painted(image, class_colour(1))
    left, right, top, bottom = SIDES
    edges = np.argwhere(frame[top + 20 : bottom - 5])[:, 1]
    assert abs(edges.min() - left) <= 1 and abs(edges.max() - right) <= 1
    below = np.argwhere(frame[top + 20 :, left + 5 : right - 5])[:, 0] + top + 20
    assert abs(below.max() - bottom) <= 1
    assert frame[top - 1 : top + 2, left + 3 : right - 3].any(axis=0).all()
    grid = painted(image, (255, 255, 255))
    for k in range(1, 7):  # cells of 20 x 40 pixels
        assert grid[250:, 20 * k].all() and grid[40 * k, right + 3 :].all()
    assert grid[250:, 1:].sum(axis=1).max() == 6
    ungridded = draw_annotation(canvas, source, image_id, S=1)
    assert not painted(ungridded, (255, 255, 255))[bottom + 3 :].any()


def test_the_image_file_says_which_image_it_is(tmp_path):
    Image.new("L", (140, 280), 9).save(tmp_path / "x.png")
    source, _ = annotation("labels.json", tmp_path)
    by_file = draw_annotation(tmp_path / "x.png", source)
    by_id = draw_annotation(np.full((280, 140, 3), 9, np.uint8), source, "x")
    np.testing.assert_array_equal(by_file, by_id)
    assert painted(by_file, class_colour(1)).any()
    with pytest.raises(KeyError, match="no image 'y'"):
        draw_annotation(by_file, source, "y")


def test_grey_images_and_what_is_none(tmp_path):
    source, image_id = annotation("text file", tmp_path)
    expected = draw_annotation(np.full((280, 140, 3), 9, np.uint8), source)
    for shape in ((280, 140), (280, 140, 1)):
        image = draw_annotation(np.full(shape, 9, np.uint8), source)
        np.testing.assert_array_equal(image, expected)
    for shape in ((2, 280, 140, 3), (280, 140, 2), (280,), (0, 140, 3)):
        got = ", ".join(map(str, shape))
        with pytest.raises(ValueError, match=rf"expected an image \[H, W, 3\].*got .*\[{got}\]"):
            draw_annotation(np.zeros(shape, np.uint8), source)
    with pytest.raises(ValueError, match=r"expected an image .*got the shape \[\]"):
        draw_annotation(None, source)


@pytest.mark.parametrize("source", [None, 3, [0.5, 0.5, 0.1, 0.1]])
def test_what_is_no_annotation_is_refused(source):
    with pytest.raises(ValueError, match=r"source must be a \.txt file, .*; got "):
        draw_annotation(GREY, source)


def test_several_images_and_no_id_is_refused(tmp_path):
    source, _ = annotation("columns", tmp_path)
    with pytest.raises(ValueError, match="say which with image_id"):
        draw_annotation(GREY, source)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_drawn_upright(tmp_path, orientation):
    """The box stays around the same thing, and the picture is what a viewer shows."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[10:30, 50:80] = 255  # the thing
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.txt").write_text(f"0 {65 / 90} {20 / 60} {30 / 90} {20 / 60}\n")
    (tmp_path / "classes.txt").write_text("thing\n")
    (example,) = data.open(f"yolo:{tmp_path}")
    picture = draw(example.image, example, ("thing",), orientation=example.orientation)
    upright = data.read_image(tmp_path / "a.png", upright=True)
    assert picture.shape == upright.shape and example.size == (60, 90)
    rows, columns = np.nonzero(upright[..., 0])
    height, width = upright.shape[:2]
    expected = [columns.min() / width, rows.min() / height]
    expected += [(columns.max() + 1) / width, (rows.max() + 1) / height]
    stored = box_formats.cxcywh_to_xyxy(example.boxes_cxcywh)
    np.testing.assert_allclose(images.turn_boxes(stored, orientation), [expected], atol=1e-6)
    found = SimpleNamespace(boxes_xyxy=np.array([expected]), labels=[0])
    assert (picture != draw(upright, found, ("thing",))).mean() < 0.03
