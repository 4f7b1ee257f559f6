"""Detections in files: those that another program wrote, and those that VOC's devkit reads.

Pixels. A corner x of a file becomes x / W of an image W wide, with nothing added, as
`yolov1.data.formats.voc` does it with an XML's corners. So files are held against ``voc:PATH`` as
VOC's devkit holds them: number against number. What ``darknet yolo valid`` writes counts from 0 and
VOC's XML from 1, so its boxes lie a pixel left of and above where they would be best; that is
Darknet's, in the devkit's figures too. ``darknet detector valid`` adds 1. Against labels that
Darknet's voc_label.py wrote since March 2017 (centres a pixel less than here) it is the other way
round. What differs from the devkit are areas: it counts both corners' pixels, we do not
(`average_precision` has `pixel_offset` for that).
"""

import collections
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolov1 import boxes as box_formats
from yolov1.darknet import results
from yolov1.data.formats import values
from yolov1.data.images import turn_boxes_back
from yolov1.files import make_folder, safe_names
from yolov1.inference.detections import Detections

COMP4 = re.compile(r"comp\d_det_[^_]+_(?P<name>.+)\.txt")
FORM = "comp4_det_test_{}.txt"
NAMED = 5  # images or classes that a remark names
# COCO's ids of its 80 classes, of which ten that nobody labelled are left out.
COCO_IDS = [n for n in range(1, 91) if n not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]


class Row(NamedTuple):
    """One box of a file: the image and the class as the file calls them; corners in pixels."""

    image: str
    name: str
    score: float
    box_xyxy: tuple


def read_results(path, dataset, *, categories=None, files=None):
    """Detections that some program wrote, on the images of a data set.

    Args:
        path: a folder of comp4 files (``id score xmin ymin xmax ymax`` in pixels, a file a class);
            a COCO list of results (Darknet's coco_results.json: ``bbox`` is x, y, width, height in
            pixels); or a ``detections.json`` of `experiments.detect`.
        dataset: the `Dataset`. An image is known by its id, its file name with or without the
            suffix, and by its file name up to the first dot, as Darknet writes it.
        categories: {category_id: class name} of a COCO list; None: COCO's own ids, for a data set
            of 80 classes in COCO's order.
        files: {image_id: file name} of a COCO list; None: the number behind the last ``_`` of the
            file name, as Darknet takes it.

    Returns:
        (one `Detections` an image, in the order of the data set, clipped to the image; remarks:
        sentences on what is not measured or looks odd).

    Raises:
        ValueError: no such files, a damaged line, a number that is not finite, an id that several
            images share, or not one box of an image of the data set.
        FileNotFoundError: the path does not exist.
    """
    path = Path(path)
    images = _Images(dataset)
    if path.is_dir():
        rows, named, remarks = _read_comp4(path, dataset.classes)
    else:
        content = values.read_json(path)
        if isinstance(content, list):
            rows = _read_coco(path, content, images, dataset, categories, files)
            named, remarks = None, []
        elif isinstance(content, dict) and isinstance(content.get("images"), list):
            rows, remarks = _read_own(path, content, images)
            named = content.get("classes")
        else:
            raise ValueError(
                f"{path} is neither a COCO list of results nor a detections.json of "
                "experiments.detect."
            )
    found, more = _by_image(path, rows, images, dataset)
    if named is not None:
        absent = [name for name in dataset.classes if name not in named]
        more += _remark(absent, "classes have no file, as if nothing was found of them")
    return found, [*remarks, *more]


def write_comp4(folder, detections, dataset) -> list[str]:
    """Writes the files that VOC's devkit reads, a class each, as ``darknet yolo valid`` does.

    The id is the image's file name up to its first dot, corners are pixels counted from 0; xmin
    and ymin are clipped from below and xmax and ymax from above, and no further. Where two images
    would share an id, both keep the whole name of their file.

    Args:
        folder: made where it does not exist.
        detections: one `Detections` per image, not clipped, to be Darknet's to the digit.
        dataset: the `Dataset`.

    Returns:
        Remarks: sentences on names that are not Darknet's.
    """
    folder = make_folder(Path(folder))
    short = [results.short_id(_file_name(example)) for example in dataset]
    shared = {name for name, count in collections.Counter(short).items() if count > 1}
    ids = [
        example.image_id if name in shared else name
        for example, name in zip(dataset, short, strict=True)
    ]
    rows = {name: [] for name in dataset.classes}
    for image_id, example, found in zip(ids, dataset, detections, strict=True):
        height, width = example.size
        corners = found.boxes_xyxy.astype(float) * (width, height, width, height)
        corners[:, :2] = np.maximum(corners[:, :2], 0)
        corners[:, 2:] = np.minimum(corners[:, 2:], (width, height))
        for label, score, box in zip(found.labels, found.scores, corners.tolist(), strict=True):
            rows[dataset.classes[label]].append((image_id, float(score), *box))
    names = safe_names(dataset.classes)
    for name, lines in zip(names, rows.values(), strict=True):
        results.write_comp4(folder / FORM.format(name), lines)
    renamed = [f"{a!r} is {b!r}" for a, b in zip(dataset.classes, names, strict=True) if a != b]
    why = "ids up to the first dot are those of several images, which keep their whole names"
    return _remark(sorted(shared), why) + _remark(
        renamed, "classes cannot be the name of a file as they are"
    )


