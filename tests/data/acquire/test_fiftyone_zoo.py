"""FiftyOne itself, with a database of its own: what it writes we read, and the other way round.

Needs ``pip install 'yolov1[fiftyone]'`` and, for the database program that comes with it, OpenSSL
1.1 on LD_LIBRARY_PATH where the system has a newer one only.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.shared import ROOT, shared
from yolov1 import data
from yolov1.data.acquire import fiftyone_zoo

pytestmark = pytest.mark.slow
COUNT = 16


@pytest.fixture(scope="module")
def fiftyone(tmp_path_factory):
    """The module, with a database in a temporary folder; skips with the reason where it cannot."""
    home = tmp_path_factory.mktemp("fiftyone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIFTYONE_DATABASE_DIR", str(home / "database"))
        patch.setenv("FIFTYONE_DEFAULT_DATASET_DIR", str(home / "datasets"))
        patch.setenv("FIFTYONE_DATABASE_VALIDATION", "false")
        patch.setenv("FIFTYONE_SHOW_PROGRESS_BARS", "false")
        try:
            yield fiftyone_zoo.start_fiftyone()
        except (ImportError, RuntimeError) as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def voc():
    """Images of people and dogs, and one with neither."""
    dataset = data.open(f"voc:{shared('data', 'voc2012small')}", "train", classes="dog,person")
    empty = next(e for e in dataset if not len(e.labels))
    full = [e for e in dataset if len(e.labels)][: COUNT - 1]
    return data.Dataset([*full, empty], dataset.classes, name="people and dogs")


def export(fiftyone, samples, folder, **options):
    samples.export(
        export_dir=str(folder),
        dataset_type=fiftyone.types.FiftyOneImageDetectionDataset,
        label_field="ground_truth",
        **options,
    )
    return folder


def assert_same(read, dataset, *, difficult=True):
    assert read.classes == dataset.classes and len(read) == len(dataset) > 0
    expected = {e.image_id: e for e in dataset}
    for example in read:
        other = expected[example.image_id]
        np.testing.assert_allclose(example.boxes_cxcywh, other.boxes_cxcywh, atol=1e-6)
        assert example.labels.tolist() == other.labels.tolist()
        if difficult:
            assert example.difficult.tolist() == other.difficult.tolist()


@pytest.mark.parametrize("classes", [None, ["dog", "person"]])
def test_we_read_what_fiftyone_exports(fiftyone, voc, tmp_path, classes):
    samples = fiftyone_zoo.to_fiftyone(voc)
    folder = export(fiftyone, samples, tmp_path / "train", classes=classes)
    content = json.loads((folder / "labels.json").read_text())
    labels = {entry["label"] for found in content["labels"].values() for entry in found}
    assert content["classes"] == classes and labels == ({0, 1} if classes else {"dog", "person"})
    assert_same(data.open(f"fiftyone:{tmp_path}", "train"), voc)
    # Another order of classes, and one of them alone: FiftyOne leaves the other's boxes out.
    export(fiftyone, samples, tmp_path / "test", classes=["person"])
    people = data.open(f"fiftyone:{tmp_path}", "test")
    assert people.classes == ("person",)
    assert [int((e.labels == 1).sum()) for e in voc] == [
        {e.image_id: len(e.labels) for e in people}[e.image_id] for e in voc
    ]


def test_an_image_that_nobody_labelled_is_null(fiftyone, voc, tmp_path):
    samples = fiftyone_zoo.to_fiftyone(voc)
    unlabelled, empty = voc[0].image_id, voc[-1].image_id
    sample = samples.match(fiftyone.ViewField("image_id") == unlabelled).first()
    sample["ground_truth"] = None
    sample.save()
    folder = export(fiftyone, samples, tmp_path / "out", classes=list(voc.classes))
    labels = json.loads((folder / "labels.json").read_text())["labels"]
    assert labels[unlabelled] is None and labels[empty] == []
    read = {e.image_id: e for e in data.open(f"fiftyone:{folder}")}
    assert len(read) == COUNT and len(read[unlabelled].labels) == len(read[empty].labels) == 0
    data.write_yolo(data.open(f"fiftyone:{folder}"), tmp_path / "yolo", "train")
    for name in (unlabelled, empty):
        assert (tmp_path / "yolo" / "labels" / "train" / f"{name}.txt").read_text() == ""


def test_fiftyone_reads_what_we_write(fiftyone, voc, tmp_path):
    data.write_fiftyone(voc, tmp_path)
    samples = fiftyone.Dataset.from_dir(
        dataset_dir=str(tmp_path), dataset_type=fiftyone.types.FiftyOneImageDetectionDataset
    )
    assert len(samples) == COUNT
    expected = {e.path.name: e for e in voc}
    for sample in samples:
        example = expected[os.path.basename(sample.filepath)]
        found = sample.ground_truth.detections
        assert [d.label for d in found] == [voc.classes[k] for k in example.labels]
        boxes = np.array([d.bounding_box for d in found]).reshape(-1, 4)
        boxes[:, :2] += boxes[:, 2:] / 2
        np.testing.assert_allclose(boxes, example.boxes_cxcywh, atol=1e-6)
        # FiftyOne keeps attributes it does not know in a dictionary.
        assert [bool(d.to_dict().get("difficult")) for d in found] == example.difficult.tolist()


def test_fiftyones_own_voc_importer_agrees_with_ours(fiftyone, tmp_path):
    root = shared("data", "voc2012small")
    samples = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.VOCDetectionDataset,
        data_path=str(root / "JPEGImages"),
        labels_path=str(root / "Annotations"),
        label_field="ground_truth",
    )
    ours = data.open(f"voc:{root}")
    folder = export(fiftyone, samples, tmp_path / "out", classes=list(ours.classes))
    assert_same(data.open(f"fiftyone:{folder}"), ours)


def test_predictions_go_back(fiftyone, voc, tmp_path):
    """Database, export, conversion, an epoch of training, predictions, database."""
    from yolov1 import inference, training

    samples = fiftyone_zoo.to_fiftyone(voc, field="truth")
    samples.export(
        export_dir=str(tmp_path / "train"),
        dataset_type=fiftyone.types.FiftyOneImageDetectionDataset,
        label_field="truth",
        classes=list(voc.classes),
    )
    data.write_yolo(data.open(f"fiftyone:{tmp_path}", "train"), tmp_path, "train")
    dataset = data.open(f"yolo:{tmp_path}", "train")
    config = training.TrainConfig(
        dataset=f"yolo:{tmp_path}", model="laptop", image_size=64, batch_size=8, epochs=1
    )
    state = training.train(config, dataset, training.RunDirectory(tmp_path / "run"))
    grid = config.grid(len(dataset.classes))
    found = inference.detect(
        state.model, list(dataset), grid=grid, score_threshold=0.0, max_detections=5
    )
    assert sum(map(len, found)) > COUNT
    fiftyone_zoo.add_predictions(samples, dataset, found)
    by_name = {os.path.basename(sample.filepath): sample for sample in samples}
    for example, detections in zip(dataset, found, strict=True):
        stored = by_name[example.path.name].predictions.detections
        assert [d.label for d in stored] == [dataset.classes[k] for k in detections.labels]
        np.testing.assert_allclose([d.confidence for d in stored], detections.scores)
        corners = np.array([d.bounding_box for d in stored]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_allclose(corners, detections.boxes_xyxy, atol=1e-6)
    # FiftyOne finds them usable: its own evaluation runs on them.
    results = samples.evaluate_detections("predictions", gt_field="truth", method="open-images")
    assert 0 <= results.mAP() <= 1
    with pytest.raises(ValueError, match="16 images need as many Detections, got 1"):
        fiftyone_zoo.add_predictions(samples, dataset, found[:1])
    with pytest.raises(ValueError, match="needs one sample with a file of the name .* found 0"):
        fiftyone_zoo.add_predictions(samples[:3], dataset, found)


def test_drawn_images_need_a_file(fiftyone):
    with pytest.raises(ValueError, match="was drawn and has no file; write_fiftyone makes one"):
        fiftyone_zoo.to_fiftyone(data.open("shapes:count=1"))


ACQUIRE = """
import runpy, sys
import fiftyone.zoo
from yolov1 import data
from yolov1.data.acquire import fiftyone_zoo

