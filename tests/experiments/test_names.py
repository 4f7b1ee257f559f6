"""What a user names never breaks a run; nothing that draws, and no cut file, loses its results."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import write_image
from tests.small_cfg import FEW_LAYERS
from yolov1 import inference, reporting
from yolov1.evaluation import plots
from yolov1.training import RunDirectory, WrongRun, load_run

CLASSES = ("a$_$b", "mean", "猫", "a/b")
LONG = "x" * 251  # with .jpg as long as a file's name may be
TINY = ("--image_size=32", "--S=2", "--batch_size=4", "--eval_every=0", "--ema=0.9", FEW_LAYERS)


@pytest.fixture(scope="module")
def run_without_paint(call_experiment):
    """Runs an experiment where whatever draws fails; gives what it said."""

    def broken(*arguments, **options):
        raise RuntimeError("no paint")

    def run(name, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            for place in ((inference, "draw"), (reporting, "write_report"), (plots, "write")):
                patch.setattr(*place, broken)
            done = call_experiment(name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def odd(run_without_paint, tmp_path_factory):
    """A data set and a run of it under odd names, made without a picture."""
    root = tmp_path_factory.mktemp("odd")
    for k in range(4):
        write_image(root / "data/images" / (f"{LONG}.jpg" if k == 0 else f"{k}.jpg"), seed=k)
        label = root / "data/labels" / (f"{LONG}.txt" if k == 0 else f"{k}.txt")
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"{k} 0.5 0.5 0.4 0.4\n")
    (root / "data/classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    run = root / "lr[0.01]*"
    said = run_without_paint(
        *("train", f"--dataset=yolo:{root / 'data'}", "--train_split=", "--eval_split="),
        *(f"--output_dir={run}", "--epochs=3", "--checkpoint_minutes=0.000001", *TINY),
    )
    return root, run, said


@pytest.mark.slow
def test_a_training_has_its_results_without_its_pictures(odd):
    _, run, said = odd
    assert {"summary.json", "evaluation.json", "model.keras"} <= set(os.listdir(run))
    assert f"warning: {run}/report.html could not be drawn: RuntimeError: no paint" in said
    assert f"warning: {run}/pictures/00-" in said and said.count("no paint") == 7
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["ap_per_class"]) == set(CLASSES)
    assert len(list((run / "checkpoints/last").glob("*.index"))) == 2


@pytest.mark.slow
def test_the_other_experiments_have_theirs(odd, run_without_paint, tmp_path):
    root, run, _ = odd
    said = run_without_paint("evaluate", f"--checkpoint={run}", f"--output_dir={tmp_path / 'a'}")
    assert {"summary.json", "evaluation.json"} <= set(os.listdir(tmp_path / "a"))
    assert f"{tmp_path}/a/plots could not be drawn" in said and said.count("no paint") == 7
    said = run_without_paint(
        *("inspect_dataset", f"--dataset=yolo:{root / 'data'}", f"--output_dir={tmp_path / 'b'}")
    )
    assert json.loads((tmp_path / "b/summary.json").read_text())["pictures"] == []
    assert said.count("no paint") == 4
    said = run_without_paint(
        *("detect", f"--checkpoint={run}", f"--images={root / 'data'}"),
        f"--output_dir={tmp_path / 'c'}",
    )
    found = json.loads((tmp_path / "c/detections.json").read_text())["images"]
    assert [row["picture"] for row in found] == [None] * 4 and said.count("no paint") == 4


@pytest.mark.slow
def test_a_resume_goes_on_before_a_damaged_checkpoint(odd, run_experiment):
    _, run, _ = odd
    last = run / "checkpoints/last"
    steps = sorted(int(path.stem[5:]) for path in last.glob("*.index"))
    whole = load_run(run)[0].get_weights()
    file = last / f"ckpt-{steps[1]}.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"ckpt-3\.data-00000-of-00001 is damaged"):
        load_run(run)
    done = run_experiment("train", f"--output_dir={run}", "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{file} is damaged (" in done.stderr
    assert f"of step {steps[0]}, is taken" in done.stderr
    assert [row["epoch"] for row in RunDirectory(run).read_metrics()] == ["1", "2", "3"]
    for a, b in zip(whole, load_run(run)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # What failed to be drawn before is there now.
    pictures = sorted(path.name for path in (run / "pictures").glob("*.jpg"))
    assert len(pictures) == 4 and (run / "report.html").exists()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(page.count(name) > 1 for name in CLASSES)


@pytest.mark.slow
def test_a_run_without_a_whole_checkpoint_is_named(odd, call_experiment, tmp_path):
    """After the others of this module: it damages the run."""
    _, run, _ = odd
    for file in (run / "checkpoints/last").glob("*.index"):
        file.write_bytes(b"")
    with pytest.raises(WrongRun, match=r"no checkpoint that is whole: .*ckpt-3\.index is dam"):
        load_run(run)
    done = call_experiment("train", f"--output_dir={run}", "--resume")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "holds no checkpoint that is whole" in done.stderr and "ckpt-3.index" in done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos [1]")
    for name in ("\udcff.jpg", f"{LONG}.jpg", "new\nline.png"):
        write_image(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    write_image(folder / "turned.jpg", (40, 60), exif=turned)
    return folder


@pytest.mark.slow
def test_detect_takes_photos_of_any_name_upright(
    known_run, photos, run_experiment, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(photos.parent))
    done = run_experiment(
        *("detect", f"--checkpoint={known_run}", f"--images=~/{photos.name}/*g"),
        f"--output_dir={tmp_path / 'a[b]'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "a[b]/detections.json").read_text())["images"]
    assert {os.path.basename(row["file"]) for row in rows} == set(os.listdir(photos))
    assert (
        len(os.listdir(tmp_path / "a[b]/pictures")) == 4 and "\\udcff.jpg: 4 circle" in done.stdout
    )
    (row,) = (row for row in rows if row["file"].endswith("turned.jpg"))
    assert (row["height"], row["width"], row["orientation"]) == (60, 40, 6)
    corners = np.array([d["box_xyxy"] for d in row["detections"]])
    assert corners[:, 2].max() == pytest.approx(35, abs=1e-2)  # 0.875 of the width
    assert corners[:, 3].max() == pytest.approx(52.5, abs=1e-2)
    assert Image.open(tmp_path / "a[b]" / row["picture"]).size == (240, 360)
    assert all("orientation" not in other for other in rows if other is not row)
