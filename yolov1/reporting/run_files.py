"""What a run directory holds, read as far as it is there."""

import csv
import dataclasses
import json
import math
from pathlib import Path

from yolov1.microscope.record import Record, RecordError, read_record

PICTURE_SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
JSON_FILES = ("config", "summary", "evaluation", "dataset")
OF_SOME_RUNS = {"darknet": "darknet.json", "export": "export/export.json"}  # absence says nothing


@dataclasses.dataclass
class RunFiles:
    """The parts of a run; a part that is missing or unreadable is empty.

    Attributes:
        path: the directory.
        config, summary, evaluation, dataset, darknet: the JSON files of these names.
        export: what ``export/export.json`` holds.
        metrics: column -> one float per row of ``metrics.csv``, NaN where a cell is empty.
        pictures: the files in ``pictures/``, by name.
        watched: what ``watched.npz`` holds; None of a run that watches no image.
        missing: (name, why) of every part that could not be read.
    """

    path: Path
    config: dict
    summary: dict
    evaluation: dict
    dataset: dict
    darknet: dict
    export: dict
    metrics: dict[str, list[float]]
    pictures: list[Path]
    watched: Record | None
    missing: list[tuple[str, str]]


def read_run(path) -> RunFiles:
    """Reads a run directory.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"write_report: expected the directory of a run, got {str(path)!r}."
        )
    missing = []
    parts = {name: _read(path / f"{name}.json", _json, missing) for name in JSON_FILES}
    some = {name: path / file for name, file in OF_SOME_RUNS.items() if (path / file).exists()}
    parts |= dict.fromkeys(OF_SOME_RUNS, {})
    parts |= {name: _read(file, _json, missing) for name, file in some.items()}
    folder = path / "pictures"
    pictures = sorted(f for f in folder.glob("*") if f.suffix.lower() in PICTURE_SUFFIXES)
    if not pictures:
        missing.append(("pictures/", "no picture"))
    metrics = _read(path / "metrics.csv", _columns, missing)
    watched = _watched(path / "watched.npz", missing)
    return RunFiles(
        path, **parts, metrics=metrics, pictures=pictures, watched=watched, missing=missing
    )


def _watched(path, missing):
    try:
        return read_record(path)
    except FileNotFoundError:
        return None  # which says nothing
    except RecordError as error:
        missing.append((path.name, f"unreadable: {error}"))


def _read(path, parse, missing) -> dict:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append((path.name, "not there"))
    except (OSError, ValueError, csv.Error) as error:  # JSON and Unicode errors are ValueErrors
        missing.append((path.name, f"unreadable: {error}"))
    return {}


def _json(text):
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _columns(text):
    rows = list(csv.DictReader(text.splitlines()))
    if not rows:
        raise ValueError("no rows")
    return {name: [_number(row[name]) for row in rows] for name in rows[0] if name is not None}


def _number(text) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
