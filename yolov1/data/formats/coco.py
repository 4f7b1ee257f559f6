"""COCO JSON: ``instances_<split>.json`` and a folder of images; Roboflow's and Label Studio's too.

Layouts that are found by themselves: ``annotations/instances_<split>.json`` with the images in
``<split>2017/``, ``images/`` or beside; ``<split>/_annotations.coco.json`` with the images beside.
"""

import collections
import functools
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example
from yolov1.data.formats import values
from yolov1.data.formats.paths import locate, unique_ids
from yolov1.data.formats.split_names import spellings
from yolov1.data.formats.walk import folders_in, images_in
from yolov1.names import distinct

ROBOFLOW = "_annotations.coco.json"
# COCO's, pycocotools' and, as COCO has no word for it, the writer's.
DIFFICULT = ("iscrowd", "ignore", "difficult")
NO_ONE = (None, "", "none")  # what a category has that is above the others


class Instances(NamedTuple):
    """One instances file."""

    file: Path
    categories: dict  # id -> name
    above: set  # ids of categories that others give as theirs above, and that no annotation has
    images: list  # (file name, `Annotation` or `BadExampleError`) in the order of the file
    ids: list  # of the images, in the same order
    remarks: list[tuple[str, str]]


def parse_instances(file) -> Instances:
    """Reads an instances file.

    Category ids need not be contiguous: classes are ordered by id. A box is (left, top, width,
    height) in pixels; a key of `DIFFICULT` makes it difficult. Numbers may be texts. A category
    above others that no annotation has (Roboflow's first) is no class.

    Raises:
        ValueError: not a COCO instances file, or two categories of one id.
    """
    try:
        content = values.read_json(file)
        entries, listed = _lists(content, "images"), _lists(content, "annotations")
        categories, above = _categories(_lists(content, "categories"))
        boxes = {values.identifier(i["id"], "the id of an image"): [] for i in entries}
        remarks, used = [], set()
        for annotation in listed:
            image_id = values.identifier(annotation["image_id"], "image_id")
            if image_id in boxes:
                boxes[image_id].append(annotation)
            else:
                what = f"annotation {annotation.get('id')} is of the image {image_id}, which is not"
                remarks.append((str(file), f"{what} listed; it is left out"))
            if "category_id" in annotation:
                used.add(_category_of(annotation))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"coco:{file} is not a COCO instances file (images, categories and annotations that "
            f"refer to them): {said}"
        ) from None
    ids = [values.identifier(i["id"], "") for i in entries]
    names = [i.get("file_name") for i in entries]
    of_id = collections.defaultdict(list)
    ids_of = collections.defaultdict(list)
    for image_id, name in zip(ids, names, strict=True):
        of_id[image_id].append(name)
        ids_of[str(name)].append(image_id)
    images = []
    for image_id, entry in zip(ids, entries, strict=True):
        name = entry.get("file_name")
        try:
            if len(of_id[image_id]) > 1:
                raise BadExampleError(
                    f"the id {image_id} is that of {' and '.join(map(str, of_id[image_id]))}: "
                    "there is no telling whose the boxes are"
                )
            if not isinstance(name, str) or not name.strip():
                raise BadExampleError(f"image {image_id}: file_name must be a text, got {name!r}")
            if len(ids_of[name]) > 1:
                raise BadExampleError(
                    f"the image is listed as {' and '.join(map(str, ids_of[name]))}: each has a "
                    "part of its boxes at best. Join them"
                )
            extent = tuple(
                values.number(entry.get(side) or 0, f"image {image_id}: {side}")
                for side in ("height", "width")
            )
            if min(extent) < 0:
                raise BadExampleError(f"image {image_id}: its size is {extent}, below 0")
            images.append((name, _annotation(boxes[image_id], categories, extent)))
        except BadExampleError as error:
            images.append((f"{name}", error))
    return Instances(Path(file), categories, above - used, images, ids, remarks)


def ids_of_results(path, split):
    """What the numbers of a list of results mean that was made of this data set.

    Returns:
        ({category_id: class name}, {image_id: file name}) of the split's files, or of all.

    Raises:
        ValueError: a number stands for two things in different files.
    """
    categories, images = {}, {}
    for file in _files(Path(path), split)[0]:
        one = parse_instances(file)
        named = zip(one.ids, (name for name, _ in one.images), strict=True)
        for known, found, what in (
            (categories, one.categories.items(), "category"),
            (images, named, "image"),
        ):
            for key, name in found:
                if known.setdefault(key, name) != name:
                    raise ValueError(
                        f"coco:{path}: the {what} {key} is {known[key]!r} and {name!r}; results "
                        "can be measured on one split at a time."
                    )
    return categories, images


