"""The table of figures: page and data agree, held pages say nothing else, checks are checked."""

import csv
import json
import re

import pytest

from benchmarks import check_results, results_table
from tests import programs
from yolov1 import training

HELD = results_table.held_text()


@pytest.fixture(scope="module")
def book():
    return results_table.load()


def test_the_page_is_what_the_data_says(book):
    page = results_table.PAGE.read_text(encoding="utf-8")
    assert page == results_table.render(book), "run python -m benchmarks.check_results --write"


def test_the_held_pages_say_nothing_else(book):
    wrong = results_table.disagreements(HELD, book)
    assert not wrong, "docs/results.toml says how an entry is written:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("pattern", "others", "named"),
    [
        (r"(\n\| \*\*fused, eager with a tape\*\* \| )\d", r"\g<1>9", "fused, eager with a tape"),
        (r"(\n\| \*\*fused in `tf.function`\*\* \| \d+, )\d", r"\g<1>9", "fused in tf.function"),
        (r"(\n\| tflite float16 \| [^|]+\| )\d", r"\g<1>9", "tflite float16"),
        # What the second of two entries about a row says.
        (r"(\n\| \*\*ours\*\* \|.*\| )\d+\.\d \|", r"\g<1>99.9 |", "ms an image on a core"),
        (r"\n\| reference under XLA", "\n| reference under TPU", "reference under TPU"),
        (r"\n\| N = \|", "\n| images |", "the table 'images' has no entry"),
        (r"(\d microseconds \()\d+( under XLA\))", r"\g<1>9\g<2>", "under XLA)"),
        (r"goes through at \d", "goes through at 9", "goes through at"),
        (r"\n## ", "\nIt detects at 999 images/s.\n\n## ", "999 images/s"),
    ],
)
def test_a_figure_that_is_changed_is_found(book, pattern, others, named):
    """Whatever it was: a row, a table or a sentence that is renamed has to be so here too."""
    changed, count = re.subn(pattern, others, HELD, count=1)
    assert count and changed != HELD, f"no held page has {pattern} any more: take another here"
    wrong = results_table.disagreements(changed, book)
    assert any(named in sentence for sentence in wrong), wrong


def test_rows_that_are_changed_are_found(book, monkeypatch):
    rows = results_table.rows_of

    def others(path):
        return [row | {"median_us": 2 * float(row["median_us"] or 0)} for row in rows(path)]

    monkeypatch.setattr(results_table, "rows_of", others)
    runs = [run for run in book["run"] if run["name"] == "loss"]
    wrong = results_table.disagreements(HELD, book | {"run": runs})
    assert any(re.search(r": \d+ is [\d.]+ in the rows", sentence) for sentence in wrong)
    assert any("'fused under XLA', '1'" in sentence for sentence in wrong)


@pytest.mark.parametrize(
    ("text", "number", "is_so"),
    [("0.985", 0.98464, True), ("0.985", 0.9844, False), ("1,465", 1464.9, True)]
    + [("6e-06", 6.49e-6, True), ("6e-06", 6.51e-6, False), ("-0.0043", -0.00432, True)]
    + [("0e+00", 0.0, True), ("103", 102.8, True), ("103", 103.6, False)],
)
def test_rounding(text, number, is_so):
    assert results_table.agrees(text, number) == is_so


def test_means_spreads_and_differences(book, monkeypatch):
    rows = [
        {"name": name, "seed": seed, "value": value}
        for name, values in {"a": "1235", "b": "234"}.items()
        for seed, value in zip("0123", values, strict=False)
    ]
    monkeypatch.setattr(results_table, "rows_of", lambda path: rows)
    run, row = {"csv": "x.csv"}, {"where": [{"name": "b"}]}
    (mean,) = results_table.cells_of(run, {"value": "value"}, row, {})
    assert mean == (3, 2, 4, 3)
    (differences,) = results_table.cells_of(
        run, {"value": "value"}, row, {"against": {"name": "a"}}
    )
    assert differences == (1, 1, 1, 3)
    with pytest.raises(ValueError, match="no row has"):
        results_table.select(rows, {"name": "c"})


BOOK = """
[[run]]
name = "run"
[run.check]
program = ["json.tool", "{folder}/measured.json", "{{out}}/summary.json"]
seconds = 1
figure = [
  {{ what = "images", file = "summary.json", key = "images", low = 8, high = 8 }},
  {{ what = "shares", file = "summary.json", key = "shares.1", low = 0, high = 1 }},
]
[[run]]
name = "next"
[run.check]
program = ["json.tool", "{{run}}/nothing.json", "{{out}}/summary.json"]
seconds = 1
figure = [{{ what = "nothing", file = "summary.json", key = "a", low = 0, high = 1 }}]
[[run]]
name = "elsewhere"
[run.check]
program = ["json.tool", "{folder}/measured.json", "{{out}}/summary.json"]
data = "{folder}/data"
seconds = 1
figure = []
[[run]]
name = "after"
[run.check]
program = ["json.tool", "{{elsewhere}}/summary.json", "{{out}}/summary.json"]
seconds = 1
figure = []
"""


