"""PASCAL VOC: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, ``JPEGImages/*``.

Pixel convention: a box is ``cx = (xmin + xmax) / 2 / W``, ``w = (xmax - xmin) / W``, without
subtracting the 1 of VOC's 1-based pixels, as Darknet's labels for VOC 2007 and the Keras post do.
"""

import functools
from pathlib import Path

import numpy as np
from defusedxml import DefusedXmlException, ElementTree

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.images import SUFFIXES
from yolov1.files import read_names

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def parse_annotation(xml) -> tuple[Annotation, str | None]:
    """Reads one annotation file; returns it and the image's file name where it gives one.

    Args:
        xml: path, or the bytes of the file. Entities and external references are refused.

    Raises:
        BadExampleError: not readable, or an object without name or box.
    """
    try:
        text = xml if isinstance(xml, bytes) else Path(xml).read_bytes()
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except FileNotFoundError:
        raise BadExampleError("the annotation file does not exist") from None
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as error:
        raise BadExampleError(f"not a readable XML file: {error}") from None
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
        boxes.append([_number(bndbox, corner, f"{what} ({name})") for corner in CORNERS])
        names.append(name)
        difficult.append((node.findtext("difficult") or "0").strip() == "1")
    extent = None
    if root.find("size") is not None:
        extent = tuple(_number(root.find("size"), side, "size") for side in ("height", "width"))
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    return Annotation(boxes, names, difficult, extent), root.findtext("filename")


def _number(node, tag, what):
    text = node.findtext(tag)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise BadExampleError(f"{what}: <{tag}> must be a number, got {text!r}") from None


def _roots(path):
    """The VOC folders under `path`: itself, or the years of a VOCdevkit."""
    for folder in (path, path / "VOCdevkit"):
        if (folder / "Annotations").is_dir():
            return [folder]
        years = sorted(p.parent for p in folder.glob("VOC*/Annotations"))
        if years:
            return years
    raise FileNotFoundError(
        f"voc:{path}: expected a folder with Annotations/ and JPEGImages/, or a VOCdevkit with "
        "VOC2007/ and the like in it; found neither."
    )


def _ids(roots, split, path):
    """[(root, id)] of a split; 'a+b' is the union, 'VOC2007/train' takes one year."""
    if split is None:
        return [(r, x.stem) for r in roots for x in sorted((r / "Annotations").glob("*.xml"))]
    found = {}
    for part in split.split("+"):
        year, _, name = part.rpartition("/")
        lists = [
            (root, root / "ImageSets" / "Main" / f"{name}.txt")
            for root in roots
            if year in ("", root.name)
        ]
        lists = [(root, file) for root, file in lists if file.is_file()]
        if not lists:
            there = sorted({f.stem for r in roots for f in r.glob("ImageSets/Main/*.txt")})
            raise FileNotFoundError(
                f"voc:{path}: no split {part!r} (ImageSets/Main/{name}.txt); there are: "
                f"{', '.join(there) or 'none; leave the split out to take every annotation'}."
            )
        for root, file in lists:
            for line in file.read_text().splitlines():
                words = line.split()
                # The lists of one class have lines "id flag", flag -1 where the class is absent.
                if words and not (len(words) == 2 and words[1] == "-1"):
                    found[root, words[0]] = None
    return list(found)


def _image_path(root, image_id, filename):
    names = [image_id + suffix for suffix in SUFFIXES] + ([filename] if filename else [])
    for name in names:
        path = root / "JPEGImages" / Path(name.replace("\\", "/")).name
        if path.is_file():
            return path
    raise BadExampleError(
        f"the image is missing: no {root / 'JPEGImages' / image_id} with a known suffix"
    )


def _own_classes(path, roots, annotations):
    """classes.txt, else the 20 of VOC where they suffice, else every name found, sorted."""
    for file in [path / "classes.txt"] + [root / "classes.txt" for root in roots]:
        if file.is_file():
            return read_names(file)
    found = {name for a in annotations if isinstance(a, tuple) for name in a[0].names}
    if found <= set(VOC_CLASSES):
        return VOC_CLASSES
    # The split may lack a class that another has: names come from the whole folder.
    for root in roots:
        for file in (root / "Annotations").glob("*.xml"):
            try:
                found.update(parse_annotation(file)[0].names)
            except BadExampleError:
                pass  # reported when a split with this file is opened
    return tuple(sorted(found))


def _parse_or_error(file):
    try:
        return parse_annotation(file)
    except BadExampleError as error:
        return error


def open_voc(path, split, choose_classes, bad_examples, verify=True):
    """Opens a VOC folder; see `yolov1.data.open`."""
    path = Path(path)
    roots = _roots(path)
    ids = _ids(roots, split, path)
    files = [root / "Annotations" / f"{image_id}.xml" for root, image_id in ids]
    annotations = [_parse_or_error(file) for file in files]
    own = _own_classes(path, roots, annotations)
    classes = choose_classes(own)

    def build(root, image_id, parsed):
        if isinstance(parsed, BadExampleError):
            raise parsed
        annotation, filename = parsed
        name = image_id if len(roots) == 1 else f"{root.name}/{image_id}"
        image = _image_path(root, image_id, filename)
        return make_example(name, image, annotation, own, classes, verify)

    candidates = [
        (file, functools.partial(build, root, image_id, parsed))
        for file, (root, image_id), parsed in zip(files, ids, annotations, strict=True)
    ]
    return collect(
        f"voc:{path}" + (f" ({split})" if split else ""), candidates, classes, bad_examples
    )
