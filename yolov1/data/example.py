"""One image with its boxes, and a data set of them.

Boxes are centre and size in fractions of the image as it is stored: the EXIF orientation of a
photo is ignored, because VOC, YOLO and COCO boxes are drawn on the stored pixels.
"""

import collections.abc
import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from yolov1.data import images
from yolov1.data.order import block_length
from yolov1.data.places import Place, read_places

BAD_EXAMPLES = ("fail", "skip")


class BadExampleError(ValueError):
    """An image or its annotation that cannot be used; the message names the file and the reason."""


@dataclasses.dataclass(eq=False)
class Example:
    """One image before encoding.

    Attributes:
        image_id: unique in its data set.
        boxes_cxcywh: float32 ``[M, 4]``, fractions of the image; every box has an area and lies
            inside the image.
        labels: int32 ``[M]``, indices into the data set's `classes`.
        difficult: bool ``[M]``: ignored by the evaluation (VOC ``difficult``, COCO ``iscrowd``).
        size: (height, width) in pixels.
        path: the image file, or None for an image that has none of its own.
        place: where the bytes of an image file lie inside another file, as in a record.
        draw: makes the pixels of an image that is in no file, uint8 ``[H, W, 3]``; called whenever
            they are asked for.
        jpeg: file or place hold an RGB or grey JPEG, whatever the name says.
        orientation: of EXIF, 1 for none. Image, size and boxes are those of the stored pixels;
            `yolov1.data.images.turn` and `turn_boxes` make a picture to look at.
        scores: float ``[M]`` where boxes are what a detector found; None for labels.
        remarks: a text for each box, empty where there is nothing to say, for the tools in which
            people label (Label Studio, CVAT, FiftyOne); None for none.
    """

    image_id: str
    boxes_cxcywh: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    size: tuple[int, int]
    path: Path | None = None
    jpeg: bool = False
    draw: Callable[[], np.ndarray] | None = dataclasses.field(default=None, repr=False)
    orientation: int = 1
    place: Place | None = None
    scores: np.ndarray | None = None
    remarks: list[str] | None = None

    def __post_init__(self):
        self.boxes_cxcywh = np.asarray(self.boxes_cxcywh, np.float32).reshape(-1, 4)
        self.labels = np.asarray(self.labels, np.int32).reshape(-1)
        self.difficult = np.asarray(self.difficult, bool).reshape(-1)
        if not len(self.boxes_cxcywh) == len(self.labels) == len(self.difficult):
            raise ValueError(
                f"Example {self.image_id!r}: boxes, labels and difficult must have one length, got "
                f"{len(self.boxes_cxcywh)}, {len(self.labels)} and {len(self.difficult)}."
            )
        if [self.path, self.place, self.draw].count(None) != 2:
            raise ValueError(
                f"Example {self.image_id!r}: give either a path or a draw function, or the place "
                "of an image in another file."
            )

    @property
    def image(self) -> np.ndarray:
        """uint8 ``[H, W, 3]`` RGB: decoded or drawn anew, unless `draw` keeps what it made."""
        return self.draw() if self.draw else images.decode(self.path or self.encoded)

    @property
    def encoded(self) -> bytes | None:
        """The bytes of the image file, read anew; None of an image that was drawn."""
        if self.place:
            return read_places([self.place])[0]
        return self.path.read_bytes() if self.path else None


class Dataset(collections.abc.Sequence):
    """A sequence of `Example` with the names of its classes.

    Attributes:
        name: what was opened, for reports.
        classes: tuple of names; a label is an index into it.
        skipped: list of (file, reason): images that were left out.
        notes: list of (file, reason): what was left out or changed without losing an image (a box
            without area, a label file without an image), and what should be looked at.
    """

    def __init__(self, examples, classes, *, name="dataset", skipped=(), notes=()):
        self.examples = list(examples)
        self.classes = tuple(classes)
        self.name = name
        self.skipped = list(skipped)
        self.notes = list(notes)

    @property
    def block(self) -> int | None:
        """How many images that follow each other are read together where the data is too large for
        memory, see `yolov1.data.order`; None where images have files of their own or are drawn."""
        if not self.examples or any(example.place is None for example in self.examples):
            return None
        return block_length(len(self), sum(example.place.length for example in self.examples))

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Dataset(
                self.examples[index],
                self.classes,
                name=self.name,
                skipped=self.skipped,
                notes=self.notes,
            )
        return self.examples[index]

    def __repr__(self):
        return (
            f"Dataset({self.name!r}: {len(self)} images, classes {', '.join(self.classes)}, "
            f"{len(self.skipped)} skipped, {len(self.notes)} notes)"
        )


