"""VOC boxes as one text file per split: the annotations of the post `keras_voc`.

``VOCdevkit/2007_train.txt`` has a line for each image::

    VOCdevkit/VOC2007/JPEGImages/000005.jpg 263,211,324,339,8 165,264,253,372,8

The path is relative to the folder that holds VOCdevkit. A box is ``xmin,ymin,xmax,ymax,class`` in
whole pixels as the XML has them (1-based, nothing subtracted); the class counts from 0 in
alphabetical order. `write_voc_txt` writes such files, ``voc_txt:PATH`` reads them.
"""

import functools
import re
from pathlib import Path, PurePosixPath

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats.paths import locate, numbered, repeats
from yolov1.data.formats.voc import VOC_CLASSES, parse_annotation
from yolov1.files import read_lines, replacing
from yolov1.names import agreed

_BOX = re.compile(r"-?[0-9]{1,9}(,-?[0-9]{1,9}){4}")
_NO_PART_OF_IDS = ("VOCdevkit", "JPEGImages")


# ------------------------------------------------------------------------------------- writing


def write_voc_txt(devkit, year, split, path=None, classes=VOC_CLASSES) -> Path:
    """Writes ``<devkit>/<year>_<split>.txt``, byte for byte as the post `keras_voc` does.

    Images come in the order of ``ImageSets/Main/<split>.txt``, boxes in that of the XML. Boxes
    marked difficult and those of other classes are left out; an image may have none. The lines
    say ``VOCdevkit/VOC<year>/JPEGImages/<id>.jpg`` whatever `devkit` is called. A coordinate with
    a fraction, which some XML files of VOC 2012 have and at which the post stops, is truncated.

    Args:
        devkit: the folder with ``VOC<year>/`` in it.
        year, split: ``2007`` and ``train``, say.
        path: where to write instead.
        classes: names in the order of the class numbers.

    Returns:
        The file's path. It is written in one replacement: there never is half a file.

    Raises:
        FileNotFoundError: no such year or split.
        BadExampleError: an XML file that cannot be read; the message names it.
    """
    devkit = Path(devkit)
    root = devkit / f"VOC{year}"
    listed = root / "ImageSets" / "Main" / f"{split}.txt"
    if not listed.is_file():
        there = sorted(f"{f.parents[2].name}/{f.stem}" for f in devkit.glob("*/ImageSets/Main/*"))
        raise FileNotFoundError(
            f"write_voc_txt: {listed} does not exist; in {devkit} there are the splits: "
            f"{', '.join(there) or 'none'}."
        )
    index_of = {name: k for k, name in enumerate(classes)}
    ids = [line.split()[0] for line in read_lines(listed) if line]
    lines = []
    for image_id in ids:
        words = [f"VOCdevkit/VOC{year}/JPEGImages/{image_id}.jpg"]
        words += _box_words(root / "Annotations" / f"{image_id}.xml", index_of)
        lines.append(" ".join(words) + "\n")
    path = devkit / f"{year}_{split}.txt" if path is None else Path(path)
    with replacing(path) as file:
        file.writelines(lines)
    return path


def _box_words(xml, index_of):
    try:
        annotation, _ = parse_annotation(xml)
    except BadExampleError as error:
        raise BadExampleError(f"{xml}: {error}") from None
    objects = zip(annotation.boxes_xyxy, annotation.names, annotation.difficult, strict=True)
    for box, name, difficult in objects:
        if not difficult and name in index_of:
            yield ",".join(str(int(v)) for v in (*box, index_of[name]))


# ------------------------------------------------------------------------------------- reading


