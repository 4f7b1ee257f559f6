"""PASCAL VOC: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, ``JPEGImages/*``.

Pixel convention: a box is ``cx = (xmin + xmax) / 2 / W``, ``w = (xmax - xmin) / W``, without
subtracting the 1 of VOC's 1-based pixels, as Darknet's labels for VOC 2007 and the Keras post do.
"""

import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from defusedxml import DefusedXmlException, ElementTree

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats import values
from yolov1.data.formats.paths import numbered, repeats, spellings
from yolov1.data.formats.walk import files_in, folders_in, is_image, left_out
from yolov1.files import read_lines
from yolov1.names import agreed

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)
CORNERS = ("xmin", "ymin", "xmax", "ymax")
PLACES = ("JPEGImages", "images")  # of the images, in VOC and as other tools write it
OF_VOC = re.compile(r"VOC ?20\d\d", re.IGNORECASE)  # in a folder's name, or in what an XML says


class Parsed(NamedTuple):
    """One annotation file."""

    annotation: Annotation
    filename: str | None  # of the image, where the file gives it
    of_voc: bool  # whether it says to be one of VOC's own


def parse_annotation(xml) -> tuple[Annotation, str | None]:
    """Reads one annotation file; returns it and the image's file name where it gives one.

    Args:
        xml: path, or the bytes of the file. Entities and external references are refused.

    Raises:
        BadExampleError: not readable, no annotation of VOC's form, or an object without name or
            box.
    """
    return _parse(xml)[:2]


def _parse(xml) -> Parsed:
    try:
        text = xml if isinstance(xml, bytes) else Path(xml).read_bytes()
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except FileNotFoundError:
        raise BadExampleError("the annotation file does not exist") from None
    except OSError as error:
        raise BadExampleError(f"the annotation file cannot be read: {error.strerror}") from None
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise BadExampleError(f"not a readable XML file: {error}") from None
    for node in root.iter():  # a namespace says nothing about what the element is
        node.tag = node.tag.rpartition("}")[2]
    if root.tag != "annotation":
        raise BadExampleError(f"not an annotation of VOC: expected <annotation>, got <{root.tag}>")
    if root.find("object") is None and any(n.tag.lower() == "object" for n in root.iter()):
        raise BadExampleError("its objects are not where VOC has them: <annotation><object>")
    boxes, names, difficult = [], [], []
    # Only direct children: a <part> inside an object has a name and a box of its own.
    for k, node in enumerate(root.findall("object")):
        what = f"object {k + 1}"
        name = (node.findtext("name") or "").strip()
        if not name:
            raise BadExampleError(f"{what} has no <name>")
        bndbox = node.find("bndbox")
        if bndbox is None:
            raise BadExampleError(f"{what} ({name}) has no <bndbox>")
        corners = [(corner, bndbox.findtext(corner)) for corner in CORNERS]
        boxes.append([values.number(t, f"{what} ({name}): <{corner}>") for corner, t in corners])
        names.append(name)
        difficult.append(values.flag(node.findtext("difficult"), f"{what} ({name}): <difficult>"))
    extent = None
    sides = {side: root.findtext(f"size/{side}") for side in ("height", "width")}
    if all(text and text.strip() for text in sides.values()):  # tools write <size/> and <width/>
        extent = tuple(values.number(text, f"size: <{side}>") for side, text in sides.items())
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    filename = (root.findtext("filename") or "").strip() or None
    says = (root.findtext("folder"), root.findtext("source/database"))
    of_voc = any(OF_VOC.search(text) for text in says if text)
    return Parsed(Annotation(boxes, names, difficult, extent), filename, of_voc)


def _roots(path):
    """(the VOC folders under `path`: itself, or the years of a VOCdevkit; remarks on others)."""
    for folder in (path, path / "VOCdevkit"):
        if (folder / "Annotations").is_dir():
            return [folder], []
        every = folders_in(folder) if folder.is_dir() else []
        every = [p for p in every if (p / "Annotations").is_dir()]
        years = [p for p in every if p.name.startswith("VOC")]
        if years:
            why = "its name does not begin with VOC, as those beside it; it is left out"
            return years, [(str(p), why) for p in every if p not in years]
    raise FileNotFoundError(
        f"voc:{path}: expected a folder with Annotations/ and JPEGImages/, or a VOCdevkit with "
        "VOC2007/ and the like in it; found neither."
    )


