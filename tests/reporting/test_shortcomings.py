"""What is wrong, on the page: every bar and cell leads to a picture that is there."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.reporting.conftest import make_run
from tests.reporting.test_report import HOSTILE, read
from yolov1.data import Dataset, Example
from yolov1.evaluation import shortcomings
from yolov1.grid import GridSpec
from yolov1.inference import Detections
from yolov1.reporting import crops, write_report
from yolov1.reporting.shortcomings import MOST_CLASSES, caption

BOX = [0.5, 0.5, 0.25, 0.5]  # of an image of 200 x 100: pixels 75 to 125 and 25 to 75
CORNERS = [0.375, 0.25, 0.625, 0.75]


def noise():
    return np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)


def example(k, boxes=(BOX,), labels=(0,), draw=noise, **fields):
    fields = {"size": (100, 200), "difficult": np.zeros(len(labels), bool)} | fields
    return Example(f"image {k}", np.array(boxes, np.float32), np.array(labels), draw=draw, **fields)


def found(*rows):
    """Detections of rows (label, score, box)."""
    labels, scores, boxes = zip(*rows, strict=True)
    return Detections(np.array(boxes, float), np.array(scores), np.array(labels))


def scene():
    """An image for each kind of error, and of most of them several."""
    off, far = [0.5, 0.25, 0.75, 0.75], [0.0, 0.0, 0.1, 0.2]
    rows = [
        [(0, 0.9, CORNERS)],
        [(1, 0.8, CORNERS)],  # another class
        [(0, 0.7, off)],  # badly placed
        [(1, 0.6, off)],  # both
        [(0, 0.95, CORNERS), (0, 0.5, CORNERS)],  # once more
        [(0, 0.4, far)],  # nothing there, and the object missed
        [(0, 0.1, CORNERS)],  # found, but below what is shown
    ]
    return [found(*r) for r in rows], [example(k) for k in range(len(rows))]


def measured_run(path, classes, images=None, worst=True):
    """A run whose evaluation is that of detections on examples; gives the path."""
    run = make_run(path, classes[:2])  # no chart of the curves of many classes
    detections, examples = images or scene()
    dataset = Dataset(examples, tuple(classes))
    wrong = shortcomings(detections, dataset, grid=GridSpec(S=7, C=len(classes)))
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation |= {"classes": dict.fromkeys(classes, {}), "shortcomings": wrong}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    if worst:
        crops.write_crops(run / "pictures" / "worst", wrong["worst"], dataset)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return measured_run(tmp_path_factory.mktemp("measured") / "run", ("cat", "dog"))


def links(page):
    ids = [value for _, name, value in page.attributes if name == "id"]
    targets = [
        value[1:]
        for tag, name, value in page.attributes
        if tag == "a" and name in ("href", "xlink:href")
    ]
    return ids, targets


def test_every_link_leads_to_its_picture(run):
    page = read(run)
    ids, targets = links(page)
    assert set(targets) <= set(ids)
    kinds = {"classification", "localisation", "both", "duplicate", "background", "missed"}
    groups = {"score-8", "confused-1", "confused-2", "confused-6", "alone-0", "class-0", "class-1"}
    assert kinds | groups <= set(targets)
    assert "score-9" not in targets  # all is right there
    own = [i for i in ids if i in targets]
    assert len(own) == len(set(own))
    assert not any(name == "target" for _, name, _ in page.attributes)
    headings = [h for h in page.headings if h in ("What is wrong", "Worst errors")]
    assert headings == ["What is wrong", "Worst errors"]
    entries = json.loads((run / "evaluation.json").read_text())["shortcomings"]["worst"]
    pictures = [v for t, name, v in page.attributes if t == "img" and name == "src"]
    assert len(pictures) == 5 + len(entries) == 5 + len(list((run / "pictures/worst").iterdir()))


def test_it_says_what_was_measured(run):
    words = [word for word in read(run).text.split("\n") if word]
    wrong = json.loads((run / "evaluation.json").read_text())["shortcomings"]
    for text in (
        *("dog 0.80, is cat, IoU 1.00", "cat 0.70, IoU 0.33", "dog 0.60, is cat, IoU 0.33"),
        *("cat 0.40 where nothing is", "cat 0.50 once more (IoU 1.00)", "cat; nothing near"),
        *("cat; cat 0.10 (correct, IoU 1.00)", "alone in its cell", "image 4"),
    ):
        assert text in words or f" {text}" in words, text
    gain = wrong["tide"]["localisation"]["gain"]
    place = words.index("right class, badly placed (IoU .1 to .5)")
    assert gain > 0.1 and words[place - 1 : place + 4] == [
        *("localisation", "right class, badly placed (IoU .1 to .5)", f"+{100 * gain:.1f}"),
        *("1", "1"),
    ]


def test_without_pictures_there_are_figures_without_links(tmp_path):
    page = read(measured_run(tmp_path / "run", ("cat", "dog"), worst=False))
    assert links(page)[1] == []
    assert "What is wrong" in page.headings and "Worst errors" not in page.headings


def test_a_detector_that_finds_nothing_where_nothing_is(tmp_path):
    images = [Detections.empty()], [example(0, np.zeros((0, 4)), [])]
    page = read(measured_run(tmp_path / "run", ("cat", "dog"), images))
    assert "What is wrong" in page.headings and "Worst errors" not in page.headings


def test_hostile_names_are_text(tmp_path):
    detections, examples = scene()
    run = measured_run(tmp_path / "run", HOSTILE, (detections, examples))
    page = read(run)
    assert not page.tags & {"script", "i", "u"}
    assert f"{HOSTILE[1]} 0.60, is {HOSTILE[0]}, IoU 0.33" in page.text
    for name in HOSTILE:
        assert page.text.count(name) >= 2  # row and column of the matrix


def test_a_page_of_many_classes_is_not_too_large(tmp_path):
    """Eighty classes, every picture noise: the matrix is cut, and the pictures are so many."""
    rng = np.random.default_rng(1)
    detections, examples = [], []
    for k in range(60):
        corner = rng.random((12, 2)) * 0.6
        boxes = np.concatenate([corner, corner + 0.1 + 0.3 * rng.random((12, 2))], axis=1)
        labels = rng.integers(0, 80, 12)
        centres = np.concatenate([boxes[:, :2] + boxes[:, 2:], 2 * (boxes[:, 2:] - boxes[:, :2])])
        centres = np.concatenate(np.split(centres / 2, 2), axis=1)
        taken_for = np.where(rng.random(12) < 0.5, rng.integers(0, 80, 12), labels)
        placed = boxes + rng.normal(0, 0.05, (12, 4))
        placed[:, 2:] = np.maximum(placed[:, 2:], placed[:, :2])
        detections.append(Detections(placed.clip(0, 1), rng.random(12), taken_for))
        examples.append(example(k, centres, labels))
    classes = [f"class {k}" for k in range(80)]
    run = measured_run(tmp_path / "run", classes, (detections, examples))
    page = read(run)
    assert f"The {MOST_CLASSES} of 80 classes with the most errors." in page.text
    cells = [v for tag, name, v in page.attributes if tag == "td" and name == "title"]
    assert 20 < len(cells) <= (MOST_CLASSES + 1) ** 2
    assert 100 < len(list((run / "pictures/worst").iterdir())) <= 144
    for picture in (run / "pictures").glob("*.jpg"):
        picture.unlink()
    assert write_report(run).stat().st_size < 4e6  # of photos, half of that


# ------------------------------------------------------------------ pictures


def coloured():
    """Black, but green where the object is, and white in the image's upper left corner."""
    image = np.zeros((100, 200, 3), np.uint8)
    image[25:75, 75:125] = (0, 255, 0)
    image[:10, :10] = 255
    return image


