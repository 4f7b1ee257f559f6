"""COCO JSON: ``instances_<split>.json`` and a folder of images."""

import functools
import json
import math
from pathlib import Path

import numpy as np

from yolov1.data.example import Annotation, BadExampleError, collect, make_example


def parse_instances(file):
    """Reads an instances file.

    Category ids need not be contiguous: classes are ordered by id. A box is (left, top, width,
    height) in pixels; ``iscrowd`` (and the older ``ignore``) make it difficult.

    Returns:
        (class names, {image file name: `Annotation` or `BadExampleError`}).

    Raises:
        ValueError: not a COCO instances file.
    """
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        categories = {c["id"]: str(c["name"]) for c in content["categories"]}
        sizes = {
            i["id"]: (i["file_name"], (i.get("height") or 0, i.get("width") or 0))
            for i in content["images"]
        }
        boxes = {image_id: [] for image_id in sizes}
        for annotation in content["annotations"]:
            boxes[annotation["image_id"]].append(annotation)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"coco:{file} is not a COCO instances file (images, categories and annotations that "
            f"refer to them): {type(error).__name__} {error}"
        ) from None
    names = [categories[k] for k in sorted(categories)]
    if len(set(names)) != len(names):
        raise ValueError(f"coco:{file}: two categories have one name: {', '.join(sorted(names))}")
    parsed = {}
    for image_id, (file_name, extent) in sizes.items():
        try:
            parsed[file_name] = _annotation(boxes[image_id], categories, extent)
        except BadExampleError as error:
            parsed[file_name] = error
    return tuple(names), parsed


def _annotation(entries, categories, extent):
    corners, names, difficult = [], [], []
    for entry in entries:
        what = f"annotation {entry.get('id')}"
        if entry.get("category_id") not in categories:
            raise BadExampleError(f"{what} has the unknown category {entry.get('category_id')!r}")
        try:
            x, y, w, h = (float(v) for v in entry["bbox"])
        except (KeyError, TypeError, ValueError):
            raise BadExampleError(
                f"{what}: bbox must be four numbers, got {entry.get('bbox')!r}"
            ) from None
        if not all(map(math.isfinite, (x, y, w, h))):
            raise BadExampleError(f"{what}: bbox must be finite, got {entry['bbox']}")
        corners.append((x, y, x + w, y + h))
        names.append(categories[entry["category_id"]])
        difficult.append(bool(entry.get("iscrowd") or entry.get("ignore")))
    return Annotation(np.array(corners).reshape(-1, 4), names, difficult, extent)


def _instance_files(path, split):
    """[(JSON file, its split or None)] under `path`."""
    if path.is_file():
        return [(path, split)]
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    there = sorted(folder.glob("*.json"))
    if split is None:
        # Other files of the COCO downloads (captions, keypoints) hold no categories of boxes.
        instances = [f for f in there if "instances" in f.stem] or there
        if not instances:
            raise FileNotFoundError(f"coco:{path}: no *.json in {folder}")
        return [(file, None) for file in instances]
    files = []
    for part in split.split("+"):
        names = (part, f"instances_{part}", f"instances_{part}2017", f"instances_{part}2014")
        found = [f for f in there if f.stem in names]
        if not found:
            raise FileNotFoundError(
                f"coco:{path}: no split {part!r} (instances_{part}.json) in {folder}; there are: "
                f"{', '.join(f.name for f in there) or 'none'}."
            )
        files.append((found[0], part))
    return files


def _image_path(json_file, file_name):
    base = json_file.parent.parent if json_file.parent.name == "annotations" else json_file.parent
    tag = json_file.stem.removeprefix("instances_")
    folders = (base, base / tag, base / "images", base / "images" / tag, base / "data")
    for folder in folders:
        if (folder / file_name).is_file():
            return folder / file_name
    looked = ", ".join(map(str, folders))
    raise BadExampleError(f"the image {file_name} is missing; looked in {looked}")


def open_coco(path, split, choose_classes, bad_examples, verify=True):
    """Opens COCO JSON; see `yolov1.data.open`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"coco:{path} does not exist.")
    files = _instance_files(path, split)
    parsed = [(file, *parse_instances(file)) for file, _ in files]
    own = parsed[0][1]
    for file, names, _ in parsed[1:]:
        if names != own:
            raise ValueError(
                f"coco:{file} has the classes {', '.join(names)}, {parsed[0][0]} has "
                f"{', '.join(own)}; files that are opened together must agree."
            )
    classes = choose_classes(own)

    def build(json_file, file_name, annotation):
        if isinstance(annotation, BadExampleError):
            raise annotation
        image = _image_path(json_file, file_name)
        return make_example(Path(file_name).stem, image, annotation, own, classes, verify)

    candidates = [
        (f"{file}: {file_name}", functools.partial(build, file, file_name, annotation))
        for file, _, annotations in parsed
        for file_name, annotation in annotations.items()
    ]
    name = f"coco:{path}" + (f" ({split})" if split else "")
    return collect(name, candidates, classes, bad_examples)