class Folder:
    """One folder of VOC's form: what lies in ``Annotations`` and ``JPEGImages``.

    Ids are paths without suffix, so that folders inside are kept: ``000005``, ``day1/000005``.
    """

    def __init__(self, root):
        self.root, self.remarks = root, []
        self.images, self.stems, self.lower, self.lower_stems = {}, {}, {}, {}
        place = next((root / n for n in PLACES if (root / n).is_dir()), root / PLACES[0])
        self.place = place
        files = files_in(place) if place.is_dir() else []
        self.remarks += left_out(files)
        for file in filter(is_image, files):
            name = file.relative_to(place).as_posix()
            self.images[name] = file
            self.stems.setdefault(os.path.splitext(name)[0], []).append(file)
            self.lower.setdefault(name.lower(), []).append(file)
            self.lower_stems.setdefault(os.path.splitext(name)[0].lower(), []).append(file)
        self.annotations = {}
        place = root / "Annotations"
        for file in files_in(place):
            if file.suffix.lower() != ".xml":
                self.remarks.append((str(file), "not an XML file; it is left out"))
                continue
            stem = os.path.splitext(file.relative_to(place).as_posix())[0]
            if self.annotations.setdefault(stem, file) is not file:
                self.remarks.append((str(file), f"left out: {self.annotations[stem].name} is read"))

    def find_id(self, line):
        """The id that a line of a list means: "000005", "000005.jpg", "000005 1"; None for an image
        of which a list of one class says that the class is absent."""
        words = line.split()
        tries = [(line, False)]
        # The lists of one class have lines "id flag", flag -1 where the class is absent.
        if len(words) > 1 and words[-1] in ("-1", "0", "1"):
            tries.append((" ".join(words[:-1]), words[-1] == "-1"))
        for text, absent in tries:
            name = spellings(text)[-1].as_posix()
            stem, suffix = os.path.splitext(name)
            for one in (name, stem) if suffix.lower() == ".xml" or is_image(name) else (name,):
                if one in self.annotations:
                    return None if absent else one
        text, absent = tries[-1]
        return None if absent else text

    def image(self, image_id, filename):
        """(path of the image, remarks): by the name in the annotation, else by the id.

        Raises:
            BadExampleError: there is none, or no telling which.
        """
        above = os.path.dirname(image_id)
        by_id = self.stems.get(image_id, [])
        for text in map(str, spellings(filename)) if filename else ():
            for name in (os.path.join(above, text), text, os.path.basename(text)):
                stems = self.stems.get(name, [])  # labelImg leaves the suffix out
                found = self.images.get(name.lstrip("/")), self.lower.get(name.lower(), []), stems
                found = [found[0]] if found[0] else found[1] or found[2]
                if len(found) != 1:
                    continue
                if found[0] in by_id:
                    return found[0], []
                other = os.path.splitext(found[0].relative_to(self.place).as_posix())[0]
                if other in self.annotations:  # labelImg keeps the name of what was copied
                    raise BadExampleError(
                        f"<filename> says {filename}, which has an annotation of its own, "
                        f"{self.annotations[other].name}: correct <filename>"
                    )
                taken = [f"<filename> says {filename}: taken, and not {p.name}" for p in by_id[:1]]
                return found[0], taken
        if not by_id:  # cameras write IMG_1.JPG where the annotation is img_1.xml
            by_id = self.lower_stems.get(image_id.lower(), [])
        if len(by_id) == 1:
            return by_id[0], []
        if by_id:
            raise BadExampleError(
                f"there is no telling which image it is about: {' or '.join(p.name for p in by_id)}"
                f"; <filename> is {filename!r}"
            )
        raise BadExampleError(
            f"the image is missing: no {self.place / image_id} with a known suffix"
            + (f", nor {filename}" if filename else "")
        )


