"""The benchmark against Darknet's own program: what that says is read rightly, and compared."""

import sys

import numpy as np
import pytest

from benchmarks import bench_darknet, darknet_providers
from benchmarks.darknet_program import Program
from tests.benchmarks.running import rows_of, run
from tests.shared import ROOT
from tests.small_cfg import POOL, convolution, section
from yolov1 import darknet

CFG = "\n".join(
    (
        section("net", width=28, height=28, channels=3),
        convolution(4, batch_normalize=1),
        POOL,
        section("connected", output=1470, activation="linear"),
        section("detection", classes=20, coords=4, side=7, num=2, sqrt=1),
    )
)


@pytest.fixture
def program(tmp_path):
    """A program that does as Darknet's does."""
    folder = tmp_path / "as it comes"
    (folder / "data" / "labels").mkdir(parents=True)
    (folder / "data" / "labels" / "name.txt").write_text("")
    path = folder / "darknet"
    code = (ROOT / "tests" / "benchmarks" / "fake_darknet.py").read_text()
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    return path


@pytest.fixture
def files(tmp_path):
    cfg = tmp_path / "small.cfg"
    cfg.write_text(CFG)
    weights = tmp_path / "small.weights"
    darknet_providers.random_weights(weights, cfg)
    return cfg, weights


def test_the_program_is_asked_for_one_image_after_another(program, tmp_path):
    weights = tmp_path / "w.weights"
    weights.write_text("")
    asked = Program(program, "n.cfg", weights, threads=3, threshold=0.42)
    for _ in range(2):
        answer = asked(tmp_path / "an image.png")
        assert 0.02 <= answer.seconds < 2  # by the wall: its clock() counts no sleep
        assert answer.boxes == [("dog", 42), ("tvmonitor", 3)]
    assert asked.peak_mb() > 1
    asked.close()
    assert not asked.folder.exists()


def test_a_program_that_ends_says_why(program, tmp_path):
    with pytest.raises(RuntimeError, match="Couldn't open file: .*none.weights"):
        Program(program, "n.cfg", tmp_path / "none.weights", threads=1, threshold=0.2)
    with pytest.raises(RuntimeError, match="there is no program"):
        Program(tmp_path / "none", "n.cfg", "n.weights", threads=1, threshold=0.2)


@pytest.mark.slow
def test_bench_writes_rows_of_every_part(program, files, tmp_path):
    quick = ("--repeats=3", "--starts=1", "--turn_ms=20", "--batches=1,2")
    options = (f"--cfg={files[0]}", f"--weights={files[1]}", f"--darknet={program}")
    rows, printed = rows_of(tmp_path / "rows.csv", "bench_darknet", *options, *quick)
    assert "small, network: function" in printed
    rows = {(row["part"], row["provider"], row["images"]): row for row in rows}
    theirs = "darknet:as it comes"
    network = {(p, "1") for p in ("predict", "function", "xla", "detector", theirs)} | {
        ("function", "2")
    }
    want = {("network", *case) for case in network}
    want |= {("file", name, "1") for name in (theirs, "file")}
    want |= {("start", name, "1") for name in (theirs, "ours")}
    assert set(rows) == want
    assert all(float(row["median_us"]) > 0 for row in rows.values())
    assert all(float(row["times_faster"]) == 1 for key, row in rows.items() if key[1] == theirs)
    assert float(rows["network", theirs, "1"]["median_us"]) >= 20_000
    assert float(rows["file", theirs, "1"]["median_us"]) >= 20_000
    assert rows["file", theirs, "1"]["boxes"] == "2"
    # A process with TensorFlow in it takes more than one without.
    peaks = [float(rows["start", name, "1"]["peak_mb"]) for name in ("ours", theirs)]
    assert peaks[0] > 2 * peaks[1] > 2


def test_without_the_program_ours_is_measured_alone(files, tmp_path):
    options = (f"--cfg={files[0]}", "--providers=function", "--batches=1", "--repeats=2")
    (row,), printed = rows_of(tmp_path / "rows.csv", "bench_darknet", *options)
    assert "there is no baseline" in printed
    assert (row["provider"], row["times_faster"]) == ("function", "")


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--weights=a,b", "2 --weights for 1 --cfg"),
        ("--darknet=/none/darknet", "there is no program /none/darknet"),
        ("--weights=/none.weights", "/none.weights"),
    ],
)
def test_mistakes_are_sentences(files, flag, sentence):
    done = run("bench_darknet", f"--cfg={files[0]}", flag)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert sentence in done.stderr


def test_networks_that_the_program_cannot_draw_are_refused(program, files):
    text = CFG.replace("classes=20", "classes=3").replace("1470", "637")
    files[0].write_text(text)
    done = run("bench_darknet", f"--cfg={files[0]}", f"--darknet={program}")
    assert done.returncode == 1 and "has 3 classes" in done.stderr
    files[0].write_text(CFG[: CFG.index("[detection]")].replace("linear", "leaky") + "[softmax]\n")
    done = run("bench_darknet", f"--cfg={files[0]}")
    assert done.returncode == 1 and "is a classifier" in done.stderr


def test_random_weights_keep_the_size_of_what_goes_through(files):
    model = darknet.load(*files)
    images = np.random.default_rng(0).random((2, 28, 28, 3), dtype=np.float32)
    outputs = model.predict(images, verbose=0)
    assert 0.1 < outputs.mean() < 0.4 and 0.05 < outputs.std() < 0.5
    other = files[1].with_name("again.weights")
    darknet_providers.random_weights(other, files[0])
    assert other.read_bytes() == files[1].read_bytes()


def test_boxes_are_the_same_within_a_per_cent():
    theirs = [("dog", 50), ("dog", 31), ("cat", 90)]
    assert bench_darknet.same(theirs, theirs) == 3
    assert bench_darknet.same([("dog", 30), ("dog", 51), ("cat", 90)], theirs) == 3
    assert bench_darknet.same([("dog", 28), ("dog", 50)], theirs) == 1
    assert bench_darknet.same([("bird", 50)], theirs) == bench_darknet.same([], theirs) == 0


def test_the_target_is_judged():
    row = {"network": "tiny", "part": "network", "images": 1, "provider": "function"}
    rows = [
        row | {"times_faster": 6.0},
        row | {"provider": "predict", "times_faster": 4.0},
        row | {"part": "start", "provider": "ours", "times_faster": 0.2},
        row | {"provider": "darknet:plain", "times_faster": 1.0},
        row | {"images": 8, "times_faster": 9.0},
        row | {"times_faster": ""},
    ]
    assert bench_darknet.verdicts(rows)[1:] == [
        ("tiny, network: function", "at least 5", "6", "met"),
        ("tiny, network: predict", "at least 5", "4", "missed by a factor of 1.25"),
        ("tiny, start: ours", "", "0.2", ""),
    ]
