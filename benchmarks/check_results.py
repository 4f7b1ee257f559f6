"""Are the figures of docs/results.md still what this machine measures?

    python -m benchmarks.check_results                    # all that take minutes; --list names them
    python -m benchmarks.check_results --only=loss,iou
    python -m benchmarks.check_results --write            # docs/results.md from docs/results.toml

Runs the programs that docs/results.toml names, each with a folder of its own, reads its figures and
says which are inside their intervals. Exit status 1 where one is outside, or a program failed.
Times are ratios of one run, with wide intervals; what is trained is a function of the seed, and its
interval is that of the seeds.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks import results_table
from yolov1.files import user_path


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}; a flag is --NAME=VALUE.")
    book = results_table.load(user_path(flags.FLAGS.table))
    if flags.FLAGS.write:
        results_table.PAGE.write_text(results_table.render(book), encoding="utf-8")
        print(f"written: {results_table.PAGE}")
        return 0
    checks = {run["name"]: run["check"] for run in book["run"] if "check" in run}
    chosen = in_order(checks, flags.FLAGS.only or list(checks))
    if flags.FLAGS.list:
        for name in chosen:
            words = " ".join(checks[name]["program"])
            print(f"{name:16} about {checks[name]['seconds']:4} s  python -m {words}")
        return 0
    if flags.FLAGS.output_dir:
        return check(checks, chosen, user_path(flags.FLAGS.output_dir))
    with tempfile.TemporaryDirectory() as folder:
        return check(checks, chosen, Path(folder))


def in_order(checks, names) -> list[str]:
    """The named checks, each after those whose folders it takes."""
    ordered = []
    for name in names:
        if name not in checks:
            raise app.UsageError(f"--only: no check {name!r}; there are {', '.join(checks)}.")
        needed = in_order(checks, needs(checks, name))
        ordered += [n for n in (*needed, name) if n not in ordered]
    return ordered


def needs(checks, name) -> list[str]:
    """The checks whose folders a check takes."""
    words = checks[name]["program"]
    return [other for other in checks if any(f"{{{other}}}" in word for word in words)]


def check(checks, names, folder) -> int:
    """Runs them one after the other; gives the exit status."""
    outside, left_out, folders = 0, 0, {}
    for name in names:
        place = checks[name].get("data")
        missing = [place] if place and not (results_table.ROOT / place).exists() else []
        missing += [f"folder of {other}" for other in needs(checks, name) if other not in folders]
        if missing:
            left_out += 1
            print(f"{name}: left out, there is no {missing[0]}")
            continue
        folders |= {name: folder / name, "out": folder / name}
        folders[name].mkdir(parents=True, exist_ok=True)
        words = [
            word.format_map({k: str(v) for k, v in folders.items()})
            for word in checks[name]["program"]
        ]
        print(
            f"{name}: python -m {' '.join(words)} (about {checks[name]['seconds']} s)", flush=True
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=results_table.ROOT,
            capture_output=True,
            text=True,
            errors="replace",
        )
        print(f"{name}: took {time.perf_counter() - start:.0f} s")
        if done.returncode:
            outside += 1
            print(f"  failed: {(done.stdout + done.stderr).strip()[-1000:]}")
            continue
        for figure in checks[name]["figure"]:
            outside += not inside(figure, folders[name])
    said = f"{outside} outside" if outside else "all inside their intervals"
    print(f"{said}; {left_out} left out" if left_out else said)
    return 1 if outside else 0


def inside(figure, folder) -> bool:
    """Says of a figure whether it is in its interval."""
    try:
        value = read(figure, folder)
    except (OSError, LookupError, ValueError) as error:
        print(f"  OUTSIDE {figure['what']}: {figure['file']} does not say: {error!r}")
        return False
    within = figure["low"] <= value <= figure["high"]
    print(
        f"  {'inside ' if within else 'OUTSIDE'} {figure['what']}: {value:.4g}, expected from "
        f"{figure['low']:g} to {figure['high']:g}"
    )
    return within


def read(figure, folder) -> float:
    """A figure of what a program wrote: a key of JSON (parts with dots between them, of a list a
    number), or a column of the one row of CSV, over that of another row where it has `over`."""
    path = folder / figure["file"]
    if path.suffix == ".json":
        value = json.loads(path.read_text())
        for part in figure["key"].split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        return float(value)
    with path.open(newline="") as file:
        return results_table.ratio(list(csv.DictReader(file)), figure)


if __name__ == "__main__":
    flags.DEFINE_list("only", [], "Names of checks; what they need runs before them.")
    flags.DEFINE_boolean("list", False, "Say which there are, and run nothing.")
    flags.DEFINE_boolean("write", False, "Write docs/results.md, and run nothing.")
    flags.DEFINE_string("table", str(results_table.TOML), "The file with the checks.")
    flags.DEFINE_string("output_dir", "", "Folder to keep what they write; empty: it goes.")
    app.run(main)
