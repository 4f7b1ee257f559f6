"""A review from the network to the corrected data set: planted faults, found, accepted, undone."""

import csv
import json

import numpy as np
import pytest

from tests.data.folders import corners, write_voc
from yolov1 import data

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZE = (64, 64)
# What the network of `known_run` sees in every image: a circle in the middle of each quarter.
CIRCLES = [(x, y, x + 16, y + 16) for y in (8, 40) for x in (8, 40)]
TRUTH = [("circle", box, False) for box in CIRCLES]
SPOILT = {
    "missing": TRUTH[1:],
    "unseen": [*TRUTH, ("star", (28, 28, 36, 36), False)],
    "misplaced": [("circle", (16, 8, 32, 24), False), *TRUTH[1:]],  # IoU 1/3
    "disputed": [("ring", CIRCLES[0], False), *TRUTH[1:]],
    "duplicate": [("circle", (10, 8, 26, 24), False), *TRUTH],
    "right": TRUTH,
}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """A data set with a fault of each kind in an image called so, and images without in a split
    of their own."""
    root = tmp_path_factory.mktemp("voc")
    write_voc(root, {"other": TRUTH[:2]}, CLASSES, SIZE, split="train")
    return write_voc(root, SPOILT, CLASSES, SIZE, split="test")


@pytest.fixture(scope="module")
def reviewed(call_experiment, known_run, spoilt, tmp_path_factory):
    output = tmp_path_factory.mktemp("review")
    done = call_experiment(
        *("review", f"--checkpoint={known_run}", f"--dataset=voc:{spoilt}", "--split=test"),
        *(f"--output_dir={output}", "--save=label_studio,cvat,fiftyone", "--suspicion=0"),
    )
    assert done.returncode == 0, done.stderr
    return output, done


def rows_of(output):
    with open(output / "review.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_each_fault_is_found_as_what_it_is(reviewed):
    output, done = reviewed
    rows = [row for row in rows_of(output) if float(row["score"]) > 1e-6]
    assert sorted((row["kind"], row["image"]) for row in rows) == [
        (kind, kind) for kind in sorted(SPOILT) if kind != "right"
    ]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["images"] == 6 and summary["planted"] is None and summary["warnings"] == []
    assert summary["suspects"]["unseen"] == summary["suspects"]["misplaced"] == 1
    assert f"0 score less); written to {output}" in done.stdout


def test_the_page(reviewed):
    output, _ = reviewed
    page = (output / "review.html").read_text()
    assert page.count('<figure id="s') == len(rows_of(output)) == page.count("data:image/jpeg")
    assert 'class="suspect disputed"' in page and 'id="only-disputed"' in page
    assert "rename ring to circle" in page and "image duplicate" in page
    assert "<script" not in page


def test_files_for_the_tools(reviewed):
    output, _ = reviewed
    tasks = json.loads((output / "label_studio" / "tasks.json").read_text())
    assert len(tasks) == 5
    spoilt_boxes = len(SPOILT["unseen"]) + 1 + len(TRUTH) * 3 + len(TRUTH)
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) == spoilt_boxes
    assert "disputed" in (output / "cvat" / "annotations.xml").read_text()
    assert (output / "fiftyone" / "labels.json").exists()


