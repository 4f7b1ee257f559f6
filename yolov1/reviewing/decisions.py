"""``review.csv``: suspects as a table in which a person decides, and what is done then.

The column ``decision`` is empty (nothing is done), ``keep`` (the labels are right: nothing is done,
and it is counted), ``accept`` (what stands in ``proposal``), or says what to do by name:

- ``add`` a label ``new_class`` at ``new_box``;
- ``remove`` the label;
- ``move`` the label to ``new_box``;
- ``rename`` the label to ``new_class``.

``new_class`` and ``new_box`` hold what the network sees, and may be changed. Boxes are ``left top
right bottom`` in pixels of the image as it is stored. The label in question is known again by
``class`` and ``box``: where the data set has no such label any more, the decision no longer fits.
"""

import csv
import io

import numpy as np

from yolov1 import boxes as box_formats
from yolov1.data.formats.values import number
from yolov1.data.formats.writing.labelled import in_pixels
from yolov1.files import read_text, replacing
from yolov1.reviewing.boxes import corners, iou, rows_of, with_rows

COLUMNS = (
    *("rank", "decision", "proposal", "kind", "score", "image", "class", "box"),
    *("new_class", "new_box", "seen_score", "iou", "file"),
)
ACTIONS = ("add", "remove", "move", "rename")
DECISIONS = ("keep", "accept", *ACTIONS)
SAME_PX = 0.01  # how far a label may lie from where it was reviewed: what rounding moves it
REPEATED = 0.5  # IoU with a label of its class from which one that is added is there already


class NoLongerFits(ValueError):
    """A decision about labels that are not (or no longer) as they were reviewed."""


def rows(found, dataset) -> list[dict]:
    """The table: a row a suspect, best first, as text by `COLUMNS`."""
    table = []
    for rank, suspect in enumerate(found, start=1):
        example = dataset[suspect.image]
        row = dict.fromkeys(COLUMNS, "") | {
            "rank": str(rank),
            "proposal": suspect.action,
            "kind": suspect.kind,
            "score": f"{suspect.score:.4f}",
            "image": example.image_id,
            "file": str(example.path or ""),
        }
        if suspect.label is not None:
            row["class"] = dataset.classes[example.labels[suspect.label]]
            row["box"] = _box_text(corners(example)[suspect.label], example)
        if suspect.seen_class is not None:
            row["new_class"] = dataset.classes[suspect.seen_class]
            row["new_box"] = _box_text(suspect.seen_box_xyxy, example)
            row["seen_score"] = f"{suspect.seen_score:.4f}"
        row["iou"] = "" if suspect.iou is None else f"{suspect.iou:.3f}"
        table.append(row)
    return table


def write(path, table):
    """Writes the table as CSV (UTF-8 with a mark, which spreadsheets need)."""
    with replacing(path, errors="surrogateescape") as file:
        file.write("\ufeff")
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def read(path) -> list[dict]:
    """The rows of a table, as `rows` gives them; a spreadsheet may have put ``;`` between them.

    Raises:
        ValueError: no such table, or a decision that is none; names file and line.
    """
    text = read_text(path)
    head = text.partition("\n")[0]
    separator = ";" if head.count(";") > head.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    needed = ("decision", "proposal", "image", "class", "box", "new_class", "new_box")
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path} is no table of a review: it has no column {', '.join(missing)}. Take "
            "review.csv of experiments.review, and keep its first line."
        )
    table = []
    for row in reader:
        row = {key: (value or "").strip() for key, value in row.items() if key}
        decision = row["decision"].lower()
        if decision not in ("", *DECISIONS):
            raise ValueError(
                f"{path}, line {reader.line_num}: a decision must be empty or of "
                f"{', '.join(DECISIONS)}; got {row['decision']!r}."
            )
        table.append(row | {"decision": decision, "line": reader.line_num})
    return table


