"""YOLO text labels, as `yolov1.data.formats.yolo` reads them."""

from pathlib import Path

import yaml

from yolov1.data.formats.walk import images_in
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.data.formats.yolo_settings import SPLITS
from yolov1.files import read_text, replacing
from yolov1.names import require_writable


def write_yolo(dataset, folder, split, *, difficult=False, link=True):
    """Writes ``images/<split>``, ``labels/<split>`` (``label cx cy w h``) and ``classes.txt``.

    Call it once for each split. An image without objects gets an empty file. A ``/`` in an image id
    becomes ``_``.

    Args:
        dataset: `Dataset`.
        folder: made where it does not exist; files of the same names are replaced.
        split: name of the split: ``train``.
        difficult: write the boxes marked difficult too, which the format cannot mark. Like
            Darknet's converter, training here leaves them out.
        link: hard links instead of copies, where that is possible.

    Raises:
        ValueError: two images have one id, or the folder's ``classes.txt`` has other classes.
        FileExistsError: the split has other images, or label files of others.
    """
    folder = Path(folder)
    names = require_own_split(dataset, folder, split)
    labels = folder / "labels" / split
    labels.mkdir(parents=True, exist_ok=True)
    for name, example in zip(names, dataset, strict=True):
        lines = [
            f"{label} {cx:.9g} {cy:.9g} {w:.9g} {h:.9g}\n"  # nine digits give float32 back
            for label, (cx, cy, w, h), hard in zip(
                example.labels, example.boxes_cxcywh, example.difficult, strict=True
            )
            if difficult or not hard
        ]
        place_image(example, folder / "images" / split / name, link)
        with replacing(labels / f"{Path(name).stem}.txt") as file:
            file.writelines(lines)
    with replacing(folder / "classes.txt") as file:
        file.write(_class_lines(dataset))


def require_own_split(dataset, folder, split):
    """The file names of the images, or the errors of `write_yolo`, before anything is written."""
    require_writable(dataset.classes, "write_yolo")
    folder = Path(folder)
    names = file_names(dataset, "write_yolo")
    classes = folder / "classes.txt"
    if classes.is_file() and read_text(classes) != _class_lines(dataset):
        raise ValueError(
            f"write_yolo: {classes} has other classes than {', '.join(dataset.classes)}; all "
            "splits of a folder share one list. Open them together, or take another folder."
        )
    labels, images = folder / "labels" / split, folder / "images" / split
    others = {file.stem for file in labels.glob("*.txt")} - {Path(name).stem for name in names}
    if others:
        raise FileExistsError(
            f"write_yolo: {labels} has {len(others)} label files of other images "
            f"({min(others)}.txt). Remove {labels} and {images}, or take another folder."
        )
    others = {str(file.relative_to(images)) for file in _if_there(images)} - set(names)
    if others:  # as where an export is converted in its own folder, and not all of it is usable
        raise FileExistsError(
            f"write_yolo: {images} has {len(others)} image(s) besides those to write "
            f"({min(others)}), which would have no label file. Take another folder (--root)."
        )
    return names


def _class_lines(dataset):
    return "".join(f"{name}\n" for name in dataset.classes)


def _if_there(folder):
    return images_in(folder)[0] if folder.is_dir() else []


def write(splits, folder, options):
    """Writes the splits and a ``data.yaml``; see `yolov1.data.write`.

    Raises:
        ValueError: a class name that a YAML would not give back.
    """
    splits = {split or "train": dataset for split, dataset in splits.items()}
    classes = next(iter(splits.values())).classes
    for name in classes:
        if name in ("~", "null"):
            raise ValueError(
                f"data.write to yolo: the class name {name!r} means nothing in a YAML. Rename the "
                "class."
            )
    remarks = []
    for split, dataset in splits.items():
        write_yolo(dataset, folder, split, difficult=options.difficult, link=options.link)
        hard = sum(int(example.difficult.sum()) for example in dataset)
        if hard:
            what = "written as any other" if options.difficult else "left out (see --difficult)"
            remark = f"{hard} boxes are marked difficult, which YOLO's labels cannot say: {what}"
            remarks.append((f"{folder}/labels/{split}", remark))
    content = {"names": dict(enumerate(classes))}
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:  # with some of the splits in it, it would say that the others are none
        remark = f"names no splits: programs do not know {', '.join(unknown)} (see images/)"
        remarks.append((f"{folder}/data.yaml", remark))
    else:
        content = {split: f"images/{split}" for split in splits} | content
    with replacing(folder / "data.yaml") as file:
        yaml.safe_dump(content, file, allow_unicode=True, sort_keys=False, width=10_000)
    return remarks
