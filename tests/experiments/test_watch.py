"""`--watch`: what a run keeps of some images, and that it only looks."""

import csv
import dataclasses
import shutil
import types

import numpy as np
import pytest

from experiments.lib.watching import Watching
from tests.small_cfg import FEW_LAYERS
from yolov1 import data
from yolov1.cell_loss import cell_loss
from yolov1.grid import GridSpec
from yolov1.microscope.measures import image_terms
from yolov1.microscope.record import SEEN, read_record
from yolov1.reporting import write_report
from yolov1.training import RunDirectory, load_run

TINY = (
    *("--dataset=shapes:count=16", "--image_size=32", "--S=3", "--batch_size=8"),
    *("--eval_every=1", "--schedule=constant", "--warmup_epochs=0", FEW_LAYERS),
)
WATCH = "--watch=hard:3,test-00005,train:train-00002"


@pytest.fixture(scope="module")
def train(no_report, call_experiment, tmp_path_factory):
    """A function that makes a run."""

    def call(*arguments):
        run = tmp_path_factory.mktemp("runs") / "run"
        done = call_experiment("train", *TINY, *arguments, f"--output_dir={run}")
        assert done.returncode == 0, done.stdout + done.stderr
        return run

    return call


@pytest.fixture(scope="module")
def watched(train):
    return train(WATCH, "--epochs=3")


@pytest.fixture(scope="module")
def begun(train):
    return train(WATCH, "--epochs=1")


def figures(run):
    """The rows of metrics.csv without what a clock says."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {name: text for name, text in row.items() if "seconds" not in name}
            | {"images_per_second": ""}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
def test_it_changes_no_bit_of_the_training(watched, train):
    plain = train("--epochs=3")
    assert figures(watched) == figures(plain)
    one, other = (load_run(run)[0].variables for run in (watched, plain))
    assert len(one) > 10
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert not (plain / "watched.npz").exists()


def test_it_keeps_what_the_loss_sees(watched):
    record = read_record(watched / "watched.npz")
    assert record.epoch.tolist() == [1, 2, 3] and record.step.tolist() == [2, 4, 6]
    names = [image["id"] for image in record.images]
    assert names[0] == "test-00005" and names[-1] == "train-00002" and len(set(names)) == 5
    assert [image["set"] for image in record.images] == ["evaluation"] * 4 + ["training"]
    # Of the last evaluation, by the network that the run ended with.
    model, run = load_run(watched)
    options = {"split": "test", "image_size": 32, "seed": 0, "classes": run.classes}
    dataset = data.open("shapes:count=16", **options)
    by_name = {example.image_id: example for example in dataset}
    examples = [by_name[name] for name in names[:4]]
    images = np.stack([example.image / np.float32(255) for example in examples])
    targets = np.stack([data.encode_example(example, run.grid) for example in examples])
    cells = cell_loss(model(images), targets, grid=run.grid, semantics=run.semantics)
    for name, values in {
        "terms": cells.terms,
        "iou": cells.iou,
        "confidence": cells.confidences,
        "gradient": np.linalg.norm(cells.gradient, axis=-1),
    }.items():
        close = {"rtol": 1e-3, "atol": 1e-5}
        np.testing.assert_allclose(record.seen[name][-1, :4], values, **close, err_msg=name)
    np.testing.assert_array_equal(record.seen["responsible"][-1, :4], cells.responsible)
    assert record.grid == GridSpec(S=3, B=2, C=len(run.classes), image_size=32)


def test_the_hardest_are_those_of_the_first_evaluation(watched):
    record = read_record(watched / "watched.npz")
    losses = image_terms(record)[0].sum(axis=-1)
    assert (np.diff(losses[1:4]) <= 0).all()
    with (watched / "metrics.csv").open(newline="") as file:
        mean = float(next(csv.DictReader(file))["val_loss"])
    assert losses[3] > mean  # three of sixteen


@pytest.mark.slow
def test_a_resumed_run_drops_what_is_later_than_its_checkpoint(
    call_experiment, watched, begun, tmp_path
):
    run = shutil.copytree(begun, tmp_path / "run")
    later = read_record(watched / "watched.npz")
    for values in later.seen.values():
        values[1:] = 0
    later.write(run / "watched.npz")
    resume = ("train", f"--output_dir={run}", "--resume", "--epochs=3")
    done = call_experiment(*resume, "--eval_every=0")
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_record(run / "watched.npz")
    assert record.step.tolist() == [2, 6]
    straight = read_record(watched / "watched.npz")
    assert record.about == straight.about
    for name in SEEN:
        np.testing.assert_array_equal(record.seen[name], straight.seen[name][[0, 2]], err_msg=name)


@pytest.mark.slow
def test_which_images_a_run_goes_on_with(begun, tmp_path, capsys):
    """The same ones, and so does a fork, whose record is its own; others begin anew."""
    begun, new = RunDirectory(begun), RunDirectory(tmp_path / "new")
    dataset = data.open("shapes:count=16", split="test", image_size=32)
    measure = types.SimpleNamespace(eval_set=dataset, train_set=of_training(dataset))
    same = {"resume": True, "watch": WATCH.partition("=")[2]}
    fork = {"resume": False, "fork": f"{begun.path}@2"}
    record = read_record(begun.watched)
    ids = [image["id"] for image in record.images[:-1]]
    for run, changed, steps, images in (
        (begun, same, [2], ids),
        (begun, same | {"watch": "test-00001"}, None, None),
        (new, same | fork, None, ids),
        (new, same | fork | {"watch": "test-00001"}, None, None),
    ):
        config = dataclasses.replace(begun.read_config()[0], **changed)
        watching = Watching(config, run, measure)
        watching.on_train_batch_begin(2)
        assert (watching.record and watching.record.step.tolist()) == steps
        assert watching.ids == images
        said = capsys.readouterr().out
        assert (f"--watch=test-00001 begins anew: {begun.watched}" in said) == (images is None)


def of_training(dataset):
    names = (example.image_id.replace("test", "train") for example in dataset)
    return [dataclasses.replace(e, image_id=name) for e, name in zip(dataset, names, strict=True)]


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ("test-0005", "--watch: no image 'test-0005' in the evaluation set (shapes (test))."),
        ("test-0005", "There are test-00015, test-00005, "),
        ("train-00002", "The other set has it: train:train-00002."),
        ("train:test-00003", "The other set has it: test-00003."),
        ("train:x", "There are train-00000, ...."),
        ("hard:16,test-00001", "takes images of the evaluation set that are not named, of which"),
        ("hard:0", "--watch: hard:N takes the N hardest images"),
    ],
)
def test_what_is_not_there_is_refused_before_training(call_experiment, tmp_path, watch, words):
    done = call_experiment(
        "train", *TINY, "--epochs=1", f"--watch={watch}", f"--output_dir={tmp_path / 'run'}"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert words in done.stderr
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_report_shows_them(watched, tmp_path):
    run = shutil.copytree(watched, tmp_path / "run")
    page = write_report(run).read_text()
    section = page.partition("<h2>Watched images</h2>")[2].partition("</section>")[0]
    assert section.count("<h3>") == section.count("data:image/jpeg") == 5
    for title in (
        *("Object cells whose responsible box changed", "Terms of a watched image"),
        "Responsible boxes: confidence over IoU",
        *("Responsible boxes: IoU and confidence", "Terms of test-00005", "training set"),
    ):
        assert title in section, title
    assert len(section) < 5e5
    (run / "watched.npz").write_bytes(b"PK")
    page = write_report(run).read_text()
    assert "Watched images" not in page and "watched.npz (unreadable" in page