def entry_of(kind, detection, thing, iou=0.5):
    named = {"kind": kind, "class": "cat", "score": 0.5}
    return {
        **{"kind": kind, "index": 0, "image": "a", "size": [100, 200], "groups": [kind]},
        "detection": named | {"box_xyxy": detection} if detection else None,
        "object": {"class": "cat", "box_xyxy": thing} if thing else None,
        "iou": iou if detection and thing else None,
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_shows_what_is_around_the_box(orientation):
    image, one = coloured(), example(0, draw=coloured, orientation=orientation)
    picture = crops.crop(image, one, entry_of("background", CORNERS, None, 0), ("cat",))
    assert picture.shape == (crops.SIDE, crops.SIDE, 3) and picture.dtype == np.uint8
    # The window is 1.7 times the 50 pixels: the object is the middle 10/17 of it.
    middle = picture[60:148, 60:148]
    assert (middle[..., 1] > 200).mean() > 0.8 and (middle[..., 2] < 60).mean() > 0.9
    edge = picture[:, -20:]
    assert (edge < 60).mean() > 0.9


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_window_at_the_edge_is_moved_into_the_image(orientation):
    image, one = coloured(), example(0, draw=coloured, orientation=orientation)
    box = [0, 0, 0.05, 0.1]
    picture = crops.crop(image, one, entry_of("missed", None, box), ("cat",))
    # 30 pixels, 0.3 of the shorter side; of them 10 are white, in the corner that EXIF says.
    white = (picture > 200).all(axis=-1)
    quarters = [white[:70, :70], white[:70, -70:], white[-70:, -70:], white[-70:, :70]]
    shares = [q.mean() for q in quarters]
    assert int(np.argmax(shares)) == {1: 0, 3: 2, 6: 1, 8: 3}[orientation]
    assert max(shares) > 0.5 > 0.3 > sorted(shares)[-2]


def test_pictures_of_an_earlier_time_are_removed(tmp_path):
    folder = tmp_path / "worst"
    dataset = Dataset([example(0)], ("cat",))
    crops.write_crops(folder, [entry_of("missed", None, CORNERS)] * 3, dataset)
    (folder / "mine.jpg").touch()
    crops.write_crops(folder, [entry_of("missed", CORNERS, CORNERS)], dataset)
    assert sorted(file.name for file in folder.iterdir()) == ["000.jpg", "mine.jpg"]
    assert Image.open(folder / "000.jpg").size == (crops.SIDE, crops.SIDE)
    crops.write_crops(tmp_path / "none", [], dataset)
    assert not (tmp_path / "none").exists()


def test_captions():
    assert caption(entry_of("missed", None, CORNERS)) == "cat; nothing near"
    assert caption(entry_of("background", CORNERS, None)) == "cat 0.50 where nothing is"
    assert caption(entry_of("localisation", CORNERS, CORNERS, 0.3)) == "cat 0.50, IoU 0.30"
    assert re.match("cat 0.50, is cat, IoU", caption(entry_of("both", CORNERS, CORNERS)))