def _ids(folders, split, path):
    """([(folder, id)] of a split, remarks); 'a+b' is the union, 'VOC2007/train' takes one year."""
    if split is None:
        return [(f, one) for f in folders for one in sorted(f.annotations)], []
    found, remarks = [], []
    for part in split.split("+"):
        year, _, name = part.rpartition("/")
        lists = [
            (folder, folder.root / "ImageSets" / "Main" / f"{name}.txt")
            for folder in folders
            if year in ("", folder.root.name)
        ]
        lists = [(folder, file) for folder, file in lists if file.is_file()]
        if not lists:
            there = sorted({p.stem for f in folders for p in f.root.glob("ImageSets/Main/*.txt")})
            raise FileNotFoundError(
                f"voc:{path}: no split {part!r} (ImageSets/Main/{name}.txt); there are: "
                f"{', '.join(there) or 'none; leave the split out to take every annotation'}."
            )
        known = set(found)  # one image of two splits counts once; a line that repeats counts again
        for folder, file in lists:
            lines = [(k, line) for k, line in enumerate(read_lines(file), start=1) if line]
            ids = [(number, folder.find_id(line)) for number, line in lines]
            ids = [(k, one) for k, one in ids if one is not None and (folder, one) not in known]
            remarks += repeats(file, ids)
            found += [(folder, one) for _, one in ids]
    return found, remarks


def _own_classes(path, folders, parsed_of):
    """(names, remarks): classes.txt; else VOC's twenty, in a folder of VOC's; else every name found
    in any split, sorted."""
    named = agreed([path / "classes.txt", *(folder.root / "classes.txt" for folder in folders)])
    if named:
        return named, []
    # The split may lack a class that another has: all of the folder counts.
    files = [file for folder in folders for file in folder.annotations.values()]
    parsed = [parsed_of.get(file) or _parse_or_error(file) for file in files]
    usable = [p for p in parsed if isinstance(p, Parsed)]
    found = {name for p in usable for name in p.annotation.names}
    of_voc = all(OF_VOC.search(folder.root.name) for folder in folders)
    of_voc = of_voc or any(p.of_voc for p in usable)
    if of_voc and found <= set(VOC_CLASSES):
        return VOC_CLASSES, [(str(path), "no classes.txt; it is a folder of VOC's: twenty classes")]
    if not found and len(usable) == len(parsed):  # else the faults of the others are shown
        raise ValueError(
            f"voc:{path}: no annotation has an object, so there are no class names. Write one name "
            f"per line into {path / 'classes.txt'}."
        )
    return tuple(sorted(found)), []


def _parse_or_error(file):
    try:
        return _parse(file)
    except BadExampleError as error:
        return error


def open_voc(path, split, choose_classes, bad_examples, verify=True):
    """Opens a VOC folder; see `yolov1.data.open`."""
    path = Path(path)
    roots, others = _roots(path)
    folders = [Folder(root) for root in roots]
    ids, remarks = _ids(folders, split, path)
    files = [f.annotations.get(one, f.root / "Annotations" / f"{one}.xml") for f, one in ids]
    parsed_of = {file: _parse_or_error(file) for file in dict.fromkeys(files)}
    own, more = _own_classes(path, folders, parsed_of)
    remarks += more
    classes = choose_classes(own)
    if split is None:
        remarks += [*others, *(remark for folder in folders for remark in folder.remarks)]
    images, users, faulty = {}, {}, set()
    for file, (folder, one) in zip(files, ids, strict=True):
        parsed = parsed_of[file]
        if isinstance(parsed, Parsed) and file not in images:
            try:
                images[file] = folder.image(one, parsed.filename)
                users.setdefault(images[file][0], []).append(file)
            except BadExampleError as error:
                parsed_of[file] = error
        if isinstance(parsed_of[file], BadExampleError):
            faulty.update(folder.stems.get(one, ()))
    if split is None:
        remarks += [
            (str(image), "an image without an annotation; it is left out")
            for folder in folders
            for image in folder.images.values()
            if image not in users and image not in faulty
        ]

    def build(file, name):
        parsed = parsed_of[file]
        if isinstance(parsed, BadExampleError):
            raise parsed
        image, remarks = images[file]
        if len(users[image]) > 1:
            raise BadExampleError(
                f"the image {image.name} is that of {' and '.join(p.name for p in users[image])}: "
                "each has a part of its boxes at best. Correct <filename>, or join them"
            )
        example, more = make_example(name, image, parsed.annotation, own, classes, verify)
        return example, [*remarks, *more]

    several = len(folders) > 1
    names = numbered([f"{f.root.name}/{one}" if several else one for f, one in ids])
    candidates = [
        (file, functools.partial(build, file, name))
        for file, name in zip(files, names, strict=True)
    ]
    name = f"voc:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, remarks)
