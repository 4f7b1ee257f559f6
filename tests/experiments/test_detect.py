import json
import shutil

import numpy as np
import pytest
from PIL import Image

from yolov1 import data, inference
from yolov1.data.formats.coco import ids_of_results
from yolov1.evaluation.result_files import read_results

CELLS = [(0.125, 0.125), (0.625, 0.125), (0.125, 0.625), (0.625, 0.625)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures in two folders, and two files that are none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    rng = np.random.default_rng(0)
    for name, (height, width) in {
        "a.jpg": (80, 120),
        "b.png": (300, 200),
        "more/a.jpg": (32, 32),
    }.items():
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "cut.jpg").write_bytes((folder / "a.jpg").read_bytes()[:700])
    (folder / "text.png").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def boxes_of(row):
    return sorted(d["box_xyxy"][::-1] for d in row["detections"])


def test_a_folder(known_run, pictures, call_experiment, tmp_path):
    result = call_experiment(
        "detect", f"--checkpoint={known_run}", f"--images={pictures}", f"--output_dir={tmp_path}"
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads((tmp_path / "detections.json").read_text())
    sizes = {(row["height"], row["width"]) for row in found["images"]}
    assert sizes == {(80, 120), (300, 200), (32, 32)}
    for row in found["images"]:
        assert [d["class"] for d in row["detections"]] == ["circle"] * 4
        assert [d["score"] for d in row["detections"]] == pytest.approx([0.8] * 4, abs=1e-5)
        h, w = row["height"], row["width"]
        want = [[x * w, y * h, (x + 0.25) * w, (y + 0.25) * h] for x, y in CELLS]
        np.testing.assert_allclose(boxes_of(row), sorted(b[::-1] for b in want), atol=1e-2)
        with Image.open(tmp_path / row["picture"]) as picture:
            assert min(picture.size) == max(240, min(h, w))
    # What cannot be read is named, with the reason, and does not stop the others.
    assert sorted(entry["file"].split("/")[-1] for entry in found["unreadable"]) == [
        "cut.jpg",
        "text.png",
    ]
    assert "cannot be read" in result.stdout and "text.png is not an image" in result.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["images"], summary["detections"], summary["unreadable"]) == (3, 12, 2)
    assert summary["images_per_second"] > 0 and "4 circle" in result.stdout