def _lists(content, key):
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise TypeError(f"{key} must be a list")
    if not all(isinstance(entry, dict) for entry in content[key]):
        raise TypeError(f"{key} must be a list of objects")
    return content[key]


def _categories(entries):
    """({id: name}, ids of categories that stand above others)."""
    found, parents = {}, {}
    for entry in entries:
        key = values.identifier(entry["id"], "the id of a category")
        name = entry["name"]
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            raise ValueError(f"the name of the category {key} must be a text, got {name!r}")
        name = str(name).strip()
        if found.setdefault(key, name) != name:
            raise ValueError(f"the category {key} is called {found[key]!r} and {name!r}")
        above = entry.get("supercategory")
        parents[key] = above if isinstance(above, str) else None
    children = collections.Counter(parents.values())
    above = {k for k in found if parents[k] in NO_ONE and children[found[k]]}
    return found, above


def _category_of(entry):
    try:
        return values.identifier(entry.get("category_id"), "category_id")
    except BadExampleError:
        return None  # refused with its annotation


def _annotation(entries, categories, extent):
    corners, names, difficult = [], [], []
    for entry in entries:
        what = f"annotation {entry.get('id')}"
        category = _category_of(entry)
        if category not in categories:
            raise BadExampleError(f"{what} has the unknown category {entry.get('category_id')!r}")
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise BadExampleError(f"{what}: bbox must be four numbers, got {box!r}")
        x, y, w, h = (values.number(v, f"{what}: bbox", "four numbers") for v in box)
        corners.append((x, y, x + w, y + h))
        names.append(categories[category])
        flags = [values.flag(entry.get(key), f"{what}: {key}") for key in DIFFICULT]
        difficult.append(any(flags))
    return Annotation(np.array(corners).reshape(-1, 4), names, difficult, extent)


def _files(path, split):
    """(files of the split, files of every split, every JSON file)."""
    if path.is_file():
        return [path], [path], [path]
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    there = [p for f in dict.fromkeys((folder, path)) for p in sorted(f.iterdir())]
    there = [p for p in there if p.suffix.lower() == ".json" and p.is_file()]
    there += [f / ROBOFLOW for f in folders_in(path) if (f / ROBOFLOW).is_file()]
    # Other files of the COCO downloads (captions, keypoints) hold no categories of boxes.
    every = [f for f in there if "instances" in f.stem or f.name == ROBOFLOW] or there
    if not every:
        raise FileNotFoundError(f"coco:{path}: no *.json in {folder}")
    files = []
    for part in split.split("+") if split else ():
        parts = spellings(part)
        stems = [form.format(n) for n in parts for form in FORMS]
        found = [
            f for f in there if f.stem in stems or f.name == ROBOFLOW and f.parent.name in parts
        ]
        if not found:
            raise FileNotFoundError(
                f"coco:{path}: no split {part!r} (instances_{part}.json) in {folder}; there are: "
                f"{', '.join(_shown(f, folder) for f in there) or 'none'}."
            )
        files.append(found[0])
    return list(dict.fromkeys(files or every)), list(dict.fromkeys([*every, *files])), there


FORMS = ("{}", "instances_{}", "instances_{}2017", "instances_{}2014")


def _shown(file, folder):
    return file.name if file.parent == folder else f"{file.parent.name}/{file.name}"


def _own_classes(parsed):
    """(the classes of all files by id, remarks); those that only group others are none."""
    ids, remarks, grouping = {}, [], set()
    for one in parsed:
        for key, name in one.categories.items():
            # A grouping category may have boxes in another split, and be a class of both.
            others = (p for p in parsed if key in p.categories)
            if all(key in p.above for p in others):
                grouping.add((key, name))
            else:
                ids.setdefault(name, set()).add(key)
    for name, keys in ids.items():
        files = [
            one for one in parsed if len({k for k in keys if one.categories.get(k) == name}) > 1
        ]
        if files:
            raise ValueError(f"coco:{files[0].file}: two categories have one name: {name}, {name}")
        if len(keys) > 1:
            known = " and ".join(map(str, values.in_order(keys)))
            remarks.append(
                (str(parsed[0].file), f"the class {name!r} has the ids {known} in different files")
            )
    for name in sorted(name for _, name in grouping):
        remark = f"the category {name!r} only groups others and has no box; it is no class"
        remarks.append((str(parsed[0].file), remark))
    first = {name: values.in_order(keys)[0] for name, keys in ids.items()}
    names = sorted(first, key=lambda name: (isinstance(first[name], str), first[name], name))
    return distinct(names, f"coco:{parsed[0].file}"), remarks