def parse_line(line, classes) -> tuple[str, Annotation]:
    """Reads one line; returns the image's path as it stands there, and the boxes.

    Raises:
        BadExampleError: a word after the first is not a box, or its class is unknown.
    """
    image, *words = line.split()
    corners, names = [], []
    for word in words:
        if not _BOX.fullmatch(word):
            raise BadExampleError(
                f"expected 'path xmin,ymin,xmax,ymax,class ...' (five whole numbers a box; no "
                f"space in the path), got {word!r}"
            )
        *box, label = map(int, word.split(","))
        if label not in range(len(classes)):
            raise BadExampleError(
                f"unknown class {label} in {word!r}; expected an index below {len(classes)}"
            )
        corners.append(box)
        names.append(classes[label])
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    return image, Annotation(boxes, names, [False] * len(names), None)


def _files(path, split):
    """The files of a split; 'a+b' is the union, None is every ``<year>_<split>.txt``."""
    if path.is_file():
        if split not in (None, path.stem):
            raise FileNotFoundError(
                f"voc_txt:{path} is one file, the split {path.stem!r}; got the split {split!r}. "
                "Give the folder, or leave the split out."
            )
        return [path]
    folders = [path, path / "VOCdevkit"]
    there = [f for folder in folders for f in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.txt"))]
    if split is None and there:
        return there
    files = []
    for part in (split or "").split("+"):
        tries = [folder / f"{part}.txt" for folder in folders]
        file = next((f for f in tries if f.is_file()), None)
        if file is None:
            what = f"split {part!r} ({part}.txt)" if part else "file such as 2007_train.txt"
            raise FileNotFoundError(
                f"voc_txt:{path}: no {what}; there are: "
                f"{', '.join(f.stem for f in there) or 'none'}. `write_voc_txt` makes them from "
                "a VOCdevkit."
            )
        files.append(file)
    return list(dict.fromkeys(files))


def _own_classes(folder):
    return agreed([folder / "classes.txt", folder.parent / "classes.txt"]) or VOC_CLASSES


def _lines(files):
    """([(file, number, line)] of the lines that say something, remarks).

    A line that two splits have counts once; one that a file repeats counts again.
    """
    found, remarks, known = [], [], set()
    for file in files:
        lines = [(k, line) for k, line in enumerate(read_lines(file), start=1)]
        lines = [(number, line) for number, line in lines if line and line not in known]
        remarks += repeats(file, lines)
        found += [(file, number, line) for number, line in lines]
        known.update(line for _, line in lines)
    return found, remarks


def open_voc_txt(path, split, choose_classes, bad_examples, verify=True):
    """Opens text annotations; see `yolov1.data.open`."""
    path = Path(path)
    files = _files(path, split)
    own = _own_classes(files[0].parent)
    classes = choose_classes(own)
    lines, remarks = _lines(files)
    texts = [line.split()[0] for _, _, line in lines]
    images = [PurePosixPath(text.replace("\\", "/")) for text in texts]
    # Also where VOCdevkit has another name or was left out.
    folder = files[0].parent
    found = locate(texts, (folder.parent, folder), files=True)
    remarks += [(str(files[0]), found.remark())] if found.moved else []
    one_folder = len({image.parent for image in images}) == 1
    first = {}

    def build(file, number, line, image, place, name):
        if first[image][2] != line:
            raise BadExampleError(
                f"{image} stands in line {first[image][1]} of {first[image][0]} with other boxes"
            )
        _, annotation = parse_line(line, own)
        if place is None:
            raise BadExampleError(
                f"the image is missing: no {folder.parent / image}, nor {folder / image}"
            )
        return make_example(name, place, annotation, own, classes, verify)

    for row, image in zip(lines, images, strict=True):
        first.setdefault(image, row)
    ids = []
    for image in images:  # as the VOC reader names them: 000005, or VOC2007/000005
        parts = image.with_suffix("").parts
        kept = parts[-1:] if one_folder else [p for p in parts if p not in _NO_PART_OF_IDS]
        ids.append("/".join(kept))
    candidates = [
        (f"{row[0]}, line {row[1]}", functools.partial(build, *row, image, place, name))
        for row, image, place, name in zip(lines, images, found.places, numbered(ids), strict=True)
    ]
    name = f"voc_txt:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, remarks)
