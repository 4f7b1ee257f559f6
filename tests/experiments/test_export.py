"""Exports are proven: what is wrong with one has a figure, and nothing that was made is lost."""

import json
import shutil
import sys

import numpy as np
import pytest

from experiments.lib import proof
from tests.data.folders import write_voc
from tests.experiments.test_evaluate import CIRCLES, CLASSES, SIZE
from yolov1.inference import formats

# Formats that are installed.
HERE = []
for name in formats.FORMATS:
    try:
        formats.require(name)
        HERE.append(name)
    except formats.MissingExtra:
        pass
# And what some of them have.
PRECISIONS = [
    precision
    for precision in ("float32", "float16")
    if any(precision in formats.FORMATS[name].PRECISIONS for name in HERE)
]


@pytest.fixture(scope="module")
def run(known_run, tmp_path_factory):
    """A copy of the run, in which exports leave their files."""
    return shutil.copytree(known_run, tmp_path_factory.mktemp("exported") / "mine")


@pytest.fixture(scope="module")
def exported(run, call_experiment):
    """(what the command said, export.json) of all formats and precisions that are quickly made."""
    given = ("--format=all", f"--precision={','.join(PRECISIONS)}")
    done = call_experiment("export", f"--checkpoint={run}", *given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((run / "export/export.json").read_text())


@pytest.fixture
def export(run, call_experiment, tmp_path):
    """Runs the command; gives it and its export.json."""

    def call(*arguments, checkpoint=run):
        arguments = (f"--checkpoint={checkpoint}", f"--output_dir={tmp_path}/out", *arguments)
        done = call_experiment("export", *arguments)
        path = tmp_path / "out/export.json"
        return done, json.loads(path.read_text()) if path.exists() else None

    return call


@pytest.mark.slow
def test_a_soft_suppression_is_inside_or_left_to_who_runs_the_file(export):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    done, result = export("--suppression=linear", "--format=saved_model,onnx", "--debug")
    assert done.returncode == 0, done.stdout + done.stderr
    places = [(row["format"], row["nms"]) for row in result["exports"]]
    assert places == [("saved_model", "inside"), ("onnx", "outside")]
    assert done.stdout.count("suppression is outside: onnx has no linear one inside") == 1
    assert result["passed"] and result["options"]["suppression"] == "linear"


def test_each_format_is_written_and_held_against_the_run(exported, run):
    said, result = exported
    rows = {(row["format"], row["precision"]): row for row in result["exports"]}
    assert len(rows) == len(PRECISIONS) * len(formats.FORMATS) and result["passed"]
    assert [name for name in HERE if "ms" not in rows[name, "float32"]] == []
    for row in rows.values():
        if "left_out" in row:
            assert row["left_out"] in said
            continue
        assert (run / "export" / row["file"]).exists() and row["bytes"] > 1000
        assert row["ms"] > 0 and row["run_ms"] > 0 and row["exceeded"] == []
        loose = {"float32": 1e-6, "float16": 1e-3}[row["precision"]]
        assert row["prediction_deviation"] <= loose and row["largest_prediction"] == 1
        boxes = row["boxes"]
        assert boxes["boxes"] == 4 * result["images"]
        assert boxes["appeared"] == boxes["disappeared"] == 0
        assert boxes["deviation_px"] <= 32 * loose
        assert row["map_voc07"] == pytest.approx(result["run"]["map_voc07"])
        assert row["val_loss"] == pytest.approx(result["run"]["val_loss"], rel=1e-3)
        assert f"{row['bytes'] / 1e6:.2f}" in said


def test_the_json_says_what_was_done(exported, run):
    _, result = exported
    assert result["checkpoint"] == str(run) and result["dataset"] == "shapes:count=8"
    assert result["split"] == "test" and result["images"] > 0
    assert result["command"].startswith("python -m experiments.export --checkpoint=")
    assert result["classes"] == list(CLASSES) and result["grid"]["S"] == 2
    assert ("onnx" in result["environment"]["libraries"]) == ("onnx" in HERE)
    assert result["tolerance"]["float32"]["map"] < result["tolerance"]["int8"]["map"]


def test_the_summary_has_the_figures_of_each_file(exported, run):
    _, result = exported
    summary = json.loads((run / "export/summary.json").read_text())
    seen = {row["file"]: row for row in result["exports"] if "ms" in row}
    assert set(summary["files"]) == set(seen) and summary["passed"]
    for name, figures in summary["files"].items():
        assert figures["map_area"] == seen[name]["map_area"] and figures["images_per_second"] > 0
    assert summary["seconds"] == result["seconds"]


def test_the_report_shows_them(exported, run):
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<h2>Exports</h2>" in page and "keras float32" in page


def wrong_weights(monkeypatch, by):
    """From now on .keras files are written with other weights in the last layer."""
    write = formats.keras_file.write

    def other(detector, path, metadata, **options):
        layer = [layer for layer in detector.model.layers if layer.get_weights()][-1]
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + by])
        try:
            write(detector, path, metadata, **options)
        finally:
            layer.set_weights([kernel, bias])

    monkeypatch.setattr(formats.keras_file, "write", other)


