"""The benchmark of detectors: the same images, budget and evaluation for both, and nothing lost."""

import csv
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import bench_detectors, bench_serve, detectors_ours, detectors_programs
from benchmarks import detectors_results as results
from benchmarks.detectors_data import Case, Files
from benchmarks.detectors_programs import Failed, Program, metered, read_record
from benchmarks.detectors_training import Peer, epochs_of
from tests.benchmarks.running import run
from tests.shared import ROOT, shared
from yolov1 import inference, models

PEER = "YOLOV1_PEER_PYTHON"  # an interpreter that has ultralytics
BURN = "import time\nwhile time.process_time() < 0.6: pass"


@pytest.fixture
def peer(tmp_path):
    """An interpreter that plays the other detector."""
    path = tmp_path / "fake_peer"
    code = (ROOT / "tests" / "benchmarks" / "fake_peer.py").read_text()
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    return path


def bench(folder, *more):
    return run(
        "bench_detectors",
        "--places=shapes=shapes:count=12",
        "--image_size=64",
        "--repeats=2",
        f"--output_dir={folder}",
        f"--output={folder / 'rows.csv'}",
        *more,
    )


def rows_of(folder):
    with (folder / "rows.csv").open() as file:
        return list(csv.DictReader(file))


def half_of_each_class(folder):
    """AP of who finds every second object of an image, and nothing else: the share of each class
    that is found, at a precision of 1."""
    found, there = np.zeros(6), np.zeros(6)
    for file in (folder / "shapes" / "yolo" / "labels" / "val").glob("*.txt"):
        labels = [int(line.split()[0]) for line in file.read_text().splitlines()]
        np.add.at(there, labels, 1)
        np.add.at(found, labels[::2], 1)
    return (found / there).mean()


@pytest.mark.slow
def test_the_other_one_alone(peer, tmp_path):
    out = tmp_path / "out"
    flags = ("--seeds=", f"--peer_python={peer}", "--peer_seeds=0,1", "--cpu_seconds=1.5")
    done = bench(out, *flags, "--pictures=3")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(out)
    assert [(r["detector"], r["seed"]) for r in rows] == [("peer", "0"), ("peer", "1")]
    known = json.loads((out / "shapes" / "calibration" / "peer.json").read_text())
    epochs = int(rows[0]["epochs"])
    assert known["epoch"] >= 0.15 and epochs == int((0.98 * 1.5 - known["fixed"]) / known["epoch"])
    assert all(0.15 * epochs < float(r["cpu_seconds"]) < 2 for r in rows)
    assert all(float(r["map_area"]) == pytest.approx(half_of_each_class(out)) for r in rows)
    assert rows[0]["ms"] == "2.0" and rows[0]["said_ms"] == "1.0" and rows[1]["ms"] == ""
    assert rows[0]["multiply_adds"] == "123000000" and rows[0]["input"] == "64x64"
    assert len(list((out / "shapes" / "pictures").glob("*.jpg"))) == 3
    text = (out / "table.md").read_text()
    assert (
        "### shapes: 12 images to learn, 12 measured, 64 px" in text and "| peer | 0, 1 |" in text
    )
    # Nothing is trained twice, and nothing is another training's.
    again = bench(out, *flags)
    assert again.stdout.count("is there") == 2
    assert [r["cpu_seconds"] for r in rows_of(out)[2:]] == [r["cpu_seconds"] for r in rows]
    other = bench(out, *flags, "--peer_epochs=2")
    assert other.returncode == 1 and "nothing is overwritten" in other.stderr


def test_what_failed_is_tried_again_and_its_time_counts(peer, tmp_path, monkeypatch):
    flags = ("--seeds=", f"--peer_python={peer}", "--peer_epochs=2", "--train_only")
    monkeypatch.setenv("FAKE_PEER_FAILS", "1")
    done = bench(tmp_path / "out", *flags)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the fake one fails" in done.stderr
    monkeypatch.delenv("FAKE_PEER_FAILS")
    assert bench(tmp_path / "out", *flags).returncode == 0
    tries = read_record(tmp_path / "out" / "shapes" / "peer" / "seed-0.cpu.json")
    assert len(tries) == 2 and 0.15 <= tries[0] < 0.3 <= tries[1]
    assert not (tmp_path / "out" / "rows.csv").exists()


@pytest.mark.slow
def test_ours_is_trained_measured_and_timed(peer, tmp_path):
    out = tmp_path / "out"
    flags = ("--epochs=2", "--peer_epochs=1", f"--peer_python={peer}", "--", "--S=2")
    done = bench(out, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["detector"]: row for row in rows_of(out)}
    assert set(rows) - {"ours, ONNX"} == {"ours", "peer"}
    summary = json.loads((out / "shapes" / "ours" / "seed-0" / "summary.json").read_text())
    ours = rows["ours"]
    assert float(ours["map_area"]) == pytest.approx(summary["map_area"], abs=1e-6)
    assert float(ours["cpu_seconds"]) > 1 and float(ours["ms"]) > 0 and ours["epochs"] == "2"
    assert "shapes: mAP@0.5, ours / peer's" in done.stdout
    assert "0: is there" not in done.stdout and "0: is there" not in bench(out, "--epochs=3").stdout
    assert "seed-0: is there" in bench(out, *flags).stdout