@dataclasses.dataclass
class Annotation:
    """What a reader found out about one image, not yet checked.

    Attributes:
        boxes_xyxy: float64 ``[M, 4]`` corners in the unit of `extent`.
        names: class name of each box.
        difficult: flag of each box.
        extent: (height, width) that the boxes are measured in: the image's pixels, or (1, 1) for
            fractions. None or zeros: the file did not say; the image's own size is taken.
    """

    boxes_xyxy: np.ndarray
    names: list[str]
    difficult: list[bool]
    extent: tuple[float, float] | None


def usable_boxes(annotation, extent):
    """Applies the rules for boxes; returns (boxes_cxcywh float64, kept indices, remarks).

    - a coordinate that is not a number, an inverted box, a box outside the image: refused;
    - a box that sticks out of the image is clipped (remarked on beyond 1 % of the side);
    - a box without area (or with none left) is left out and remarked on;
    - so is a box of the same class and place as one before: one object, labelled twice.

    Raises:
        BadExampleError: as above.
    """
    height, width = extent
    limits = np.array([width, height, width, height], np.float64)
    boxes = np.asarray(annotation.boxes_xyxy, np.float64).reshape(-1, 4)
    clipped = np.clip(boxes, 0, limits)
    strays = (np.abs(clipped - boxes) > 0.01 * limits).any(axis=1).tolist()
    kept, remarks, first = [], [], {}

    def what(k):
        values = ", ".join(f"{v:g}" for v in boxes[k])
        return f"box {k + 1} ({annotation.names[k]}) [{values}]"

    rows = zip(boxes.tolist(), clipped.tolist(), annotation.names, strict=True)
    for k, (box, inside, name) in enumerate(rows):  # in Python: arrays of four are slower
        x0, y0, x1, y1 = box
        if not all(map(math.isfinite, box)):
            raise BadExampleError(f"{what(k)} has a coordinate that is not a finite number")
        if x0 > x1 or y0 > y1:
            raise BadExampleError(f"{what(k)} is inverted: expected xmin <= xmax and ymin <= ymax")
        if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
            raise BadExampleError(f"{what(k)} lies outside the image of {width:g} x {height:g}")
        if inside[0] == inside[2] or inside[1] == inside[3]:
            remarks.append(f"{what(k)} has no area inside the image; the box is left out")
            continue
        before = first.setdefault((name, *box), k)
        if before != k:
            remarks.append(f"{what(k)} repeats box {before + 1}; it is left out")
            continue
        if strays[k]:
            remarks.append(f"{what(k)} leaves the image of {width:g} x {height:g}; it is clipped")
        kept.append(k)
    x0, y0, x1, y1 = clipped[kept].T
    cxcywh = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return np.stack(cxcywh, axis=-1), kept, remarks