@pytest.mark.parametrize(
    ("images", "only", "code", "said"),
    [
        (8, "run", 0, ["inside  images: 8", "inside  shares: 0.5", "all inside"]),
        (9, "run", 1, ["OUTSIDE images: 9, expected from 8 to 8", "1 outside"]),
        (
            8,
            "next",
            1,
            ["inside  images: 8", "next: python", "failed", "nothing.json", "1 outside"],
        ),
        (8, "elsewhere", 0, ["left out, there is no", "/data", "; 1 left out"]),
        (8, "after", 0, ["after: left out, there is no folder of elsewhere", "; 2 left out"]),
        (8, "other", 1, ["no check 'other'; there are run, next"]),
    ],
)
def test_small_checks(tmp_path, images, only, code, said):
    (tmp_path / "book.toml").write_text(BOOK.format(folder=tmp_path))
    (tmp_path / "measured.json").write_text(json.dumps({"images": images, "shares": [0, 0.5]}))
    done = programs.call(
        "benchmarks.check_results",
        *(f"--table={tmp_path / 'book.toml'}", f"--only={only}", f"--output_dir={tmp_path}"),
    )
    assert done.returncode == code, done.stdout + done.stderr
    for words in said:
        assert words in done.stdout + done.stderr


def test_figures_are_read_where_they_say(tmp_path, capsys):
    (tmp_path / "a.json").write_text('{"exports": [{"change": {"map": -0.25}}]}')
    figure = {"what": "map", "file": "a.json", "key": "exports.0.change.map", "low": -1, "high": 0}
    assert check_results.read(figure, tmp_path) == -0.25
    (tmp_path / "a.csv").write_text("provider,us\nours,2\ntheirs,5\ntheirs,6\n")
    ratio = {"file": "a.csv", "value": "us", "where": {"provider": "ours"}}
    assert check_results.read(ratio, tmp_path) == 2
    assert check_results.read(ratio | {"over": {"us": "5"}}, tmp_path) == 0.4
    for wrong in (
        figure | {"key": "exports.1"},
        figure | {"file": "b.json"},
        figure | ratio | {"over": {"provider": "theirs"}},
        figure | {"low": -0.2},
    ):
        assert not check_results.inside(wrong, tmp_path)
    assert "2 rows have" in capsys.readouterr().out


def test_every_check_can_be_read(book):
    names = [run["name"] for run in book["run"]]
    assert len(set(names)) == len(names)
    checks = {run["name"]: run["check"] for run in book["run"] if "check" in run}
    assert check_results.in_order(checks, ["exports"]) == ["make_train", "exports"]
    for check in checks.values():
        module, *words = check["program"]
        path = results_table.ROOT / (module.replace(".", "/") + ".py")
        assert path.exists() and any("{out}" in word for word in words)
        assert all(figure["low"] <= figure["high"] for figure in check["figure"])


def test_rows_of_runs_and_exports(tmp_path):
    run = training.RunDirectory(tmp_path / "run")
    config = training.TrainConfig(seed=3, epochs=2)
    run.create(resume=False)
    run.write_config(config, config.grid(1), ["thing"])
    words = ("benchmarks.collect_results", "--name=mine", f"--results={tmp_path}")
    done = programs.call(*words, f"--runs={run.path}")
    assert done.returncode == 1 and "not finished" in done.stderr
    assert programs.call(*words, f"--runs={tmp_path}/none*").returncode == 1
    training.write_json(run / "summary.json", {"accuracy": 1.0, "seconds": 2.0})  # a classifier's
    done = programs.call(*words, f"--runs={run.path}")
    assert done.returncode == 1 and "has no map_area, map_voc07" in done.stderr
    names = ("map_area", "map_voc07", "map_coco", "val_loss", "seconds", "images_per_second")
    training.write_json(run / "summary.json", dict.fromkeys(names, 0.25))
    for _ in range(2):  # once is enough
        assert programs.call(*words, f"--runs={tmp_path}/r*n").returncode == 0
    (row,) = csv.DictReader((tmp_path / "runs.csv").open())
    environment = run.read_json("config.json")["environment"]
    assert (row["name"], row["seed"], row["map_area"]) == ("mine", "3", "0.25")
    assert row["revision"] == (environment["git_revision"] or "unknown")
    file = {"format": "onnx", "precision": "float32", "nms": "inside", "input": "float32"}
    file |= {"bytes": 2e6, "ms": 1, "run_ms": 4, "prediction_deviation": 1e-6, "images": 8}
    file |= {"boxes": {"deviation_px_99": 0.5}, "change": {"map_voc07": -0.125}}
    found = [file, file | {"nms": "outside"}, {"format": "tflite", "left_out": "an extra"}]
    training.write_json(tmp_path / "export.json", {"exports": found, "environment": environment})
    assert programs.call(*words, f"--exports={tmp_path}").returncode == 0
    (row,) = csv.DictReader((tmp_path / "exports.csv").open())
    assert (row["megabytes"], row["of_run"], row["map_change"]) == ("2.0", "0.25", "-0.125")
