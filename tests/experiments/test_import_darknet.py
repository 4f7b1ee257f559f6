"""Darknet's files to a run and back: what is read, what is refused, and nothing half-written."""

import json
import os
import runpy
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.shared import shared
from yolov1.data.formats.voc import VOC_CLASSES

GOLDEN = ("golden", "darknet_full")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """micro20.cfg with its weights, and the images it was run on as a YOLO data set."""
    root = tmp_path_factory.mktemp("darknet")
    text = shared(*GOLDEN, "text")
    recipe = runpy.run_path(shared(*GOLDEN, "recipe.py"))
    golden = json.loads((text / "micro20.json").read_text())
    shutil.copy(text / "micro20.cfg", root)
    assert recipe["write"](golden, root / "micro20.weights") == golden["weights_md5"]
    for folder in ("images", "labels"):
        shutil.copytree(text / folder, root / "data" / folder)
    names = "".join(f"{name}\n" for name in VOC_CLASSES)
    (root / "data/classes.txt").write_text(names)
    (root / "voc.names").write_text(names)
    listed = "".join(f"{path}\n" for path in sorted((root / "data/images").iterdir()))
    (root / "test.txt").write_text(listed)
    (root / "voc.data").write_text(
        "classes = 20\ntrain = test.txt\nvalid = test.txt\nnames = voc.names\n"
    )
    return root


@pytest.fixture(scope="module")
def imported(files, call_experiment):
    run = files / "run"
    done = call_experiment(
        "import_darknet", *pair(files), f"--data={files}/voc.data", f"--output_dir={run}"
    )
    assert done.returncode == 0, done.stderr
    return run, done.stdout


def pair(files):
    return f"--cfg={files}/micro20.cfg", f"--weights={files}/micro20.weights"


def predictions(model):
    images = np.random.default_rng(0).random((2, 112, 112, 3), np.float32)
    return np.asarray(model(images, training=False))


def test_what_a_run_holds(files, imported):
    run, said = imported
    assert set(os.listdir(run)) == {
        *("config.json", "network.cfg", "checkpoints", "darknet.json", "model.keras"),
        *("summary.json", "report.html"),
    }
    config = json.loads((run / "config.json").read_text())
    assert config["config"]["model"] == "darknet:network.cfg"
    assert config["config"]["resize"] == "darknet" and config["classes"] == list(VOC_CLASSES)
    assert config["config"]["dataset"] == f"yolo:{files}/voc.data"
    assert config["config"]["eval_split"] == "valid"
    assert config["grid"] == {"S": 7, "B": 2, "C": 20, "image_size": 112}
    assert (run / "network.cfg").read_text() == (files / "micro20.cfg").read_text()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["parameters"] == 584214 and summary["layers"] == 11 and summary["seen"] == 0
    assert summary["import_seconds"] > 0 and summary["peak_memory_bytes"] > 1e8
    layers = json.loads((run / "darknet.json").read_text())["layers"]
    assert [row["section"] for row in layers][-2:] == ["connected", "detection"]
    assert "   9 connected         1 x   1 x 1470       577,710" in said


def test_the_layers_are_in_the_report(files, imported):
    from yolov1 import darknet
    from yolov1.darknet.weights import read_blocks

    run, _ = imported
    page = (run / "report.html").read_text()
    assert "<h2>Network</h2>" in page and "Weights of each layer" in page
    plan = darknet.plan(darknet.read_cfg(files / "micro20.cfg"))
    layers = json.loads((run / "darknet.json").read_text())["layers"]
    for layer, arrays in read_blocks(files / "micro20.weights", plan):
        row, weights = layers[layer.index], arrays["weights"].astype(np.float64)
        assert row["parameters"] == layer.floats and row["from_file"]
        assert (row["low"], row["high"]) == (weights.min(), weights.max())
        assert row["deviation"] == pytest.approx(weights.std(), rel=1e-4)
        shown = f"{row['low']:.3g} .. {row['high']:.3g}"
        assert shown in page


def test_a_run_predicts_what_its_files_do(files, imported, tmp_path):
    import keras

    from yolov1 import darknet, training

    run, _ = imported
    moved = shutil.copytree(run, tmp_path / "moved")
    model, loaded = training.load_run(moved)
    expected = predictions(darknet.load(files / "micro20.cfg", files / "micro20.weights"))
    np.testing.assert_array_equal(predictions(model), expected)
    np.testing.assert_array_equal(
        predictions(keras.saving.load_model(run / "model.keras")), expected
    )
    assert loaded.semantics == darknet.plan(darknet.read_cfg(files / "micro20.cfg")).semantics


