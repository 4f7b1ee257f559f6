"""`experiments.explain`: one image taken apart, of a data set and of one's own."""

import json

import numpy as np
import pytest
from PIL import Image

from yolov1 import data, ops
from yolov1.grid import GridSpec
from yolov1.semantics import TERMS

ALL = {"prediction", "target", "boxes", "suppression", "loss", "gradient"}


def test_an_image_of_the_data_set(call_experiment, known_run, tmp_path):
    """The network that sees a circle of 0.8 in each of four cells."""
    done = call_experiment(
        *("explain", f"--checkpoint={known_run}", "--image=test-00003"),
        *("--image=train:train-00001", f"--output_dir={tmp_path}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "explain.json").read_text())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["images"] == 2 and summary["seconds"] > 0
    one, other = content["images"]
    assert (one["image"], other["image"]) == ("test-00003", "train:train-00001")
    assert [found["cell"] for found in one["detections"]] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    for found in one["detections"]:
        assert found["class"] == "circle" and found["score"] == pytest.approx(0.8)
        np.testing.assert_allclose(
            found["box_xyxy"],
            np.array([0.125, 0.125, 0.375, 0.375]) + np.tile(found["cell"][::-1], 2) / 2,
            atol=1e-6,
        )
    # The loss of these predictions, by the op.
    dataset = data.open("shapes:count=8", split="test", image_size=32)
    example = next(e for e in dataset if e.image_id == "test-00003")
    grid = GridSpec(S=2, B=1, C=len(dataset.classes), image_size=32)
    predictions = np.zeros((1, *grid.prediction_shape), np.float32)
    predictions[..., dataset.classes.index("circle")] = 1
    predictions[..., grid.C :] = 0.8, 0.5, 0.5, 0.5, 0.5
    terms = ops.yolo_loss(predictions, data.encode_example(example, grid)[None], grid=grid).terms
    np.testing.assert_allclose([one["terms"][name] for name in TERMS], terms[0], rtol=1e-5)
    np.testing.assert_allclose(np.sum(one["cell_terms"], axis=0), terms[0], rtol=1e-5)
    kept = [thing for thing in one["objects"] if "lost_to" not in thing]
    assert len(one["objects"]) == len(example.labels) and kept
    for thing in kept:
        (box,) = thing["boxes"]
        assert box["responsible"] and box["confidence"] == pytest.approx(0.8)
        assert thing["class_probability"] == (thing["class"] == "circle")
        assert box["terms"]["object"] == pytest.approx((0.8 - box["iou"]) ** 2, abs=1e-6)
    for folder in ("test-00003", "train_train-00001"):
        found = [path for path in tmp_path.iterdir() if path.name.startswith(folder)]
        assert {path.stem for path in found[0].iterdir()} == ALL
        for path in found[0].iterdir():
            assert np.asarray(Image.open(path)).std() > 1
    page = (tmp_path / "explain.html").read_text()
    assert page.count("data:image/jpeg") == 2 * len(ALL) and "<script" not in page
    assert "<h2>test-00003</h2>" in page and "responsible (box 0)" in page


def test_a_photo_has_no_loss(call_experiment, known_run, tmp_path):
    Image.fromarray(np.full((40, 90, 3), 120, np.uint8)).save(tmp_path / "a photo.png")
    done = call_experiment(
        *("explain", f"--checkpoint={known_run}", f"--image={tmp_path / 'a photo.png'}"),
        *("--score_threshold=0.7", f"--output_dir={tmp_path / 'out'}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "its objects are not known: no loss" in done.stdout
    (one,) = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    assert len(one["detections"]) == 4 and "terms" not in one and "objects" not in one
    folder = tmp_path / "out" / "a photo.png"
    assert {path.stem for path in folder.iterdir()} == {"prediction", "suppression"}
    none = call_experiment(
        *("explain", f"--checkpoint={known_run}", f"--image={tmp_path / 'a photo.png'}"),
        *("--score_threshold=0.9", f"--output_dir={tmp_path / 'none'}"),
    )
    assert none.returncode == 0 and "0 found, 0 suppressed" in none.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image=test-0003"], ["--image: no image 'test-0003'", "There are test-00003"]),
        (["--image=train:test-00003"], ["no image 'test-00003' in the training set"]),
        ([], ["--image"]),
        (["--image=test-00003", "--tiles=64"], ["tiles"]),
    ],
)
def test_what_is_not_there_is_named(call_experiment, known_run, tmp_path, arguments, words):
    done = call_experiment(
        "explain", f"--checkpoint={known_run}", *arguments, f"--output_dir={tmp_path / 'out'}"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_file_is_no_run(call_experiment, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"")
    done = call_experiment(
        *("explain", f"--checkpoint={tmp_path / 'net.onnx'}", "--image=a"),
        f"--output_dir={tmp_path / 'out'}",
    )
    assert done.returncode == 1 and "which knows no loss. Give a run." in done.stderr