@pytest.mark.first_case
@pytest.mark.parametrize(
    ("by", "figures"),
    [
        # Of outputs for 6 classes, a confidence, x, y, w, h: sides of 0.25 become 0.2601.
        ([0] * 10 + [0.01], {"predictions", "boxes"}),
        ([0] * 6 + [-0.9] + [0] * 4, {"predictions", "changed"}),
        ([0] * 7 + [0.6] + [0] * 3, {"predictions", "changed"}),
        ([0] * 6 + [1e-3] + [0] * 4, {"predictions"}),
    ],
)
def test_a_wrong_export_is_found_out(monkeypatch, export, by, figures):
    wrong_weights(monkeypatch, np.array(by))
    done, result = export("--format=keras")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    (wrong,) = result["exports"]
    assert not result["passed"]
    named = {fault["figure"] for fault in wrong["exceeded"]}
    assert named - {"map"} == figures  # which this split hardly has
    for fault in wrong["exceeded"]:
        assert fault["value"] > fault["allowed"]
        text = f"mine-float32.keras: {proof.FIGURES[fault['figure']]}: {fault['value']:.3g}"
        assert text in done.stderr


@pytest.mark.slow
def test_precision_that_is_lost_is_found_out(monkeypatch, export, tmp_path):
    """On circles where the network sees them, each found: less than that is a fall of the mAP."""
    root = write_voc(tmp_path / "voc", {"a": CIRCLES, "b": CIRCLES}, CLASSES, SIZE, split="test")
    data = (f"--dataset=voc:{root}", "--eval_split=test", "--format=keras")
    wrong_weights(monkeypatch, np.array([0] * 7 + [0.6] + [0] * 3))
    done, result = export(*data)
    assert done.returncode == 1 and "fall of a mean average precision: 1," in done.stderr
    assert result["run"]["map_voc07"] == pytest.approx(1)
    assert result["exports"][0]["change"]["map_voc07"] == pytest.approx(-1)
    loose = "--tolerance=predictions=inf,boxes=inf,changed=1,map=1"
    done, result = export(*data, loose)
    assert done.returncode == 0 and result["passed"], done.stderr
    assert result["tolerance"]["float32"] == {
        **{"predictions": None, "boxes": None, "changed": 1, "map": 1}
    }


def test_one_tolerance_for_all(exported):
    allowed = proof.tolerances(["0.5", "map=0.1"])
    assert allowed["int8"] == dict.fromkeys(proof.FIGURES, 0.5) | {"map": 0.1}
    row = exported[1]["exports"][0] | {"prediction_deviation": 0.6, "largest_prediction": 1.0}
    (fault,) = proof.held_against(row, proof.tolerances(["0.5"])["float32"])
    assert fault == {"figure": "predictions", "value": 0.6, "allowed": 0.5}


@pytest.mark.slow
def test_values_that_are_no_numbers_are_found_out(monkeypatch, export):
    wrong_weights(monkeypatch, np.array([np.nan] + [0] * 10))
    done, result = export("--format=keras,saved_model")
    assert done.returncode == 1 and "output is NaN or infinite" in done.stderr
    assert "output is NaN" in result["exports"][0]["error"] and "ms" in result["exports"][1]