@pytest.mark.slow
def test_ours_answers_with_the_boxes_of_its_detector(tmp_path):
    place, rng = bench_serve.made_run(tmp_path), np.random.default_rng(0)
    ours, paths = detectors_ours.Ours(place), []
    for k, (height, width) in enumerate(((60, 90), (112, 112))):
        pixels = rng.integers(0, 255, (height, width, 3), np.uint8)
        paths.append(str(tmp_path / f"{k}.png"))
        Image.fromarray(pixels).save(paths[-1])
        assert np.array_equal(ours.read(paths[-1]), pixels)
        (found,) = inference.load(place).detect([pixels])
        rows = np.array(ours.find(paths)[k])
        assert len(rows) == len(found) > 0
        np.testing.assert_allclose(rows[:, 4], found.scores, atol=1e-5)
        # Scores that are equal but for rounding may stand in another order: each box has its own.
        corners = found.clipped().boxes_xyxy * [width, height, width, height]
        seen = np.concatenate([corners, 1000 * found.labels[:, None]], axis=1)
        apart = np.abs(rows[:, None, [0, 1, 2, 3, 5]] * [1, 1, 1, 1, 1000] - seen).max(axis=-1)
        assert np.array_equal(np.sort(apart.argmin(axis=1)), np.arange(len(rows)))
        assert apart.min(axis=1).max() < 1e-2
        assert np.array_equal(ours.detect(pixels, 0.001)[0].scores, found.scores)
    assert len(ours.detect(pixels, 2.0)[0]) == 0
    said = ours.describe(pixels)
    assert said["multiply_adds"] == models.multiply_adds(inference.load(place).model)


def test_the_other_one_learns_the_boxes_that_ours_does(tmp_path):
    """All but those that are marked difficult; the measured ones keep their marks."""
    case = Case(f"voc:{shared('data', 'voc2012mini')}", "train", "val", 64, "person,dog,horse")
    files = Files(case, tmp_path / "yolo")
    learnt, measured = case.open("train"), case.open("val")
    assert files.trained == len(learnt) and len(files.images) == len(measured)
    assert sum(example.difficult.sum() for example in files.test) > 0
    for split, dataset in (("train", learnt), ("val", measured)):
        lines = [f.read_text() for f in (tmp_path / "yolo" / "labels" / split).glob("*.txt")]
        own = sum((~example.difficult).sum() for example in dataset)
        assert "".join(lines).count("\n") == own
    for path, example in zip(files.images, measured, strict=True):
        assert Path(path).read_bytes() == example.path.read_bytes()
        assert not Path(path).samefile(example.path)  # what mends it would mend the original
    words = files.of_ours(case)
    assert words[:3] == [f"--dataset={case.dataset}", "--train_split=train", "--eval_split=val"]


def test_drawn_images_are_the_same_files_for_both(tmp_path):
    case = Case("shapes:count=3", "train", "test", 64)
    files = Files(case, tmp_path / "yolo")
    assert files.of_ours(case)[:3] == [
        f"--dataset=yolo:{tmp_path / 'yolo'}",
        "--train_split=train",
        "--eval_split=val",
    ]
    for path, example in zip(files.images, files.test, strict=True):
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), example.image)


def test_cpu_seconds_are_those_of_every_process(tmp_path, monkeypatch):
    """Also of one that nobody waited for, as the workers of a loader that is killed."""
    monkeypatch.setattr(detectors_programs, "SAMPLED", 0.1)
    leaves = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-S', '-c', {BURN!r}])\n"
        "while open(f'/proc/{child.pid}/stat').read().split()[2] != 'Z': time.sleep(0.05)\n"
        "time.sleep(0.5)\nos._exit(0)"
    )
    record = tmp_path / "cpu.json"
    for tries in (1, 2):
        detectors_programs.run([sys.executable, "-S", "-c", leaves], tmp_path / "log", record)
        assert len(read_record(record)) == tries and 0.6 <= read_record(record)[-1] < 1.5
    with metered(record):
        pass
    assert read_record(record)[-1] < 0.1


def test_weights_of_other_options_are_refused(tmp_path):
    """Also of options that only the one or the other training has."""
    files = types.SimpleNamespace(folder=tmp_path / "yolo")
    known = Peer("python", files, 64, {"flipud": 0.5})
    (tmp_path / "seed-0").mkdir()
    known.command(tmp_path / "seed-0", 0, 2)  # writes the job
    assert not known.finished(tmp_path / "seed-0", 0, 2)
    for options, there in (
        ({}, "{'flipud': 0.5}"),
        ({"flipud": 0.5, "mosaic": 0}, "{'mosaic': None}"),
    ):
        with pytest.raises(Failed, match=f"holds another training: {there}, expected"):
            Peer("python", files, 64, options).finished(tmp_path / "seed-0", 0, 2)