def local(name, **options):
    print("asked for", name, sorted(options.items()))
    dataset = data.open("voc:{root}", "train", classes="person,dog")
    first = 10 * options["seed"]
    samples = fiftyone_zoo.to_fiftyone(dataset[first : first + options["max_samples"]])
    sample = samples.first()
    sample["ground_truth"] = None
    sample.save()
    return samples

fiftyone.zoo.load_zoo_dataset = local
sys.argv = ["prepare", "--root={out}", "--classes=person", "--samples=8"]
runpy.run_module("experiments.prepare_open_images", run_name="__main__")
"""


def test_prepare_open_images_with_local_images_in_place_of_the_download(fiftyone, tmp_path):
    code = ACQUIRE.format(root=shared("data", "voc2012small"), out=tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    asked = [line for line in result.stdout.splitlines() if line.startswith("asked for")]
    for line, split, seed in zip(asked, ("train", "test"), (1, 2), strict=True):
        assert "asked for open-images-v7" in line and f"('split', '{split}')" in line
        assert f"('seed', {seed})" in line and "('classes', ['person'])" in line
        assert (
            "('label_types', ['detections', 'classifications'])" in line
            and "('shuffle', True)" in line
        )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {s: found["images"] for s, found in summary["splits"].items()} == {"train": 8, "test": 8}
    for split in ("train", "test"):
        export = data.open(f"fiftyone:{tmp_path}", split)
        assert export.classes == ("person",)
        assert sum(len(e.labels) for e in export) > 0
        read = data.open(f"yolo:{tmp_path}", split)
        assert {e.image_id for e in read} == {e.image_id for e in export}