def apply(table, dataset) -> tuple[list, dict, list[tuple[str, str]]]:
    """The examples with what was decided of them.

    Returns:
        (a list of `Example`, those that nothing was decided of being the same; {action: how often
        it was done}, with ``keep`` and ``undecided``; (row, reason) of each decision that does not
        fit and was left out).
    """
    by_id = {example.image_id: place for place, example in enumerate(dataset)}
    classes = {name: label for label, name in enumerate(dataset.classes)}
    done = dict.fromkeys((*ACTIONS, "keep", "undecided"), 0)
    changes, refused = {}, []
    for row in table:
        action = row["proposal"] if row["decision"] == "accept" else row["decision"]
        if action in ("", "keep"):
            done[action or "undecided"] += 1
            continue
        place = by_id.get(row["image"])
        try:
            if place is None:
                raise NoLongerFits(f"{dataset.name} has no image {row['image']!r}")
            change = changes.setdefault(place, _Changes(dataset[place], classes))
            change.do(action, row)
            done[action] += 1
        except ValueError as error:
            refused.append((f"line {row['line']} ({action}, image {row['image']!r})", str(error)))
    examples = list(dataset)
    for place, change in changes.items():
        if change.touched:
            examples[place] = change.example()
    return examples, done, refused


class _Changes:
    """What is done to the labels of one image; each is found as it was before all decisions."""

    def __init__(self, example, classes):
        self.before, self.classes = example, classes
        self.rows = rows_of(example)
        self.touched, self.added = set(), 0
        height, width = example.size
        self.scale = np.array([width, height, width, height], np.float64)

    def do(self, action, row):
        if action not in ACTIONS:
            raise ValueError(f"a proposal must be of {', '.join(ACTIONS)}, got {action!r}")
        getattr(self, action)(row)

    def add(self, row):
        label, box = self._class(row), self._box(row, "new_box")
        for other in filter(None, self.rows):
            there = box_formats.cxcywh_to_xyxy(np.asarray(other[0], np.float64))
            if other[1] == label and iou(there, box) >= REPEATED:
                raise NoLongerFits(
                    f"a label {row['new_class']!r} is there by now, with an IoU of "
                    f"{iou(there, box):.2f}"
                )
        self.rows.append((box_formats.xyxy_to_cxcywh(box), label, False))
        self.touched.add(len(self.rows) - 1)

    def remove(self, row):
        self.rows[self._label(row)] = None

    def move(self, row):
        box = self._box(row, "new_box")
        k = self._label(row)
        self.rows[k] = (box_formats.xyxy_to_cxcywh(box), *self.rows[k][1:])

    def rename(self, row):
        label = self._class(row)
        k = self._label(row)
        self.rows[k] = (self.rows[k][0], label, self.rows[k][2])

    def example(self):
        return with_rows(self.before, [row for row in self.rows if row is not None])

    def _class(self, row) -> int:
        name = row["new_class"]
        if name not in self.classes:
            raise ValueError(f"new_class must be of {', '.join(self.classes)}; got {name!r}")
        return self.classes[name]

    def _label(self, row) -> int:
        """The place of the label that a row is about, which is touched from now on."""
        if not row["class"] or not row["box"]:
            raise ValueError("it is about no label: class and box are empty")
        box, label = self._box(row, "box"), self.classes.get(row["class"])
        apart = np.abs((corners(self.before) - box) * self.scale).max(axis=1, initial=0.0)
        same = np.flatnonzero((apart <= SAME_PX) & (self.before.labels == label))
        if not len(same):
            raise NoLongerFits(f"no label {row['class']!r} is at {row['box']}: it has been changed")
        if same[0] in self.touched:
            raise NoLongerFits("a decision before it has changed this label already")
        self.touched.add(same[0])
        return same[0]

    def _box(self, row, column) -> np.ndarray:
        """Corners in fractions, clipped to the image."""
        values = row[column].replace(",", " ").split()
        expected = "'left top right bottom' in pixels"
        if len(values) != 4:
            raise ValueError(f"{column} must be {expected}, got {row[column]!r}")
        box = np.array([number(value, column, expected) for value in values])
        box = np.clip(box / self.scale, 0, 1)
        if (box[2:] <= box[:2]).any():
            height, width = self.before.size
            raise ValueError(
                f"{column} has no area inside the image of {width} x {height}: {row[column]!r}"
            )
        return box


def _box_text(box_xyxy, example) -> str:
    """Corners in pixels, clipped to the image."""
    (values,) = in_pixels(np.clip(np.asarray(box_xyxy, np.float64), 0, 1)[None], example.size)
    return " ".join(map(str, values))