def test_a_converter_that_fails_loses_no_other_format(monkeypatch, export, tmp_path):
    def fails(*_, **__):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(formats.saved_model, "write", fails)
    done, result = export("--format=saved_model,keras")
    assert done.returncode == 1
    assert "mine-float32_saved_model: RuntimeError: no such operation" in done.stderr
    assert result["exports"][0]["error"] == "RuntimeError: no such operation"
    assert "ms" in result["exports"][1] and (tmp_path / "out/mine-float32.keras").exists()
    assert "report.html shows exports in" in done.stdout


@pytest.mark.slow
def test_whole_pixels_and_suppression_outside(export):
    done, result = export("--format=saved_model", "--input=uint8", "--nms=outside")
    assert done.returncode == 0, done.stderr
    (row,) = result["exports"]
    assert (row["input"], row["nms"]) == ("uint8", "outside")
    assert row["file"] == "mine-float32-outside-uint8_saved_model"
    assert row["prediction_deviation"] < 1e-6


@pytest.mark.slow
@pytest.mark.skipif("tflite" not in HERE, reason="needs yolov1[litert]")
def test_int8_is_calibrated_on_images_as_the_network_sees_them(monkeypatch, export):
    seen, write = [], formats.litert.write

    def watched(*arguments, calibration, **options):
        seen.extend(calibration())
        return write(*arguments, calibration=calibration, **options)

    monkeypatch.setattr(formats.litert, "write", watched)
    done, result = export(
        *("--format=tflite", "--precision=int8", "--calibration=val", "--calibration_images=4"),
    )
    assert done.returncode == 0, done.stderr
    assert "int8 is calibrated on 4 of" in done.stdout
    assert len(seen) == 4 and {image.shape for image in seen} == {(1, 32, 32, 3)}
    assert all(image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1 for image in seen)
    (row,) = result["exports"]
    assert row["precision"] == "int8" and row["change"]["map_voc07"] is not None