# ------------------------------------------------------------------ the kinds of files


def _read_comp4(folder, classes):
    """(rows, classes that have a file, remarks)."""
    spelt = dict(zip(safe_names(classes), classes, strict=True))
    files, others = {}, []
    for file in sorted(f for f in folder.iterdir() if f.is_file()):
        match = COMP4.fullmatch(file.name)
        if match is None:
            others.append(file.name)
            continue
        name = spelt.get(match["name"], match["name"])
        if name in files:
            raise ValueError(
                f"{folder} has two files of the class {name!r}: {files[name].name} and "
                f"{file.name}. Leave one there."
            )
        files[name] = file
    if not files:
        raise ValueError(
            f"{folder} holds no result files; expected {FORM.format('<class>')}, a file a class."
        )
    rows = []
    for name, file in files.items():
        ids, numbers = results.read_comp4(file)
        lines = zip(ids, numbers.tolist(), strict=True)
        rows += [Row(image, name, score, tuple(box)) for image, (score, *box) in lines]
    return rows, files, _remark(others, f"files of {folder} are no result files and were not read")


def _read_coco(path, content, images, dataset, categories, files):
    if categories is None and len(dataset.classes) == len(COCO_IDS):
        categories = dict(zip(COCO_IDS, dataset.classes, strict=True))
    if categories is None:
        raise ValueError(
            f"{path} names classes by category_id, and {dataset.name} has none: expected "
            f"coco:PATH, or the {len(COCO_IDS)} classes of COCO, got {len(dataset.classes)}."
        )
    rows = []
    for k, entry in enumerate(content):
        what = f"{path}: result {k + 1}"
        if not isinstance(entry, dict) or not {"image_id", "category_id", "bbox", "score"} <= set(
            entry
        ):
            raise ValueError(
                f"{what} must have image_id, category_id, bbox and score, got {str(entry)[:80]}."
            )
        box = entry["bbox"]
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{what}: bbox must be four numbers, got {box!r}.")
        x, y, w, h = (values.number(v, f"{what}: bbox", "four numbers") for v in box)
        category = values.identifier(entry["category_id"], f"{what}: category_id")
        image_id = values.identifier(entry["image_id"], f"{what}: image_id")
        image = images.numbered(image_id) if files is None else files.get(image_id, str(image_id))
        name = categories.get(category, f"category {category}")
        score = values.number(entry["score"], f"{what}: score")
        rows.append(Row(image, name, score, (x, y, x + w, y + h)))
    return rows