def make_example(image_id, image, annotation, own_classes, classes, verify=True, header=None):
    """Checks one image and its annotation; returns (Example, remarks).

    Args:
        image: the path of a file, or the `Place` of its bytes.
        own_classes: the data set's class names; another name is refused.
        classes: the names wanted, in label order; boxes of the others are left out.
        verify: decode the image once, so that a damaged file is found now and not in training.
        header: what `images.read_header` says of the image, where that is known.

    Raises:
        BadExampleError: with the reason.
    """
    place = image if isinstance(image, Place) else None
    try:
        source = image
        if place and (verify or header is None):
            (source,) = read_places([place])
        header = header or images.read_header(source)
        seen = images.verify(source, header) if verify else []
    except (OSError, ValueError) as error:
        raise BadExampleError(str(error)) from None
    for name in annotation.names:
        if name not in own_classes:
            raise BadExampleError(
                f"unknown class {name!r}; expected one of {', '.join(own_classes)}"
            )
    extent = annotation.extent
    if extent is None or min(extent) <= 0:
        extent = header.size
    elif tuple(extent) != (1, 1) and tuple(extent) != header.size:
        raise BadExampleError(
            f"the annotation is for an image of {extent[1]:g} x {extent[0]:g} pixels (width x "
            f"height), the image has {header.size[1]} x {header.size[0]}{_turned(header, extent)}"
        )
    boxes = np.asarray(annotation.boxes_xyxy, np.float64)
    if tuple(extent) != (1, 1) and min(extent) > 2 and boxes.size and np.abs(boxes).max() <= 1:
        raise BadExampleError(
            "its boxes are all within 1 pixel: they seem to be fractions of the image, where "
            "pixels are expected"
        )
    boxes, kept, remarks = usable_boxes(annotation, extent)
    wanted = [i for i, k in enumerate(kept) if annotation.names[k] in classes]
    index_of = {name: k for k, name in enumerate(classes)}
    example = Example(
        image_id=image_id,
        boxes_cxcywh=boxes[wanted],
        labels=[index_of[annotation.names[kept[i]]] for i in wanted],
        difficult=[annotation.difficult[kept[i]] for i in wanted],
        size=header.size,
        path=None if place else Path(image),
        place=place,
        jpeg=header.jpeg,
        orientation=header.orientation,
    )
    return example, [*_header_remarks(header), *seen, *remarks]


def _turned(header, extent):
    """A hint where the boxes were drawn on a picture that a viewer had turned."""
    if header.orientation < 5 or tuple(extent) != header.size[::-1]:
        return ""
    return (
        f" as stored and EXIF orientation {header.orientation}: the boxes were drawn on the turned "
        "picture. Turn the pixels (ImageMagick: mogrify -auto-orient)"
    )


def _header_remarks(header):
    if header.orientation != 1:
        yield (
            f"EXIF orientation {header.orientation} is ignored: boxes count on the pixels as they "
            "are stored. Look whether they fit; if not, turn the pixels (mogrify -auto-orient)"
        )
    if header.frames > 1:
        yield f"has {header.frames} frames or pages; the first is taken"


def collect(name, candidates, classes, bad_examples="fail", notes=()):
    """Builds a `Dataset` from ``[(file, function)]``.

    Each function returns (Example, remarks), or None for an image that is not wanted.

    Args:
        notes: (file, remark) of what is no candidate; they come first.

    Raises:
        BadExampleError: a function raised it and `bad_examples` is ``"fail"``, or nothing is left.
    """
    if bad_examples not in BAD_EXAMPLES:
        raise ValueError(f"bad_examples must be 'fail' or 'skip', got {bad_examples!r}.")

    def attempt(candidate):
        try:
            return candidate[1]()
        except BadExampleError as error:
            return error
        except (OSError, ValueError) as error:  # a file that cannot be opened, or is no text
            return BadExampleError(str(error))

    with ThreadPoolExecutor(max_workers=4) as pool:  # decoding releases the interpreter's lock
        results = list(pool.map(attempt, candidates))
    dataset = Dataset([], classes, name=name, notes=notes)
    for (file, _), result in zip(candidates, results, strict=True):
        if isinstance(result, BadExampleError):
            dataset.skipped.append((str(file), str(result)))
        elif result is not None:
            dataset.examples.append(result[0])
            dataset.notes += [(str(file), remark) for remark in result[1]]
    if dataset.skipped and bad_examples == "fail":
        raise BadExampleError(
            f"{name}: {len(dataset.skipped)} of {len(candidates)} images cannot be used:\n"
            f"{_first_of(dataset.skipped)}\n"
            "Repair them, or leave them out with bad_examples='skip' (--bad_examples=skip)."
        )
    if not dataset.examples:
        said = _first_of([*dataset.skipped, *dataset.notes])
        raise BadExampleError(f"{name}: no usable image.\n{said}".rstrip())
    return dataset


def _first_of(entries, most=10):
    listed = [f"  {file}: {reason}" for file, reason in entries[:most]]
    more = len(entries) - most
    return "\n".join([*listed, *([f"  ... and {more} more"] if more > 0 else [])])