@pytest.mark.slow
def test_result_files_are_darknets(files, imported, call_experiment, tmp_path):
    """The golden files of `darknet yolo valid`, as sets per image: Darknet's order is not ours."""
    from yolov1.darknet.results import read_comp4

    run, _ = imported
    common = f"--checkpoint={run}", "--resize=darknet_black_row", "--pictures=0"
    done = call_experiment(
        "evaluate", *common, f"--comp4={tmp_path}/comp4", f"--output_dir={tmp_path}/own"
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "comp4").iterdir()} == {
        f"comp4_det_test_{name}.txt" for name in VOC_CLASSES
    }
    golden = sorted(shared(*GOLDEN, "text", "results").iterdir())
    lines = 0
    for file in golden:
        theirs, ours = (read_comp4(f) for f in (file, tmp_path / "comp4" / file.name))
        assert sorted(theirs[0]) == sorted(ours[0])
        for image in set(theirs[0]):
            a, b = (rows[[one == image for one in ids]] for ids, rows in (theirs, ours))
            nearest = np.abs(a[:, None] - b[None]).max(axis=-1).argmin(axis=1)
            assert sorted(nearest) == list(range(len(b)))
            np.testing.assert_allclose(b[nearest], a, atol=1e-4)
        lines += len(theirs[0])
    assert lines == 3595
    # Measured without the network, they give what it was measured with.
    done = call_experiment(
        *("evaluate", f"--detections={tmp_path}/comp4", f"--dataset=yolo:{files}/voc.data"),
        *("--eval_split=valid", f"--output_dir={tmp_path}/theirs", "--pictures=1"),
    )
    assert done.returncode == 0 and "remark" not in done.stdout, done.stdout + done.stderr
    own, theirs = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("own", "theirs")
    )
    assert {"images_per_second", "val_loss", "responsible_boxes"} <= set(own) - set(theirs)
    for key in ("map_voc07", "map_area", "map_coco"):
        assert own[key] == pytest.approx(theirs[key], rel=1e-6) and own[key] > 0
    assert len(list((tmp_path / "theirs/pictures").glob("*.jpg"))) == 1
    assert len(list((tmp_path / "theirs/plots").iterdir())) == 3


@pytest.mark.slow
def test_detect_measures_what_evaluate_does(files, imported, call_experiment, tmp_path):
    run, _ = imported
    images = files / "data/images"
    options = f"--score_threshold=0.001 --output_dir={tmp_path}/found".split()
    done = call_experiment("detect", f"--checkpoint={run}", f"--images={images}", *options)
    assert done.returncode == 0, done.stderr
    done = call_experiment(
        "evaluate", f"--checkpoint={run}", f"--output_dir={tmp_path}/own", "--pictures=0"
    )
    assert done.returncode == 0, done.stderr  # on the .data file's own list
    done = call_experiment(
        *("evaluate", f"--detections={tmp_path}/found/detections.json"),
        *(f"--dataset=yolo:{files}/voc.data", "--eval_split=valid", "--pictures=0"),
    )
    assert done.returncode == 0, done.stderr
    own, theirs = (
        json.loads((tmp_path / name / "summary.json").read_text())
        for name in ("own", "found/evaluate")
    )
    assert own["map_coco"] == pytest.approx(theirs["map_coco"], rel=1e-6) and own["map_coco"] > 0


def test_there_and_back_again(files, imported, call_experiment, tmp_path):
    from yolov1 import darknet

    run, _ = imported
    done = call_experiment("export_darknet", f"--checkpoint={run}", f"--output_dir={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "out")) == [
        *("run.cfg", "run.data", "run.names", "run.weights")
    ]
    whole = (files / "micro20.weights").read_bytes()
    assert (tmp_path / "out/run.weights").read_bytes() == whole
    assert darknet.read_cfg(tmp_path / "out/run.cfg") == darknet.read_cfg(files / "micro20.cfg")
    assert (tmp_path / "out/run.names").read_text() == (files / "voc.names").read_text()
    assert f"valid = {files}/test.txt\n" in (tmp_path / "out/run.data").read_text()