def _read_own(path, content, images):
    """(rows, remarks) of a detections.json; its boxes are those of upright pictures."""
    rows, remarks = [], []
    try:
        for picture in content["images"]:
            file = picture["file"]
            image = os.path.abspath(file)
            image = image if image in images.whole else Path(file).name
            size = height, width = picture["height"], picture["width"]
            turned = picture.get("orientation", 1)
            stored = size[::-1] if turned >= 5 else size  # as the file has its pixels
            for index in images.candidates(image):
                if tuple(images.sizes[index]) != stored:
                    raise ValueError(
                        f"{file} is {width} x {height}, and the data set's image of that name is "
                        f"{images.sizes[index][1]} x {images.sizes[index][0]}: another picture"
                    )
            for k, entry in enumerate(picture["detections"]):
                what = f"{path}: {file}: detection {k + 1}"
                box = [values.number(v, f"{what}: box_xyxy") for v in entry["box_xyxy"]]
                fractions = np.divide(box, (width, height, width, height))[None]
                fractions = turn_boxes_back(fractions, turned)
                (corners,) = box_formats.scale_xyxy(fractions, stored[1], stored[0]).tolist()
                score = values.number(entry["score"], f"{what}: score")
                rows.append(Row(image, entry["class"], score, tuple(corners)))
    except (KeyError, TypeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        about = "" if str(path) in str(error) else f"{path} is no whole detections.json: "
        raise ValueError(f"{about}{said}") from None
    threshold = content.get("score_threshold") or 0
    if threshold > 0.01:
        remarks.append(
            f"{path} has the boxes that score more than {threshold:g}; average precision wants "
            "all of them (experiments.detect --score_threshold=0.001)."
        )
    return rows, remarks


# ------------------------------------------------------------------ whose a box is


class _Images:
    """The images of a data set by everything that a file may call them.

    Attributes:
        whole: {id, file name, its stem, absolute path: indices}.
        short: {file name up to its first dot: indices}.
        sizes: (height, width) by index.
    """

    def __init__(self, dataset):
        self.whole, self.short = collections.defaultdict(set), collections.defaultdict(set)
        self.sizes = [example.size for example in dataset]
        self.ids = [example.image_id for example in dataset]
        self._numbers = {}
        for index, example in enumerate(dataset):
            name = _file_name(example)
            names = {example.image_id, name}
            if example.path is not None:
                names |= {example.path.stem, os.path.abspath(example.path)}
                names.add("/".join(example.path.parts[-2:]))
            for one in names:
                self.whole[one].add(index)
            self.short[results.short_id(name)].add(index)
            digits = re.match(r"\d+", name.rpartition("_")[2])
            if digits:
                self._numbers.setdefault(int(digits[0]), []).append(name)
        self.writes_whole = False

    def numbered(self, number) -> str:
        """The file name whose digits behind its last ``_`` are a number; else the number."""
        names = self._numbers.get(number, [str(number)])
        if len(names) > 1:
            raise ValueError(
                f"the image_id {number} is that of several images: {', '.join(names[:NAMED])}."
            )
        return names[0]

    def candidates(self, key) -> set[int]:
        whole, short = self.whole.get(key, set()), self.short.get(key, set())
        return whole or short if self.writes_whole else whole | short

    def find(self, keys) -> dict:
        """{what a file calls an image: its index, or -1 for none}.

        Raises:
            ValueError: several images have a name.
        """
        # An id that no image has up to its first dot is not Darknet's: then none is.
        self.writes_whole = any(key in self.whole and key not in self.short for key in keys)
        found = {}
        for key in keys:
            among = self.candidates(key)
            if len(among) > 1:
                names = ", ".join(self.ids[index] for index in sorted(among)[:NAMED])
                raise ValueError(
                    f"the id {key!r} is that of several images: {names}. (Darknet writes file "
                    "names up to their first dot.) There is no telling whose the boxes are; give "
                    "the images names that differ before their first dot."
                )
            found[key] = next(iter(among), -1)
        return found


def _file_name(example) -> str:
    return example.path.name if example.path is not None else Path(example.image_id).name


def _by_image(path, rows, images, dataset):
    """(`Detections` of each image, remarks)."""
    of_image = images.find(dict.fromkeys(row.image for row in rows))
    of_class = {name: label for label, name in enumerate(dataset.classes)}
    index = np.array([of_image[row.image] for row in rows], np.int64)
    labels = np.array([of_class.get(row.name, -1) for row in rows], np.int64)
    scores = np.array([row.score for row in rows], np.float64)
    corners = np.array([row.box_xyxy for row in rows], np.float64).reshape(-1, 4)
    if rows and (index < 0).all():
        raise ValueError(
            f"{path}: not one of its {len(of_image)} images is in {dataset.name}, the first is "
            f"{rows[0].image!r}; there they are called {images.ids[0]!r} and so on. Is it another "
            "data set or split?"
        )
    strange = collections.Counter(row.image for row, k in zip(rows, index, strict=True) if k < 0)
    unknown = collections.Counter(row.name for row, k in zip(rows, labels, strict=True) if k < 0)
    silent = [images.ids[k] for k in sorted(set(range(len(dataset))) - set(index.tolist()))]
    remarks = [
        *_remark(strange, "images are not in the data set and not measured", sum(strange.values())),
        *_remark(unknown, "classes are not the data set's and not measured", sum(unknown.values())),
        *_remark(silent, f"of the {len(dataset)} images have no box in the files"),
    ]
    kept = np.flatnonzero((index >= 0) & (labels >= 0))
    index, labels, scores, corners = index[kept], labels[kept], scores[kept], corners[kept]
    sizes = np.array(images.sizes, np.float64).reshape(-1, 2)[index]
    limits = np.stack([sizes[:, 1], sizes[:, 0]], axis=-1)
    table = np.column_stack([index, labels, scores, corners])
    for count, what in (
        ((corners[:, 2:] < corners[:, :2]).any(axis=1).sum(), "inverted, and count as empty"),
        ((corners[:, 2:] > limits + 1).any(axis=1).sum(), "beyond the right or lower edge"),
        (len(table) - len(np.unique(table, axis=0)), "there twice, and count as often"),
    ):
        if count:
            remarks.append(f"{count} of {len(kept)} boxes are {what}.")
    if len(kept) and corners.max() <= 1:
        remarks.append("No corner is larger than 1: these look like fractions, expected pixels.")
    fractions = box_formats.clip_xyxy(corners / np.tile(limits, 2))
    fractions[:, 2:] = np.maximum(fractions[:, 2:], fractions[:, :2])
    order = np.argsort(index, kind="stable")
    parts = np.split(order, np.searchsorted(index[order], np.arange(1, len(dataset))))
    return [Detections(fractions[p], scores[p], labels[p]) for p in parts], remarks


def _remark(names, what, boxes=None) -> list[str]:
    """A sentence on these names; none where there are none."""
    names = list(names)
    if not names:
        return []
    more = ", ..." if len(names) > NAMED else ""
    count = f" ({boxes} boxes)" if boxes is not None else ""
    return [f"{len(names)} {what}{count}: {', '.join(map(str, names[:NAMED]))}{more}"]
