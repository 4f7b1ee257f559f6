"""Detections from other programs' files: whose each box is, and nothing lost without a word."""

import json

import numpy as np
import pytest

from yolov1.data import Dataset, Example
from yolov1.evaluation import evaluate
from yolov1.evaluation.result_files import COCO_IDS, read_results, write_comp4
from yolov1.inference import Detections

CLASSES = ("cat", "traffic light")
SIZES = {"a.v2": (50, 100), "b": (80, 40), "c": (60, 60)}  # height, width


def dataset(ids=tuple(SIZES), classes=CLASSES):
    def example(name):
        size = SIZES.get(name, (50, 100))
        return Example(
            name, [[0.5, 0.5, 0.5, 0.5]], [0], [False], size, draw=lambda: np.zeros((*size, 3))
        )

    return Dataset([example(name) for name in ids], classes, name="mine")


def write(folder, **files):
    for name, lines in files.items():
        (folder / f"comp4_det_test_{name.replace('_', ' ')}.txt").write_text(
            "".join(f"{line}\n" for line in lines)
        )
    return folder


def test_pixels_become_fractions_of_their_own_image(tmp_path):
    folder = write(
        tmp_path,
        cat=["b 0.25 10 20 30 60", "a 0.5 25 12.5 75 37.5", "a 0.75 -10 0 120 50"],
        traffic_light=["c 0.125 0 0 60 30"],
    )
    found, remarks = read_results(folder, dataset())
    assert remarks == ["1 of 4 boxes are beyond the right or lower edge."]
    np.testing.assert_array_equal(found[0].scores, [0.75, 0.5])
    np.testing.assert_array_equal(found[0].boxes_xyxy, [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75]])
    np.testing.assert_array_equal(found[1].boxes_xyxy, [[0.25, 0.25, 0.75, 0.75]])
    np.testing.assert_array_equal(found[2].boxes_xyxy, [[0, 0, 1, 0.5]])
    assert [f.labels.tolist() for f in found] == [[0, 0], [0], [1]]
    # A box a pixel off is a pixel off: nothing is added to what the file says.
    result = evaluate(found, dataset())
    assert result["ap_per_class"]["cat"] == pytest.approx(7 / 11 * 2 / 3)


def test_what_is_not_measured_is_said(tmp_path):
    folder = write(
        tmp_path, cat=["a 0.5 0 0 9 9", "a 0.5 0 0 9 9", "x 0.5 0 0 9 9"], dog=["b 1 9 9 8 8"]
    )
    (folder / "notes.txt").write_text("mine")
    found, remarks = read_results(folder, dataset())
    assert [len(f) for f in found] == [2, 0, 0]
    assert remarks == [
        f"1 files of {folder} are no result files and were not read: notes.txt",
        "1 images are not in the data set and not measured (1 boxes): x",
        "1 classes are not the data set's and not measured (1 boxes): dog",
        "1 of the 3 images have no box in the files: c",
        "1 of 2 boxes are there twice, and count as often.",
        "1 classes have no file, as if nothing was found of them: traffic light",
    ]


def test_an_inverted_box_is_empty(tmp_path):
    (found, *_), remarks = read_results(write(tmp_path, cat=["a 0.5 50 10 40 20"]), dataset())
    np.testing.assert_allclose(found.boxes_xyxy, [[0.5, 0.2, 0.5, 0.4]])
    assert "1 of 1 boxes are inverted, and count as empty." in remarks


def test_fractions_are_remarked_on(tmp_path):
    _, remarks = read_results(write(tmp_path, cat=["a 0.5 0.1 0.1 0.5 0.5"]), dataset())
    assert "No corner is larger than 1: these look like fractions, expected pixels." in remarks


@pytest.mark.parametrize(
    "lines, said",
    [
        (["a 0.5 0 0 9"], "line 1"),
        (["a 0.5 0 0 9 9", "a nan 0 0 9 9"], "nan"),
        (["a 0.5 0 0 9 inf"], "inf"),
        (["x 0.5 0 0 9 9"], r"not one of its 1 images is in mine, the first is 'x'"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said) as error:
        read_results(write(tmp_path, cat=lines), dataset())
    assert str(tmp_path) in str(error.value)


def test_an_id_of_two_images(tmp_path):
    images = dataset(("a", "a.v2", "b"))
    with pytest.raises(ValueError, match=r"the id 'a' is that of several images: a, a\.v2"):
        read_results(write(tmp_path, cat=["a 0.5 0 0 9 9"]), images)
    # Here the file has whole names.
    found, _ = read_results(write(tmp_path, cat=["a 0.5 0 0 9 9", "a.v2 0.4 0 0 9 9"]), images)
    assert [len(f) for f in found] == [1, 1, 0]


def test_two_files_of_one_class(tmp_path):
    folder = write(tmp_path, cat=[])
    (folder / "comp3_det_val_cat.txt").touch()
    with pytest.raises(ValueError, match="two files of the class 'cat'"):
        read_results(folder, dataset())


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="holds no result files"):
        read_results(tmp_path, dataset())
    (tmp_path / "x.json").write_text("3")
    with pytest.raises(ValueError, match="neither a COCO list"):
        read_results(tmp_path / "x.json", dataset())


@pytest.mark.parametrize("names", [CLASSES, ("a/b", "A/B")])
def test_what_is_written_is_read(tmp_path, names):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-0.1, 1.1, (3, 8, 2, 2)), axis=2).reshape(3, 8, 4)
    detections = [
        Detections(c.astype(np.float32), rng.uniform(0.001, 1, 8), rng.integers(0, 2, 8))
        for c in corners
    ]
    images = dataset(classes=names)
    remarks = write_comp4(tmp_path / "new", detections, images)
    assert bool(remarks) == ("/" in names[0])
    assert len(list((tmp_path / "new").iterdir())) == 2
    found, _ = read_results(tmp_path / "new", images)
    for before, after in zip(detections, found, strict=True):
        np.testing.assert_allclose(after.boxes_xyxy, before.clipped().boxes_xyxy, atol=1e-6)
        np.testing.assert_allclose(after.scores, before.scores, atol=1e-6)
        np.testing.assert_array_equal(after.labels, before.labels)