def decide(output, path, decisions):
    """The table with decisions, by kind; the file as a person saves it."""
    rows = rows_of(output)
    for row in rows:
        row["decision"] = decisions.get(row["kind"], "") if float(row["score"]) > 1e-6 else ""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_all_accepted_gives_the_truth(reviewed, call_experiment, spoilt, tmp_path):
    accepted = dict.fromkeys(("missing", "unseen", "misplaced", "disputed", "duplicate"), "accept")
    table = decide(reviewed[0], tmp_path / "mine.csv", accepted)
    before = {path: path.read_bytes() for path in spoilt.rglob("*.xml")}
    done = call_experiment(
        "review", f"--decisions={table}", f"--dataset=voc:{spoilt}", f"--output_dir={tmp_path}/new"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "add 1, remove 2, move 1, rename 1, keep 0, undecided" in done.stdout
    assert before == {path: path.read_bytes() for path in spoilt.rglob("*.xml")}
    corrected = data.open(f"voc:{tmp_path}/new", "test")
    assert corrected.classes == CLASSES
    for example in corrected:
        assert example.labels.tolist() == [0] * 4, example.image_id
        found = sorted(corners(example).round(3).tolist())
        assert np.array(found) == pytest.approx(np.array(sorted(map(list, CIRCLES))), abs=0.01)
    (other,) = data.open(f"voc:{tmp_path}/new", "train")  # splits that were not reviewed are kept
    assert len(other.labels) == 2
    said = json.loads((tmp_path / "new.json").read_text())
    assert said["done"]["remove"] == 2 and said["refused"] == []


def test_decisions_that_no_longer_fit(reviewed, call_experiment, spoilt, tmp_path):
    table = decide(reviewed[0], tmp_path / "mine.csv", {"disputed": "accept", "unseen": "keep"})
    given = f"--dataset=voc:{spoilt}", "--to=coco"
    done = call_experiment("review", f"--decisions={table}", *given)
    assert done.returncode == 0, done.stderr
    changed = tmp_path / "corrected"  # beside the table
    done = call_experiment(
        *("review", f"--decisions={table}", f"--dataset=coco:{changed}"),
        f"--output_dir={tmp_path}/again",
    )
    assert done.returncode == 1
    assert "no label 'ring' is at 8 8 24 24: it has been changed" in done.stdout
    assert "rename 0, keep 1" in done.stdout
    done = call_experiment("review", f"--decisions={table}", *given)  # never in place of another
    assert done.returncode == 1 and f"{changed} is not empty" in done.stderr


def test_corrected_in_label_studio(reviewed, call_experiment, spoilt, tmp_path):
    tasks = json.loads((reviewed[0] / "label_studio" / "tasks.json").read_text())
    for task in tasks:  # accepted as they are
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    done = call_experiment(
        *("review", f"--decisions={tmp_path}/export.json", f"--dataset=voc:{spoilt}"),
        "--split=test",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # What is to be removed stays in the proposal, to be looked at.
    assert "add 1, remove 0, move 1, rename 1, keep 19" in done.stdout
    assert data.splits(f"voc:{tmp_path}/corrected") == ["test"]


def test_planted_faults_are_measured(call_experiment, known_run, tmp_path):
    root = write_voc(tmp_path / "voc", {f"i{k}": TRUTH for k in range(8)}, CLASSES, SIZE)
    done = call_experiment(
        *("review", f"--checkpoint={known_run}", f"--dataset=voc:{root}", "--split=train"),
        *(f"--output_dir={tmp_path}/out", "--plant=0.2", "--plant_faults=removed,renamed"),
        *("--suspicion=0", "--pictures=3"),
    )
    assert done.returncode == 0, done.stderr
    planted = json.loads((tmp_path / "out" / "summary.json").read_text())["planted"]
    assert planted["planted"] == 6
    at = next(row for row in planted["at"] if row["looked_at"] == 6)
    assert at["precision"] == at["recall"] == 1
    assert planted["kinds"]["renamed"] == {"planted": 3, "recall": 1, "named": 1, "anywhere": 1}
    assert planted["new_suspects"]["at"][0]["precision"] == 1
    assert "6 planted faults" in done.stdout
    page = (tmp_path / "out" / "review.html").read_text()
    assert "Planted faults" in page and page.count('<figure id="s') == 3


def test_images_that_were_trained_on_are_said(call_experiment, known_run, tmp_path):
    done = call_experiment(
        *("review", f"--checkpoint={known_run}", "--split=train", f"--output_dir={tmp_path}"),
        "--pictures=0",
    )
    assert done.returncode == 0, done.stderr
    assert "warning: the network was trained on 8 of these 8 images" in done.stdout
    assert "trained on 8 of these 8 images" in (tmp_path / "review.html").read_text()
    summary = json.loads((tmp_path / "summary.json").read_text())
    # A network that sees the same everywhere proves little: nothing reaches 0.3, and that is said.
    assert rows_of(tmp_path) == [] and sum(summary["suspects"].values()) == 0
    assert summary["left_out"] > 0 and f"{summary['left_out']} score less)" in done.stdout


@pytest.mark.slow
def test_a_file_is_reviewed_with_as_its_run(reviewed, call_experiment, known_run, spoilt, tmp_path):
    data_set = f"--dataset=voc:{spoilt}"
    exported = call_experiment(
        *(
            "export",
            f"--checkpoint={known_run}",
            "--format=keras",
            f"--output_dir={tmp_path}/files",
        ),
        *(data_set, "--eval_split=test"),
    )
    assert exported.returncode == 0, exported.stdout + exported.stderr
    (file,) = (tmp_path / "files").glob("*.keras")
    done = call_experiment(
        *("review", f"--checkpoint={file}", data_set, "--split=test"),
        *(f"--output_dir={tmp_path}/out", "--suspicion=0", "--pictures=0"),
    )
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "out") == rows_of(reviewed[0])
