"""Labels that were corrected in another tool, in the place of those of the same images.

Images are known again by the names of their files. What an image's labels then are is what the tool
says; images that it does not mention stay as they are.
"""

import collections
import re
from urllib.parse import unquote

import numpy as np

from yolov1 import boxes as box_formats
from yolov1.data import images
from yolov1.data.formats import values
from yolov1.data.formats.writing.image_files import file_names
from yolov1.evaluation.tide import BACKGROUND
from yolov1.reviewing.boxes import corners, iou, with_rows

# Label Studio puts this before the name of a file that is uploaded.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
KEPT = 0.999  # IoU from which a box is where it was: what a tool's rounding moves it


def of_dataset(corrected, dataset) -> dict[int, list]:
    """The labels of a data set (what a tool exported) for another with the same images.

    Returns:
        {place of the image: rows as `boxes.with_rows` takes them}.

    Raises:
        ValueError: an image or a class that `dataset` does not have, or an image of another size.
    """
    place_of, rows = _places(dataset), {}
    for example in corrected:
        name = example.path.name if example.path else example.image_id
        place = place_of(name)
        if tuple(example.size) != tuple(dataset[place].size):
            raise ValueError(
                f"the image {name} has {_size(example.size)} pixels in {corrected.name}, "
                f"{_size(dataset[place].size)} in {dataset.name}."
            )
        labels = [
            _class_of(corrected.classes[label], dataset, f"{corrected.name}, image {name}")
            for label in example.labels
        ]
        rows[place] = list(zip(example.boxes_cxcywh, labels, example.difficult, strict=True))
    return rows


def of_label_studio(path, dataset) -> dict[int, list]:
    """The labels of Label Studio's JSON export; as `of_dataset`.

    A task without an annotation has not been looked at, and is left out; of several annotations the
    last one counts.

    Raises:
        ValueError: no such file, a region that is no upright rectangle of one class, or what
            `of_dataset` refuses.
    """
    tasks = values.read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"{path} is no JSON export of Label Studio: expected a list of tasks.")
    place_of, rows = _places(dataset), {}
    for number, task in enumerate(tasks, start=1):
        what = f"{path}: task {task.get('id', number)}"
        try:
            address = task["data"]["image"]
            done = [a["result"] for a in task["annotations"] if not a.get("was_cancelled")]
            if done:
                place = place_of(unquote(address.rsplit("/", 1)[-1], errors="surrogateescape"))
                example = dataset[place]
                regions = (_region(region, what, dataset) for region in done[-1])
                rows[place] = [_stored(*region, example.orientation) for region in regions]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"{what} is none of Label Studio's JSON export (data.image and annotations with "
                f"results): {type(error).__name__} {error}"
            ) from None
    return rows


def replace(dataset, rows) -> tuple[list, dict]:
    """(the examples with these labels in place of their own; {action: how many labels}).

    An image whose labels stay what they were keeps its `Example`.
    """
    examples, done = list(dataset), collections.Counter()
    for place, new in rows.items():
        old = examples[place]
        said = changes(old, with_rows(old, new))
        done.update(said)
        if set(said) - {"keep"}:
            examples[place] = with_rows(old, new)
    actions = ("add", "remove", "move", "rename", "keep")
    return examples, {action: done[action] for action in actions}


def changes(before, after) -> dict:
    """How often labels were added, removed, moved, renamed and kept between two `Example`.

    Labels are paired one to one if they overlap by an IoU of at least .1: first those of one class,
    then the others, the nearest first. One that has another class then was renamed, whether it was
    moved as well or not.
    """
    old, new = corners(before), corners(after)
    overlap = {(m, n): iou(old[m], new[n]) for m in range(len(old)) for n in range(len(new))}
    same = {pair: before.labels[pair[0]] == after.labels[pair[1]] for pair in overlap}
    near = [pair for pair in overlap if overlap[pair] >= BACKGROUND]
    found, left, right = collections.Counter(), set(range(len(old))), set(range(len(new)))
    for m, n in sorted(near, key=lambda pair: (not same[pair], -overlap[pair])):
        if m in left and n in right:
            left.remove(m), right.remove(n)
            moved = "keep" if overlap[m, n] >= KEPT else "move"
            found[moved if same[m, n] else "rename"] += 1
    return +(found + collections.Counter(remove=len(left), add=len(right)))


# ------------------------------------------------------------------ details


def _places(dataset):
    """A function: name of an image file -> place of the image."""
    found = collections.defaultdict(set)
    for place, (name, example) in enumerate(
        zip(file_names(dataset, "review"), dataset, strict=True)
    ):
        for one in {name, example.image_id, example.path.name if example.path else name}:
            found[one].add(place)

    def place_of(name):
        places = found.get(name) or found.get(_UPLOADED.sub("", name)) or ()
        if len(places) != 1:
            many = f"{len(places)} images of this name" if places else "no image of this name"
            raise ValueError(f"{name}: {dataset.name} has {many}, expected one.")
        return next(iter(places))

    return place_of


def _class_of(name, dataset, what) -> int:
    if name not in dataset.classes:
        raise ValueError(
            f"{what}: unknown class {name!r}; expected one of {', '.join(dataset.classes)}."
        )
    return dataset.classes.index(name)


def _region(region, what, dataset):
    """(corners in fractions of the picture upright, label, difficult) of one of Label Studio's."""
    value = region["value"]
    names = value.get("rectanglelabels") or ()
    if region.get("type") != "rectanglelabels" or len(names) != 1 or value.get("rotation"):
        raise ValueError(
            f"{what}: every region must be an upright rectangle of one class, got "
            f"{region.get('type')!r} with {len(names)} classes, turned by "
            f"{value.get('rotation', 0)} degrees."
        )
    sides = ("x", "y", "width", "height")
    x, y, w, h = (values.number(value[side], f"{what}: {side}") / 100 for side in sides)
    box = np.clip([x, y, x + w, y + h], 0, 1)
    if not (box[2:] > box[:2]).all():
        raise ValueError(f"{what}: a rectangle {names[0]!r} has no area inside the image.")
    notes = region.get("meta", {}).get("text", ())
    return box, _class_of(names[0], dataset, what), "difficult" in notes


def _stored(box, label, difficult, orientation):
    """A row: the box as it lies on the stored pixels."""
    turned = images.turn_boxes_back(box[None], orientation)[0]
    return box_formats.xyxy_to_cxcywh(turned), label, difficult


def _size(size) -> str:
    return f"{size[1]} x {size[0]}"