def test_epochs_fill_the_budget_and_no_more():
    assert epochs_of(epoch=34, fixed=40, cpu_seconds=3600) == 102  # 40 + 102 * 34 < .98 * 3600
    assert epochs_of(epoch=1, fixed=-3, cpu_seconds=100) == 98
    for epoch, fixed in ((34, 3600), (3600, 0), (0, 1), (-1, 1)):
        with pytest.raises(Failed, match="expected less than --cpu_seconds=3600"):
            epochs_of(epoch, fixed, 3600)


def test_a_detector_that_ends_says_why():
    with pytest.raises(Failed, match="no weights here"):
        Program([sys.executable, "-c", "raise SystemExit('no weights here')"])


def test_what_a_library_prints_is_no_answer():
    code = (
        "import types; from benchmarks.detectors_peer import serve; "
        "found = lambda paths: print('looking') or [[] for path in paths]; "
        "serve(lambda: print('new settings') or types.SimpleNamespace(find=found))"
    )
    program = Program([sys.executable, "-c", code])
    assert program.ask("detect", images=["a", "b"]) == {"found": [[], []]}
    program.close()


def row(detector, seed, ap, ms=""):
    figures = dict.fromkeys(results.FIGURES, ap)
    counts = {"parameters": 3e6 if detector == "peer" else "", "multiply_adds": ""}
    return {
        **{"data": "cells", "detector": detector, "seed": seed, **figures, **counts},
        **{"ap_by_class": json.dumps({"a = b": ap, "c": ""}), "cpu_seconds": 10 * seed, "ms": ms},
        **{"trained_images": 5, "images": 4, "image_size": 64},
    }


def test_the_table_has_means_and_spreads():
    pytest.importorskip("scipy", reason="the extra study is not installed")
    rows = [row("ours", seed, ap) for seed, ap in ((0, 0.5), (1, 0.6), (2, 0.85))]
    lines = results.table([*rows, row("peer", 0, 0.7, 12.345)]).splitlines()
    cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert cells[:2] == ["ours", "0, 1, 2"]
    assert cells[2].startswith("0.650 (0.500 to 0.850) [0.5") and cells[-1] == "-"
    assert cells[-2].startswith("10 (0 to 20) [")
    assert lines[5].startswith("| peer | 0 | 0.700 | 0.700 |") and "| 3.00 | - |" in lines[5]
    assert lines[5].endswith("| 12.35 |") or lines[5].endswith("| 12.34 |")
    assert lines[7] == "| detector | AP@0.5: a = b | AP@0.5: c |"
    assert lines[10] == "| peer | 0.700 | - |"


def test_ours_is_meant_not_to_be_behind():
    rows = [row("ours", 0, 0.6, 5.0), row("ours", 1, 0.8), row("peer", 0, 0.7, 10.0)]
    assert bench_detectors.verdicts(rows)[1:] == [
        ("cells: mAP@0.5, ours / peer's", "at least 1", "1", "met"),
        ("cells: COCO AP, ours / peer's", "at least 1", "1", "met"),
        ("cells: ms an image, ours / peer's", "at most 1", "0.5", "met"),
    ]
    assert len(bench_detectors.verdicts(rows[:2])) == 1


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--data=cats", "must be some of bccd, voc2012small, shapes"),
        ("--flags=bccd: --S=20", "--flags must be DATA: FLAGS with one of shapes"),
        ("--places=elsewhere", "--places must be DATA=KIND:PATH"),
        ("--seeds=a", "--seeds must be different whole numbers"),
        ("--flags=shapes: --S7", "of experiments.train"),
        ("--flags=shapes: --epochs=7", "Give --epochs or --cpu_seconds before the --"),
    ],
)
def test_mistakes_are_sentences(flag, sentence, tmp_path):
    done = bench(tmp_path, flag)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert sentence in done.stdout + done.stderr


@pytest.mark.skipif(not os.environ.get(PEER), reason=f"{PEER} names no interpreter of the peer")
def test_the_peer_itself(tmp_path):
    out = tmp_path / "out"
    flags = ("--seeds=", f"--peer_python={os.environ.get(PEER)}", "--peer_epochs=1")
    done = bench(out, *flags, "--turn_images=2")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = rows_of(out)
    assert row["program"].startswith("ultralytics ") and row["input"] == "64x64"
    # yolov8n: 8.7 GFLOPs at 640 px and 80 classes; a hundredth of the places here, fewer classes.
    assert 3.0e6 < int(row["parameters"]) < 3.2e6
    assert 35e6 < int(row["multiply_adds"]) < 43.5e6
    assert 0 < float(row["said_ms"]) <= float(row["ms"]) and float(row["cpu_seconds"]) > 1
    found = json.loads((out / "shapes" / "measured" / "peer-seed-0" / "results.json").read_text())
    assert {one["image_id"] for one in found} <= set(range(1, 13))