def test_a_pattern_a_threshold_and_the_debug_size(known_run, pictures, call_experiment):
    result = call_experiment(
        "detect",
        f"--checkpoint={known_run}",
        f"--images={pictures}/*.jpg",
        "--score_threshold=0.9",
        "--debug",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads((known_run / "detect" / "detections.json").read_text())
    assert [row["detections"] for row in found["images"]] == [[]]
    assert len(found["unreadable"]) == 1 and "nothing found" in result.stdout


def test_what_does_not_exist_is_named(known_run, pictures, call_experiment, tmp_path):
    result = call_experiment("detect", f"--checkpoint={known_run}", f"--images={tmp_path}/*.jpg")
    assert result.returncode != 0
    assert "no such file, no folder with pictures" in result.stdout + result.stderr


def test_a_link_that_leads_nowhere_is_reported(known_run, call_experiment, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    done = call_experiment(
        *("detect", f"--checkpoint={known_run}", f"--images={folder}"),
        f"--output_dir={tmp_path / 'out'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(found["images"]) == 1 and "gone.png" in found["unreadable"][0]["file"]


def test_what_is_saved_for_other_tools(known_run, pictures, call_experiment, tmp_path):
    formats = "coco,voc,yolo,csv,labelme,label_studio,cvat,fiftyone"
    arguments = (f"--checkpoint={known_run}", f"--images={pictures}", f"--output_dir={tmp_path}")
    done = call_experiment("detect", *arguments, f"--save={formats}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.name in formats.split(",")) == sorted(
        formats.split(",")
    )
    found = json.loads((tmp_path / "detections.json").read_text())
    for kind in ("coco", "voc", "yolo", "fiftyone"):
        dataset = data.open(f"{kind}:{tmp_path / kind}")
        assert len(dataset) == 3 and len({example.image_id for example in dataset}) == 3
        by_size = {example.size: example for example in dataset}
        for row in found["images"]:
            example = by_size[row["height"], row["width"]]
            x, y, w, h = example.boxes_cxcywh.T
            scale = np.array([row["width"], row["height"]] * 2)
            boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=-1) * scale
            want = [d["box_xyxy"] for d in row["detections"]]
            np.testing.assert_allclose(boxes, want, atol=6e-4)
            assert [dataset.classes[k] for k in example.labels] == ["circle"] * 4
    # The list of results is what the evaluation reads.
    dataset = data.open(f"coco:{tmp_path / 'coco'}")
    categories, files = ids_of_results(tmp_path / "coco", None)
    read, remarks = read_results(
        tmp_path / "coco" / "results_train.json", dataset, categories=categories, files=files
    )
    assert [len(one) for one in read] == [4, 4, 4] and not remarks
    # What is there may have been corrected since: it is not written over.
    again = call_experiment("detect", *arguments, "--save=labelme")
    assert again.returncode and "labelme is not empty" in again.stdout + again.stderr


def test_what_cannot_be_saved(known_run, pictures, call_experiment, tmp_path):
    arguments = (f"--checkpoint={known_run}", f"--output_dir={tmp_path}")
    for formats, words in (("coco,pascal", "got 'pascal'."), ("coco,", "got ''.")):
        done = call_experiment("detect", *arguments, f"--images={pictures}", f"--save={formats}")
        assert done.returncode and "--save must be of coco, voc" in done.stderr
        assert words in done.stderr
    done = call_experiment("detect", *arguments, f"--images={pictures}", "--image_root=/")
    assert done.returncode == 1 and "--image_root is of label_studio, got none" in done.stderr
    done = call_experiment("detect", *arguments, f"--images=watch:{pictures}", "--save=coco")
    assert done.returncode and "--save is for pictures in files" in done.stdout + done.stderr
    assert not (tmp_path / "coco").exists()


def test_tiles_and_flipping(known_run, call_experiment, monkeypatch, tmp_path):
    """The network finds its four boxes in every tile, and in a mirror image the same places."""
    both, flipped = [], inference.flipped
    monkeypatch.setattr(inference, "flipped", lambda one: both.append(one) or flipped(one))
    (tmp_path / "in").mkdir()
    Image.new("RGB", (120, 64)).save(tmp_path / "in/wide.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "in/small.png")
    arguments = [f"--checkpoint={known_run}", f"--images={tmp_path}/in", f"--output_dir={tmp_path}"]
    for more, counts in {
        (): [4, 4],
        ("--tiles=64", "--overlap=0"): [4, 8],  # at 0 and 56
        ("--augment=flip",): [4, 4],
        ("--tiles=64", "--overlap=0", "--augment=flip"): [4, 8],
    }.items():
        done = call_experiment("detect", *arguments, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = json.loads((tmp_path / "detections.json").read_text())["images"]
        assert [len(row["detections"]) for row in rows] == counts, more
    assert len(both) == 2
    done = call_experiment("detect", *arguments, "--overlap=0.5")
    assert done.returncode != 0
    assert "give their size, --tiles=SIZE, as well" in done.stdout + done.stderr


def test_a_run_detects_by_its_own_suppression(known_run, call_experiment, pictures, tmp_path):
    run = shutil.copytree(known_run, tmp_path / "run")
    about = json.loads((run / "config.json").read_text())
    about["config"]["suppression"] = "linear"
    (run / "config.json").write_text(json.dumps(about))
    assert inference.load(run).options["suppression"] == "linear"
    assert inference.load(run, suppression="hard", sigma=2.0).options["sigma"] == 2.0
    arguments = ("detect", f"--checkpoint={run}", f"--images={pictures}/a.jpg")
    gaussian = ("--suppression=gaussian", "--sigma=0.1")
    for more, suppression in (((), "linear"), (gaussian, "gaussian")):
        done = call_experiment(*arguments, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((run / "detect/detections.json").read_text())
        assert found["suppression"] == suppression
    soft = inference.export(inference.load(run), tmp_path / "soft_saved_model")
    done = call_experiment("detect", f"--checkpoint={soft}", *arguments[2:], "--augment=flip")
    assert done.returncode == 1 and "suppression must be linear, got hard" in done.stderr, done


def test_a_file_that_suppresses_inside_has_thresholds_of_its_own(
    known_run, call_experiment, pictures, tmp_path
):
    detector = inference.load(known_run, score_threshold=0.5, iou_threshold=0.4)
    file = tmp_path / "mine_saved_model"
    inference.export(detector, file, nms="inside")
    arguments = ("detect", f"--checkpoint={file}", f"--images={pictures}/a.jpg")
    for more, count, threshold in (((), 4, 0.5), (("--score_threshold=0.9",), 0, 0.9)):
        done = call_experiment(*arguments, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads((tmp_path / "mine_saved_model-detect/detections.json").read_text())
        assert found["score_threshold"] == threshold and found["iou_threshold"] == 0.4
        assert [len(row["detections"]) for row in found["images"]] == [count]
    for refused, words in (("score_threshold=0.3", "at least 0.5"), ("iou_threshold=0.5", "0.4")):
        done = call_experiment(*arguments, f"--{refused}")
        assert done.returncode == 1
        assert f"must be {words}, got 0." in done.stderr and "inside this file" in done.stderr


def test_classes_without_names_are_numbered(known_run, pictures, call_experiment, tmp_path):
    run = inference.load(known_run)
    path = tmp_path / "nameless.keras"
    nameless = inference.Detector(run.model, grid=run.grid, wh=run.wh)
    inference.export(nameless, path, format="keras")
    done = call_experiment("detect", f"--checkpoint={path}", f"--images={pictures}/a.jpg")
    assert done.returncode == 0 and "a.jpg: 4 class 0" in done.stdout, done.stderr
    found = json.loads((tmp_path / "nameless.keras-detect/detections.json").read_text())
    assert found["classes"][:2] == ["class 0", "class 1"]