def test_files_are_written_as_darknet_writes_them(tmp_path):
    boxes = [[-0.5, 0.25, 0.5, 1.5], [1.25, 1.25, 1.5, 1.5]]
    found = [Detections(np.float32(boxes), np.float32([0.5, 0.25]), [0, 0])] + 2 * [
        Detections.empty()
    ]
    assert write_comp4(tmp_path, found, dataset()) == []
    assert (tmp_path / "comp4_det_test_cat.txt").read_text() == (
        "a 0.500000 0.000000 12.500000 50.000000 50.000000\n"
        "a 0.250000 125.000000 62.500000 100.000000 50.000000\n"  # from one side each
    )
    assert (tmp_path / "comp4_det_test_traffic light.txt").read_text() == ""


def test_ids_that_two_images_would_share_stay_whole(tmp_path):
    images = dataset(("a", "a.v2", "b"))
    found = [Detections(np.float32([[0, 0, 1, 1]]), np.float32([s]), [0]) for s in (0.1, 0.2, 0.3)]
    (remark,) = write_comp4(tmp_path, found, images)
    assert "keep their whole names: a" in remark
    lines = (tmp_path / "comp4_det_test_cat.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["a", "a.v2", "b"]
    again, _ = read_results(tmp_path, images)
    assert [f.scores.tolist() for f in again] == [[0.1], [0.2], [0.3]]


def coco(tmp_path, *rows):
    path = tmp_path / "coco_results.json"
    path.write_text(json.dumps([dict(zip(KEYS, row, strict=True)) for row in rows]))
    return path


KEYS = ("image_id", "category_id", "bbox", "score")


def test_coco_results_of_darknet(tmp_path):
    names = tuple(f"class {k}" for k in range(80))
    images = dataset(("COCO_val2014_000000000042", "COCO_val2014_000000000007"), names)
    path = coco(tmp_path, (42, 90, [25, 12.5, 50, 25], 0.5), (7, 13, [0, 0, 100, 50], 0.25))
    found, remarks = read_results(path, images)
    np.testing.assert_array_equal(found[0].boxes_xyxy, [[0.25, 0.25, 0.75, 0.75]])
    assert [f.labels.tolist() for f in found] == [[79], [COCO_IDS.index(13)]] and not remarks
    assert len(COCO_IDS) == 80 and COCO_IDS[11] == 13  # 12 is nobody's


def test_coco_results_with_ids_of_a_data_set(tmp_path):
    path = coco(tmp_path, (5, 3, [0, 0, 20, 40], 0.5), (6, 9, [0, 0, 9, 9], 0.5))
    given = {"categories": {3: "cat"}, "files": {5: "b", 6: "c"}}
    found, remarks = read_results(path, dataset(), **given)
    np.testing.assert_array_equal(found[1].boxes_xyxy, [[0, 0, 0.5, 0.5]])
    assert any("(1 boxes): category 9" in remark for remark in remarks)
    with pytest.raises(ValueError, match=r"coco:PATH, or the 80 classes of COCO, got 2"):
        read_results(path, dataset())


@pytest.mark.parametrize("row", [(5, 3, [0, 0, 1], 0.5), (5, 3, [0, 0, 1, 1], float("nan"))])
def test_damaged_coco_results(tmp_path, row):
    with pytest.raises(ValueError, match="result 1"):
        read_results(coco(tmp_path, row), dataset(), categories={3: "cat"}, files={5: "b"})


def own(tmp_path, **changes):
    row = {"file": "/there/b.jpg", "height": 80, "width": 40, **changes}
    row["detections"] = [{"class": "cat", "score": 0.5, "box_xyxy": [0, 0, 20, 40]}]
    path = tmp_path / "detections.json"
    content = {"classes": list(CLASSES), "score_threshold": 0.25, "images": [row]}
    path.write_text(json.dumps(content))
    return path


def test_our_own_detections(tmp_path):
    images = dataset(("a.v2", "b.jpg", "c"))
    images[1].size = (80, 40)
    found, remarks = read_results(own(tmp_path), images)
    np.testing.assert_array_equal(found[1].boxes_xyxy, [[0, 0, 0.5, 0.5]])
    assert "score more than 0.25" in remarks[0]
    # Of a photo that is turned, the boxes are those of the upright picture.
    images[1].size = (40, 80)
    found, _ = read_results(own(tmp_path, orientation=6), images)
    np.testing.assert_array_equal(found[1].boxes_xyxy, [[0, 0.5, 0.5, 1]])
    with pytest.raises(ValueError, match="another picture"):
        read_results(own(tmp_path), images)
