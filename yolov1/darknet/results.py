"""Darknet's text files beside cfg and weights: settings, names, results and logs.

Source: ``read_data_cfg`` of option_list.c, ``print_yolo_detections`` and ``train_yolo`` of yolo.c
(pjreddie/darknet, f6afaabc, and the logs of its history); hank-ai/darknet for its form of log.
"""

import os
import re
from typing import NamedTuple

import numpy as np

from yolov1.darknet.errors import DarknetError
from yolov1.files import read_text, replacing
from yolov1.names import read_names

__all__ = [
    "Data",
    "Part",
    "Step",
    "read_comp4",
    "read_data",
    "read_log",
    "read_names",
    "short_id",
    "write_comp4",
]

# Settings.


class Data(NamedTuple):
    """What a ``.data`` file says."""

    values: dict[str, str]  # by key; "" of a line without "="
    remarks: tuple[str, ...]  # "line 3: ...", of what Darknet reads otherwise


def read_data(path) -> Data:
    """Reads a ``.data`` file: lines ``key = value``, comments as in a cfg, no sections.

    The first of equal keys counts, as for Darknet. Spaces inside a value, which Darknet deletes,
    are kept: they are of a path.

    Raises:
        ValueError: not text in UTF-8.
    """
    values, remarks, lines = {}, [], {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        key, _, value = (part.strip() for part in line.partition("="))
        key = "".join(key.split())
        if key in values:
            remarks.append(f"line {number}: {key} is not used: line {lines[key]} comes first")
            continue
        values[key], lines[key] = value, number
        if len(value.split()) > 1:
            without = "".join(value.split())
            remarks.append(
                f"line {number}: {key} = {value} has spaces; Darknet deletes them and would look "
                f"for {without}"
            )
    return Data(values, tuple(remarks))


# Results: what ``darknet yolo valid`` writes and VOC's devkit reads.


def short_id(name: str) -> str:
    """The id of an image in result files: its file's name up to the first dot (``basecfg``)."""
    base = os.path.basename(name)
    return base.partition(".")[0] or base


def read_comp4(path) -> tuple[list[str], np.ndarray]:
    """Reads the results of one class, ``comp4_det_test_<class>.txt`` or of another name.

    Args:
        path: the file, a line ``id score xmin ymin xmax ymax`` each.

    Returns:
        (ids, float64 ``[K, 5]``: score, xmin, ymin, xmax, ymax in pixels, as they stand there).

    Raises:
        DarknetError: a line that is damaged, or a number that is not finite; names file and line.
    """
    ids, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        # From the right: Darknet takes a file's name for the id, spaces too.
        image, *numbers = line.strip().rsplit(None, 5)
        try:
            row = [float(text) for text in numbers]
        except ValueError:
            row = []
        if len(row) != 5 or not np.isfinite(row).all():
            raise DarknetError(
                f"{path}: line {number} must be an id and five numbers (score, xmin, ymin, xmax, "
                f"ymax), got {line[:80]!r}. Was the file cut off?"
            )
        ids.append(image)
        rows.append(row)
    return ids, np.array(rows, np.float64).reshape(-1, 5)


def write_comp4(path, rows) -> None:
    """Writes the results of one class, as ``darknet yolo valid`` does; without rows, an empty file.

    Args:
        path: the file, ``comp4_det_test_<class>.txt`` for VOC's devkit.
        rows: iterable of (id, score, xmin, ymin, xmax, ymax).

    Raises:
        DarknetError: an id that is empty or has a space in it, which the devkit cannot read back,
            or a number that is not finite. No file is written then.
    """
    with replacing(path) as file:
        for image, *numbers in rows:
            if image.split() != [image]:
                raise DarknetError(
                    f"write_comp4: {path}: an id must be a text without spaces, got {image!r}. "
                    "Rename the image."
                )
            if len(numbers) != 5 or not np.isfinite(numbers).all():
                raise DarknetError(
                    f"write_comp4: {path}: {image} needs five finite numbers (score, xmin, ymin, "
                    f"xmax, ymax), got {numbers}."
                )
            file.write("{} {:f} {:f} {:f} {:f} {:f}\n".format(image, *numbers))


# Logs.


class Part(NamedTuple):
    """What the detection layer says of one subdivision; NaN where it holds no object."""

    iou: float  # mean overlap of the responsible boxes
    pos_cat: float  # mean output of the objects' classes
    all_cat: float  # mean output of all classes
    pos_obj: float  # mean confidence of the responsible boxes
    any_obj: float  # mean confidence of all boxes
    count: int  # objects


class Step(NamedTuple):
    """One update of a training."""

    step: int
    loss: float  # sum of squared deltas / images
    average: float  # .9 of the average before + .1 of the loss
    images: int  # since the training began
    rate: float | None  # not printed before September 2015
    seconds: float | None
    parts: tuple[Part, ...]  # one per subdivision


_NUMBER = r"([+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|nan|inf))(?:\(\w+\))?"  # Windows: -nan(ind)
_STEP = re.compile(r"\s*(\d+): (.+)")
_PART = re.compile(
    rf"Detection Avg IOU: {_NUMBER}, Pos Cat: {_NUMBER}, All Cat: {_NUMBER}, Pos Obj: {_NUMBER}, "
    rf"Any Obj: {_NUMBER}, count: (\d+)"
)
# The items of a step's line, between commas, in any order: (form, field, factor). The numbers
# stand before their names, with hank-ai behind them.
_ITEMS = tuple(
    (re.compile(form.replace("#", _NUMBER)), field, factor)
    for form, field, factor in (
        (r"(?:loss=)?#", "loss", 1),
        (r"(?:avg loss=#|# avg(?: loss)?)", "average", 1),
        (r"(?:rate=#|# rate)", "rate", 1),
        (r"# seconds", "seconds", 1),
        (r"# milliseconds", "seconds", 1e-3),
        (r"# images", "images", 1),
    )
)


def read_log(path) -> list[Step]:
    """The steps of a training, from what Darknet printed of it (its standard output).

    All its forms are read: that of today, of AlexeyAB's ``detector train``, of August and September
    2015 (``epoch:``), and of hank-ai's (``loss=``). Other lines, also damaged ones, are left out.

    Raises:
        DarknetError: no step is in the file.
    """
    steps, parts = [], []
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if match := _PART.match(line):
                *numbers, count = match.groups()
                parts.append(Part(*map(float, numbers), int(count)))
            elif step := _step(line, parts):
                steps.append(step)
                parts = []
    if not steps:
        raise DarknetError(
            f"{path} is no log of a training: expected lines such as '1: 1040.426270, 1040.426270 "
            "avg, 0.001000 rate, 0.036057 seconds, 2 images'. Darknet prints them to its standard "
            "output."
        )
    return steps


def _step(line, parts):
    match = _STEP.match(line)
    if not match:
        return None
    found = {"rate": None, "seconds": None}
    for item in match[2].split(","):
        for form, field, factor in _ITEMS:
            if numbers := form.fullmatch(item.strip()):
                found[field] = float(next(filter(None, numbers.groups()))) * factor
    if not {"loss", "average", "images"} <= found.keys():
        return None
    found["images"] = int(found["images"])
    return Step(step=int(match[1]), parts=tuple(parts), **found)