@pytest.mark.slow
def test_a_training_goes_on_and_back_to_darknet(files, imported, call_experiment, tmp_path):
    from yolov1 import darknet, training
    from yolov1.darknet.weights import WeightsFile

    run, _ = imported
    new = tmp_path / "new"
    done = call_experiment(
        *("train", f"--init={run}", f"--model=darknet:{files}/micro20.cfg", "--batch_size=4"),
        *(f"--dataset=yolo:{files}/data", "--train_split=", "--eval_split=", "--epochs=2"),
        *("--eval_every=0", "--augment=none", f"--output_dir={new}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    done = call_experiment("export_darknet", f"--checkpoint={new}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert WeightsFile(tmp_path / "new.weights").seen == 4 * training.RunDirectory(new).steps > 0
    trained = predictions(training.load_run(new)[0])
    again = predictions(darknet.load(tmp_path / "new.cfg", tmp_path / "new.weights"))
    np.testing.assert_array_equal(trained, again)
    start = predictions(training.load_run(run)[0])
    assert np.abs(trained - start).max() > 1e-3


def test_an_imported_run_is_not_resumed(imported, call_experiment):
    run, _ = imported
    before = (run / "config.json").read_bytes()
    done = call_experiment("train", f"--output_dir={run}", "--resume")
    assert done.returncode == 1 and f"--init={run}" in done.stderr
    assert (run / "config.json").read_bytes() == before


def test_a_run_without_data_says_what_to_give(files, call_experiment, tmp_path):
    done = call_experiment("import_darknet", *pair(files), f"--output_dir={tmp_path}/r", "--debug")
    assert done.returncode == 0 and "classes: VOC's list" in done.stdout
    done = call_experiment("evaluate", f"--checkpoint={tmp_path}/r")
    assert done.returncode == 1 and "--dataset=KIND:PATH" in done.stderr


def test_a_network_that_darknet_lacks(known_run, call_experiment, tmp_path):
    done = call_experiment(
        "export_darknet", f"--checkpoint={known_run}", f"--output_dir={tmp_path}/out"
    )
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert "layer" in done.stderr and not (tmp_path / "out").exists()


def test_a_network_of_ours_is_exported(call_experiment, tmp_path):
    from yolov1 import darknet, training
    from yolov1.training.checkpoints import build_model

    config = training.TrainConfig(
        **{"model": "fast", "model_options": "width=0.05", "activations": "linear", "ema": 0.0},
        **{"S": 2, "B": 1, "image_size": 128, "semantics": "darknet", "dataset": "shapes"},
    )
    run, classes = training.RunDirectory(tmp_path / "fast"), ("circle", "red square")
    run.create(resume=False)
    run.write_config(config, config.grid(2), classes)
    model = build_model(config, config.grid(2))
    training.save_weights(run, model)
    done = call_experiment("export_darknet", f"--checkpoint={run.path}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "no fast.data, which needs a run whose data set is" in done.stdout
    again = darknet.load(tmp_path / "fast.cfg", tmp_path / "fast.weights")
    images = np.random.default_rng(0).random((2, 128, 128, 3), np.float32)
    ours, theirs = (np.asarray(m(images, training=False)) for m in (model, again))
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(ours).max()
    # And back, as a run with the names that were written.
    done = call_experiment(
        *("import_darknet", f"--cfg={tmp_path}/fast.cfg", f"--weights={tmp_path}/fast.weights"),
        *(f"--names={tmp_path}/fast.names", f"--output_dir={tmp_path}/back"),
    )
    assert done.returncode == 0, done.stderr
    loaded, meaning = training.load_run(tmp_path / "back")
    np.testing.assert_array_equal(np.asarray(loaded(images, training=False)), theirs)
    assert meaning.classes == classes and meaning.semantics == config.loss_semantics()


def cut(files, tmp_path):
    path = tmp_path / "cut.weights"
    path.write_bytes((files / "micro20.weights").read_bytes()[:-1000])
    return [f"--weights={path}"], r"layer 9 [connected]"


def longer(files, tmp_path):
    path = tmp_path / "long.weights"
    path.write_bytes((files / "micro20.weights").read_bytes() + bytes(8))
    return [f"--weights={path}"], "8 bytes too many"


def picture(files, tmp_path):
    path = tmp_path / "x.weights"
    Image.new("RGB", (64, 64)).save(path, "PNG")
    return [f"--weights={path}"], "PNG"


def another(files, tmp_path):
    golden = shared(*GOLDEN, "headers")
    return [f"--cfg={golden}/micro.cfg", f"--weights={files}/micro20.weights"], "584214"


def old(files, tmp_path):
    cfg = shared(*GOLDEN, "cfg", "yolo@40cc104.cfg")
    return [f"--cfg={cfg}"], "2015"


def later(files, tmp_path):
    path = tmp_path / "yolov3.cfg"
    text = (files / "micro20.cfg").read_text()
    path.write_text(text[: text.index("[connected]")] + "[yolo]\nmask=0\n")
    return [f"--cfg={path}"], "YOLOv3"


def region(files, tmp_path):
    path = tmp_path / "yolov2.cfg"
    text = (files / "micro20.cfg").read_text()
    path.write_text(text[: text.index("[connected]")] + "[region]\nanchors=1,1\n")
    return [f"--cfg={path}"], "YOLOv2"


def classifier(files, tmp_path):
    cfg = shared(*GOLDEN, "cfg", "extraction@61c9d02.cfg")
    return [f"--cfg={cfg}"], "no detector"


def no_cfg(files, tmp_path):
    return [f"--cfg={tmp_path}/none.cfg"], "No such file"


def no_weights(files, tmp_path):
    return [f"--weights={tmp_path}/none"], "No such file"


def few_names(files, tmp_path):
    path = tmp_path / "few.names"
    path.write_text("cat\ndog\n")
    return [f"--names={path}"], "2 names, and"


def a_run(files, tmp_path):
    return [f"--output_dir={files}/run"], "already holds a run"


CASES = [cut, longer, picture, another, old, later, region, classifier, no_cfg, no_weights]
CASES += [few_names, a_run]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_does_not_fit_leaves_nothing_behind(case, files, imported, call_experiment, tmp_path):
    """One sentence, exit status 1, and no folder."""
    arguments, words = case(files, tmp_path)
    before = sorted(os.listdir(files))
    output = tmp_path / "out"
    done = call_experiment(
        "import_darknet", *pair(files), f"--output_dir={output}", *arguments
    )  # of a flag that is given twice the last counts
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and words in line
    assert not output.exists() and sorted(os.listdir(files)) == before
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_leaves_nothing_behind(files, call_experiment, tmp_path, monkeypatch):
    from yolov1.training import checkpoint_files

    def full(*arguments):
        raise OSError(28, "No space left on device", "ckpt-0")

    monkeypatch.setattr(checkpoint_files.CheckpointFiles, "save", full)
    done = call_experiment("import_darknet", *pair(files), f"--output_dir={tmp_path}/out")
    assert done.returncode == 1 and "No space left" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite_are_said(files, call_experiment, tmp_path):
    content = bytearray((files / "micro20.weights").read_bytes())
    content[-4:] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.weights").write_bytes(content)
    done = call_experiment(
        *("import_darknet", f"--cfg={files}/micro20.cfg", f"--weights={tmp_path}/nan.weights"),
        f"--output_dir={tmp_path}/out",
    )
    assert done.returncode == 0 and "of layer 9 [connected]" in done.stdout, done.stderr
    layers = json.loads((tmp_path / "out/darknet.json").read_text())["layers"]
    assert layers[9]["low"] is None and layers[8]["low"] < 0
    assert (tmp_path / "out/report.html").exists()


@pytest.mark.parametrize("which", ["partial", "trailing"])
def test_files_that_only_an_option_takes(which, call_experiment, tmp_path):
    headers = shared(*GOLDEN, "headers")
    weights = headers / ("partial_4.weights" if which == "partial" else "trailing.weights")
    common = (
        *(f"--cfg={headers}/micro.cfg", f"--weights={weights}", "--debug"),
        f"--output_dir={tmp_path}/out",
    )
    assert call_experiment("import_darknet", *common).returncode == 1
    done = call_experiment("import_darknet", *common, f"--{which}")
    assert done.returncode == 0, done.stderr
    layers = json.loads((tmp_path / "out/darknet.json").read_text())["layers"]
    absent = [row["index"] for row in layers if row["parameters"] and not row["from_file"]]
    assert bool(absent) == (which == "partial") and all(index >= 4 for index in absent)
