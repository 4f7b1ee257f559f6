"""Rows of what trainings and exports measured, for docs/results.md.

    python -m benchmarks.collect_results --name=make_train --runs='runs/make_train/seed-*'
    python -m benchmarks.collect_results --name=losses --runs='runs/losses/*/seed-*'     # a study
    python -m benchmarks.collect_results --name=shapes --exports=runs/shapes/export

Adds a line for each run directory to benchmarks/results/runs.csv, and for each file that
experiments.export proved to exports.csv, with the revision, the machine and the date of the
measurement. The same run is not added twice.
"""

import csv
import glob
import json
from pathlib import Path

from absl import app, flags

from benchmarks import harness
from yolov1 import training
from yolov1.files import user_path

FIGURES = ("map_area", "map_voc07", "map_coco", "val_loss", "seconds", "images_per_second")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a flag is --NAME=VALUE.")
    folder = user_path(flags.FLAGS.results)
    for path in matching(flags.FLAGS.runs):
        add(folder / "runs.csv", [run_row(path)], ("name", "variant", "seed", "started"))
    for path in matching(flags.FLAGS.exports):
        add(folder / "exports.csv", export_rows(path), ("name", "format", "precision", "started"))


def matching(patterns):
    """The folders that patterns stand for, each of which must stand for one."""
    for pattern in patterns:
        found = sorted(glob.glob(str(user_path(pattern))))
        if not found:
            raise app.UsageError(f"{pattern}: no such folder.")
        yield from map(Path, found)


def run_row(path) -> dict:
    """What a finished run measured."""
    run = training.RunDirectory(path)
    config, _, _ = run.read_config()
    summary = run.read_json("summary.json")
    if not summary:
        raise app.UsageError(f"{path} holds no summary.json: the run is not finished.")
    missing = [name for name in FIGURES if name not in summary]
    if missing:
        raise app.UsageError(
            f"{path}: summary.json has no {', '.join(missing)}. Give runs of a detector."
        )
    figures = {name: round(summary[name], 6) for name in FIGURES}
    variant = path.absolute().parent.name  # of a study: OUTPUT_DIR/FLAG=VALUE/seed-N
    row = {
        "benchmark": "runs",
        "name": flags.FLAGS.name,
        "variant": variant if "=" in variant else "",
    }
    row |= {"seed": config.seed, "epochs": config.epochs}
    return row | figures | environment(run.read_json("config.json")["environment"])


def export_rows(folder) -> list[dict]:
    """What the proof said of each file; of a format and precision the first, as the README has."""
    found = json.loads((folder / "export.json").read_text())
    rows = {}
    for file in found["exports"]:
        if "ms" not in file or file["input"] != "float32":
            continue
        rows.setdefault(
            (file["format"], file["precision"]),
            {
                "benchmark": "exports",
                "name": flags.FLAGS.name,
                "format": file["format"],
                "precision": file["precision"],
                "nms": file["nms"],
                "megabytes": round(file["bytes"] / 1e6, 4),
                "of_run": round(file["ms"] / file["run_ms"], 4),
                "deviation": float(f"{file['prediction_deviation']:.3g}"),
                "boxes_px_99": round(file["boxes"]["deviation_px_99"], 4),
                "map_change": round(file["change"]["map_voc07"], 6),
                "images": file["images"],
            }
            | environment(found["environment"]),
        )
    return list(rows.values())


def environment(recorded) -> dict:
    """The last columns, from what a run directory or a proof records of its surroundings."""
    here = harness.environment()
    return {
        "device": flags.FLAGS.device or here["device"],
        "cpus": recorded["cpu_count"],
        **{name: recorded[name] for name in ("python", "tensorflow", "numpy")},
        "revision": recorded["git_revision"] or "unknown",
        "started": recorded["started"],
        "date": recorded["started"][:10],
    }


def add(path, rows, key):
    """Adds the rows whose key the file does not have."""
    known = set()
    if path.exists():
        with path.open(newline="") as file:
            known = {tuple(row[name] for name in key) for row in csv.DictReader(file)}
    new = [row for row in rows if tuple(str(row[name]) for name in key) not in known]
    if new:
        harness.write_rows(path, new)
    print(f"{path}: {len(new)} of {len(rows)} rows are new")


if __name__ == "__main__":
    flags.DEFINE_string("name", None, "What docs/results.toml calls them.", required=True)
    flags.DEFINE_list("runs", [], "Run directories, or patterns.")
    flags.DEFINE_list("exports", [], "Folders of experiments.export, or patterns.")
    flags.DEFINE_string("device", "", "Processor; empty: this machine's.")
    flags.DEFINE_string("results", str(harness.RESULTS), "Folder of the CSV files.")
    app.run(main)