@pytest.mark.slow
def test_a_split_without_objects_still_proves_boxes(export, tmp_path):
    root = write_voc(tmp_path / "voc", {"a": [], "b": []}, CLASSES, SIZE, split="test")
    done, result = export("--format=keras", f"--dataset=voc:{root}", "--eval_split=test")
    assert done.returncode == 0, done.stderr
    assert result["run"]["map_voc07"] is None and result["exports"][0]["boxes"]["boxes"] == 8
    assert "The split has no object" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format=caffe"], "format must be one of saved_model, tflite"),
        (["--precision=float64"], "precision of saved_model must be"),
        (["--format=keras", "--precision=int8"], "precision of keras must be 'float32', got"),
        (["--format=keras", "--nms=inside"], "nms of keras must be 'outside'"),
        (["--format=keras", "--input=uint8"], "input_dtype of keras must be"),
        (["--format="], "--format names nothing. Leave it out for all."),
        (["--precision="], "--precision names nothing. Leave it out for float32."),
        (["--tolerance=nan"], "or one VALUE for all; got 'nan'"),
        (["--tolerance=map"], "--tolerance must be a list of NAME=VALUE"),
        (["--tolerance=speed=1"], "predictions, boxes, changed, map"),
        (["--tolerance=map=-1"], "got 'map=-1'"),
        (["--format=keras", "--dataset=voc:/nowhere"], "/nowhere"),
        (["--format=keras", "--tiles=64"], "--tiles, --overlap and --augment"),
        (["--format=keras,saved_model", "--nms=inside"], "nms of keras must be 'outside'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_work_begins(export, arguments, said):
    done, result = export(*arguments)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert result is None


def test_a_library_that_is_not_installed_is_named(monkeypatch, export):
    monkeypatch.setitem(sys.modules, "openvino", None)
    done, result = export("--format=keras,openvino")
    assert done.returncode == 1 and result is None
    assert "pip install 'yolov1[openvino]'" in done.stderr
    for name in ("tf2onnx", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    done, result = export("--format=all")
    assert done.returncode == 0, done.stderr
    left_out = {row["format"]: row["left_out"] for row in result["exports"] if "left_out" in row}
    assert set(left_out) == {"openvino", "onnx", "tflite"}
    assert "pip install 'yolov1[litert]'" in left_out["tflite"]
    assert left_out["tflite"] in done.stdout


def test_a_file_cannot_be_written_once_more(exported, run, export):
    path = run / "export/mine-float32_saved_model"
    done, _ = export("--format=keras", "--dataset=shapes:count=8", checkpoint=path)
    assert done.returncode == 1 and "is an exported file already" in done.stderr


@pytest.mark.slow
def test_a_keras_file_can(exported, run, export, tmp_path):
    path = shutil.copy(run / "export/mine-float32.keras", tmp_path / "k.keras")
    data = ("--dataset=shapes:count=8", "--eval_split=test")
    done, result = export("--format=saved_model", *data, checkpoint=path)
    assert done.returncode == 0, done.stderr
    assert result["run"]["val_loss"] is None and result["exports"][0]["map_voc07"] is not None
    done, _ = export("--format=saved_model", checkpoint=path)
    assert done.returncode == 1 and f"The file {path} knows no data set" in done.stderr


def test_data_that_has_moved_and_another_task(run, export, tmp_path):
    def altered(**changes):
        other = shutil.copytree(run, tmp_path / "-".join(changes), dirs_exist_ok=True)
        values = json.loads((other / "config.json").read_text())
        values["config"] |= changes
        (other / "config.json").write_text(json.dumps(values))
        return export("--format=keras", checkpoint=other)[0]

    done = altered(dataset=f"voc:{tmp_path}/gone")
    assert done.returncode == 1 and "Where the data has moved" in done.stderr
    done = altered(task="classify", S=1, monitor="accuracy")
    assert done.returncode == 1 and "'classify'" in done.stderr and "Traceback" not in done.stderr
    done = altered(dataset="", eval_split="")
    assert done.returncode == 1 and "knows no data set; say what to measure it on" in done.stderr


# ------------------------------------------------------------------ files are measured


DATA = ("--dataset=shapes:count=8", "--eval_split=test", "--pictures=0")


@pytest.mark.first_case
@pytest.mark.parametrize("name", HERE)
def test_evaluate_measures_a_file_as_it_does_the_run(
    exported, run, call_experiment, tmp_path, name
):
    path = run / "export" / formats.FORMATS[name].name_of("mine-float32")
    known = ("--semantics=paper", f"--output_dir={tmp_path}")
    done = call_experiment("evaluate", f"--checkpoint={path}", *DATA, *known)
    assert done.returncode == 0, done.stderr
    summary, own = json.loads((tmp_path / "summary.json").read_text()), exported[1]["run"]
    for figure in (*proof.MAPS, "val_loss"):
        assert summary[figure] == pytest.approx(own[figure], rel=1e-4)
    assert summary["responsible_boxes"]["objects"] > 0


def test_a_file_does_not_know_what_its_loss_is(exported, run, call_experiment):
    path = run / "export/mine-float32.keras"
    done = call_experiment("evaluate", f"--checkpoint={path}", *DATA)
    assert done.returncode == 0, done.stderr
    summary = json.loads((run / "export/mine-float32.keras-evaluate/summary.json").read_text())
    assert "val_loss" not in summary and "responsible_boxes" not in summary
    assert summary["map_voc07"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "knows no data set"),
        (["--dataset=shapes:count=8", "--which=best"], "holds one set of weights"),
        (["--dataset=shapes:count=8", "--semantics=keras_voc"], "has wh='sqrt_in_loss', the file"),
        (["--dataset=shapes:count=8", "--iou_threshold=0.3"], "suppression is inside this file"),
        (["--dataset=shapes:count=8", "--comp4=x"], "suppression is inside this file"),
    ],
)
def test_what_evaluate_says_of_a_file(exported, run, call_experiment, arguments, said):
    path = run / "export/mine-float32_saved_model"
    done = call_experiment("evaluate", f"--checkpoint={path}", *arguments)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def test_a_run_has_semantics_of_its_own(run, call_experiment):
    done = call_experiment("evaluate", f"--checkpoint={run}", "--semantics=darknet")
    assert done.returncode == 1 and "--semantics is of a file" in done.stderr
