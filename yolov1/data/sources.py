"""``data.open("voc:PATH", split="train")``: one way to open every kind of data set."""

import os
import re
from pathlib import Path

from yolov1.data.formats.coco import open_coco
from yolov1.data.formats.fiftyone import open_fiftyone
from yolov1.data.formats.folders import open_folders
from yolov1.data.formats.records import open_records
from yolov1.data.formats.voc import open_voc
from yolov1.data.formats.voc_txt import open_voc_txt
from yolov1.data.formats.walk import images_in
from yolov1.data.formats.yolo import open_yolo
from yolov1.data.shapes import open_shapes
from yolov1.names import distinct, look_alikes

# VOC's own folders of pictures that are no photos.
SEGMENTATION = ("SegmentationClass", "SegmentationObject")
READERS = {
    "voc": open_voc,
    "yolo": open_yolo,
    "coco": open_coco,
    "fiftyone": open_fiftyone,
    "records": open_records,
    "folders": open_folders,
    "voc_txt": open_voc_txt,
}


def open_dataset(
    spec, split=None, *, classes=None, image_size=None, seed=0, bad_examples="fail", verify=True
):
    """Opens a data set.

    Args:
        spec: ``voc:PATH``, ``yolo:PATH``, ``coco:PATH`` or ``fiftyone:PATH`` (a folder, or a JSON
            file), ``records:PATTERN`` (TFRecords: a file, a folder or a pattern), ``folders:PATH``
            (one folder of images per class), ``voc_txt:PATH`` (a folder, or a text file), or
            ``shapes`` with options as in ``shapes:count=500,classes=3``.
        split: ``train``, ``val``, ...; ``train+val`` is the union; None is everything there is
            (for ``shapes``: ``train``).
        classes: names (a sequence, or one string with commas), in label order: boxes of the data
            set's other classes are left out. None: the data set's own.
        image_size: side in pixels of drawn images; files keep their size.
        seed: of drawn images.
        bad_examples: ``"fail"``: raise one error that lists what cannot be used; ``"skip"``: leave
            it out and list it in `.skipped`.
        verify: read every image file whole once, so that a damaged one is found now.

    Returns:
        `Dataset`: a sequence of `Example` with `.classes`, `.skipped`, `.notes`, `.name`.

    Raises:
        BadExampleError: images that cannot be used, or none is left.
        ValueError: an unknown kind, option or class.
        FileNotFoundError: the folder or the split does not exist.
    """
    spec = str(spec)
    kind, _, rest = spec.partition(":")
    parts = split.split("+") if split else []
    if any(not part.strip() or ".." in part or part.startswith("/") for part in parts):
        raise ValueError(
            f"{spec}: a split must be a name, or names as in 'train+val'; got {split!r}."
        )
    split = split or None
    if isinstance(classes, str):
        classes = [name.strip() for name in classes.split(",") if name.strip()]
    if classes is not None:
        classes = distinct(classes, "data.open: classes") if len(classes) else None
    remarks = []

    def choose_classes(own):
        remarks.extend((spec, remark) for remark in look_alikes(own))
        unknown = [name for name in classes or () if name not in own]
        if unknown:
            raise ValueError(
                f"{spec}: classes must be among {', '.join(own)}; got {', '.join(unknown)}."
            )
        return tuple(classes or own)

    if kind == "shapes":
        return open_shapes(rest, split, choose_classes, image_size, seed)
    if kind not in READERS or not rest:
        *kinds, last = (f"'{kind}:PATH'" for kind in READERS)
        raise ValueError(
            f"data.open: spec must be 'shapes', {', '.join(kinds)} or {last}, got {spec!r}."
        )
    # The shell expands a ~ at the start of a word only.
    place = os.path.expanduser(rest)
    dataset = READERS[kind](place, split, choose_classes, bad_examples, verify)
    dataset.notes[:0] = remarks
    if split is None and classes is None and os.path.isdir(place):
        dataset.notes += unaccounted(place, dataset)
    return dataset


def unaccounted(folder, dataset) -> list[tuple[str, str]]:
    """Remarks on the images in a folder that are not in its data set, nor skipped or noted there:
    whatever a reader does not look at, it does not lose in silence."""
    taken = {os.path.realpath(example.path) for example in dataset if example.path}
    said = " ".join(f"{file} {why}" for file, why in [*dataset.skipped, *dataset.notes])
    words = set(re.split(r"[\s:,;()'\"]+", said))
    words |= {Path(word).stem for word in words if word.startswith("/")}  # of an annotation, say
    why = "an image that is not in the data set: nothing that was read is about it"
    remarks = []
    for path in images_in(folder)[0]:
        parts = path.relative_to(folder).parts
        names = {"/".join(parts[k:]) for k in range(len(parts))} | {path.stem, str(path)}
        if os.path.realpath(path) in taken or names & words or str(path) in said:
            continue
        if not set(parts) & set(SEGMENTATION):
            remarks.append((str(path), why))
    return remarks
