"""What may change when a run goes on: how long it is, and where its data lies."""

import csv
import json
import shutil

import pytest

from tests.data.folders import voc_xml, write_voc
from tests.small_cfg import FEW_LAYERS
from yolov1.training.schedules import WarmupSchedule

CAT = [("cat", (6, 4, 30, 24), False)]
TINY = (
    *("--image_size=32", "--S=3", "--batch_size=8", "--eval_every=0", "--eval_split=train"),
    *("--schedule=constant", "--warmup_epochs=0", FEW_LAYERS),
)


@pytest.fixture(scope="module")
def first(no_report, call_experiment, tmp_path_factory):
    """A folder with a data set and a run of one epoch on it."""
    folder = tmp_path_factory.mktemp("first")
    root = write_voc(folder / "voc", dict.fromkeys("abcdefgh", CAT))
    done = call_experiment(
        *("train", f"--dataset=voc:{root}", *TINY, "--epochs=1", f"--output_dir={folder / 'run'}")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def place(first, tmp_path):
    """A copy of it; the original does not exist any more, so to speak: the run is told so."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(f"voc:{first}", f"voc:{tmp_path / 'gone'}"))
    return tmp_path


def rows(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_more_epochs_on_data_that_was_moved(call_experiment, first, place):
    """The bits are those of a run that was never stopped, where the schedule does not know its
    end."""
    straight = call_experiment(
        *("train", f"--dataset=voc:{first / 'voc'}", *TINY, "--epochs=2"),
        f"--output_dir={place / 'straight'}",
    )
    assert straight.returncode == 0, straight.stdout + straight.stderr
    resume = ("train", f"--output_dir={place / 'run'}", "--resume")
    lost = call_experiment(*resume)
    assert lost.returncode == 1 and "Traceback" not in lost.stderr
    assert str(place / "gone") in lost.stderr and "--dataset=KIND:NEW_PATH" in lost.stderr
    done = call_experiment(*resume, f"--dataset=voc:{place / 'voc'}", "--epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--resume: epochs 1 -> 2\n" in done.stdout and f"-> 'voc:{place}/voc'" in done.stdout
    names = ("epoch", "step", "loss", "xy", "wh", "class", "learning_rate")
    one, other = ([[row[n] for n in names] for row in rows(place / r)] for r in ("straight", "run"))
    assert one == other and len(one) == 2
    text = (place / "run" / "config.json").read_text()
    assert json.loads(text)["config"]["epochs"] == 2
    (resumed,) = json.loads(text)["resumed"]
    assert resumed["changed"] | {"output_dir": None} == {
        "output_dir": None,
        "dataset": [f"voc:{place / 'gone' / 'voc'}", f"voc:{place / 'voc'}"],
        "epochs": [1, 2],
    }
    fewer = call_experiment(*resume, "--epochs=1")
    assert fewer.returncode == 1
    assert "has done 2 steps, and --epochs=1 would be 1" in fewer.stderr
    assert (place / "run" / "config.json").read_text() == text
    other = call_experiment(*resume, "--learning_rate=1", "--epochs=3")
    assert other.returncode == 1 and "Leave --learning_rate out" in other.stderr


@pytest.mark.parametrize("digests", [True, False])
def test_other_data_is_refused(call_experiment, place, digests):
    resume = ("train", f"--output_dir={place / 'run'}", "--resume", f"--dataset=voc:{place}/voc")
    (place / "voc" / "Annotations" / "c.xml").write_text(
        voc_xml([*CAT, ("cat", (7, 5, 29, 23), False)])
    )
    if not digests:  # a run of an earlier version: its counts are all that is known
        (place / "run" / "content.json").unlink()
    done = call_experiment(*resume)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    what = "image 'c' has other boxes" if digests else "boxes were 8, are 9"
    assert f"--resume: the train data is not what the run started with: {what}" in done.stderr
    assert ("remark: " in done.stdout) == (not digests)
    assert str(place / "gone") in (place / "run" / "config.json").read_text()  # nothing is written


def test_evaluate_says_where_the_data_was(call_experiment, place):
    done = call_experiment("evaluate", f"--checkpoint={place / 'run'}")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(place / "gone") in done.stderr and "--dataset=KIND:NEW_PATH" in done.stderr


@pytest.mark.slow
def test_the_schedule_of_more_epochs(call_experiment, tmp_path):
    """The rate goes on where the longer schedule has it, and the program says so."""
    flags = ("train", "--dataset=shapes:count=16", "--image_size=32", "--S=3", "--eval_every=0")
    flags += ("--batch_size=8", "--warmup_epochs=0", "--learning_rate=0.001", "--epochs=1")
    done = call_experiment(*flags, f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    done = call_experiment("train", f"--output_dir={tmp_path}", "--resume", "--epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epochs 1 -> 3: from here on the schedule 'cosine' goes over 3 epochs" in done.stdout
    rates = [float(row["learning_rate"]) for row in rows(tmp_path)]
    short, long = (WarmupSchedule("cosine", 0.001, steps) for steps in (2, 6))
    expected = [float(rate) for rate in (short(2), long(4), long(6))]
    assert rates == pytest.approx(expected) and rates[0] < rates[1]


@pytest.mark.slow
def test_accumulated_batches_are_a_larger_one_in_parts(call_experiment, tmp_path):
    """With the same bits; and a run that goes on is held to it."""
    train = ("train", "--dataset=shapes:count=16", *TINY, "--epochs=2")
    for name, flags in {
        "k": ("--batch_size=4", "--accumulate=2"),
        "parts": ("--batch_size=8", "--subdivisions=2"),
    }.items():
        done = call_experiment(*train, *flags, f"--output_dir={tmp_path / name}")
        assert done.returncode == 0, done.stdout + done.stderr
    config = json.loads((tmp_path / "k" / "config.json").read_text())["config"]
    assert (config["batch_size"], config["subdivisions"]) == (8, 2)
    losses = [[row["loss"] for row in rows(tmp_path / name)] for name in ("k", "parts")]
    assert losses[0] == losses[1]
    resume = ("train", f"--output_dir={tmp_path / 'k'}", "--resume")
    refused = call_experiment(*resume, "--batch_size=4", "--accumulate=4")
    assert refused.returncode == 1
    assert "own --batch_size=8, got 16. Leave --accumulate out" in refused.stderr
    done = call_experiment(*resume, "--batch_size=4", "--accumulate=2", "--epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