def _image_paths(json_file, names):
    """({file name: path or None}, the folders looked in, a remark on those of another machine)."""
    base = json_file.parent.parent if json_file.parent.name == "annotations" else json_file.parent
    tag = json_file.stem.removeprefix("instances_")
    folders = (base, base / tag, base / "images", base / "images" / tag, base / "data")
    found = locate(names, folders, files=True)
    return dict(zip(names, found.places, strict=True)), folders, found.remark()


def open_coco(path, split, choose_classes, bad_examples, verify=True):
    """Opens COCO JSON; see `yolov1.data.open`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"coco:{path} does not exist.")
    files, every, there = _files(path, split)
    parsed = {file: parse_instances(file) for file in files}
    why = "not read: there are files called instances beside it"
    remarks = [(str(file), why) for file in there if file not in every and split is None]
    others = []
    for file in every:  # a split may lack a class that another has
        try:
            others.append(parsed.get(file) or parse_instances(file))
        except ValueError as error:
            remarks.append((str(file), f"not read: {error}"))
    own, more = _own_classes(others)
    remarks += more
    classes = choose_classes(own)

    def build(file_name, image_id, image, annotation, folders):
        if isinstance(annotation, BadExampleError):
            raise annotation
        if image is None:
            looked = ", ".join(map(str, folders))
            raise BadExampleError(f"the image {file_name} is missing; looked in {looked}")
        return make_example(image_id, image, annotation, own, classes, verify)

    rows, taken = [], {}
    for one in parsed.values():
        remarks += one.remarks
        places, folders, remark = _image_paths(one.file, [name for name, _ in one.images])
        remarks += [(str(one.file), remark)] if remark else []
        for name, annotation in one.images:
            image = places.get(name)
            mine = (one.file, annotation)
            before = taken.setdefault(os.path.realpath(image), mine) if image else mine
            if before is not mine and isinstance(annotation, Annotation):
                if before[0] != one.file and _same(before[1], annotation):
                    why = f"{name} is in {before[0].name} too, with the same boxes; it counts once"
                    remarks.append((str(one.file), why))
                    continue
                annotation = BadExampleError(
                    f"the image is in {before[0].name} before, with other boxes: each has a part "
                    "of its boxes at best. Join them"
                )
            rows.append((one.file, name, image, annotation, folders))
    if split is None:
        whose = "the file" if len(files) == 1 else "a file"
        remarks += _not_listed(taken, whose, {Path(image).parent for image in taken})
    else:  # other splits may have images in the same folders
        for file in files:
            tag = file.stem.removeprefix("instances_")
            parents = {Path(image).parent for image, (of, _) in taken.items() if of == file}
            own_folders = {p for p in parents if p.name == tag or p / ROBOFLOW == file}
            remarks += _not_listed(taken, file.name, own_folders)
    ids = unique_ids([os.path.abspath(row[2] or row[0].parent / row[1]) for row in rows])
    candidates = [
        (f"{file}: {name}", functools.partial(build, name, image_id, image, annotation, folders))
        for (file, name, image, annotation, folders), image_id in zip(rows, ids, strict=True)
    ]
    name = f"coco:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples, remarks)


def _same(first, second):
    """Whether two annotations of one image say the same."""
    return (
        isinstance(first, Annotation)
        and np.array_equal(first.boxes_xyxy, second.boxes_xyxy)
        and first.names == second.names
        and first.difficult == second.difficult
    )


def _not_listed(listed, whose, folders):
    """Remarks on what lies in these folders besides the listed images."""
    remarks = []
    for folder in sorted(folders):
        found, more = images_in(folder)
        why = f"{whose} does not list it; it is left out"
        remarks += [(str(p), why) for p in found if os.path.realpath(p) not in listed]
        remarks += more
    return list(dict.fromkeys(remarks))
