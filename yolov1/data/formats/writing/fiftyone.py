"""FiftyOne's detection exports, as `yolov1.data.formats.fiftyone` reads them."""

import json
from pathlib import Path

from yolov1.data.formats.writing import labelled
from yolov1.data.formats.writing.image_files import file_names, place_image
from yolov1.files import replacing
from yolov1.names import require_writable


def write_fiftyone(dataset, folder, *, link=True):
    """Writes ``data/`` and ``labels.json`` with classes and class indices; see `fiftyone_json`.

    A difficult box has the attribute ``difficult``, one with a remark ``remark``, a detection its
    ``confidence``. A ``/`` in an image id becomes ``_``.

    Args:
        dataset: `Dataset`.
        folder: made where it does not exist; files of the same names are replaced.
        link: hard links instead of copies, where that is possible.

    Raises:
        ValueError: two images have one id.
    """
    require_writable(dataset.classes, "write_fiftyone")
    folder = Path(folder)
    labels = {}
    for name, example in zip(file_names(dataset, "write_fiftyone"), dataset, strict=True):
        place_image(example, folder / "data" / name, link)
        labels[Path(name).stem] = entries = []
        described = zip(
            labelled.rows(example.boxes_cxcywh, example), labelled.remarks(example), strict=True
        )
        for (box, label, difficult, score), remark in described:
            cx, cy, w, h = box.tolist()
            entry = {"label": int(label), "bounding_box": [cx - w / 2, cy - h / 2, w, h]}
            attributes = {"difficult": True} if difficult else {}
            attributes |= {"remark": remark} if remark else {}
            entry |= {"attributes": attributes} if attributes else {}
            entries.append(entry | ({} if score is None else {"confidence": score}))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"classes": list(dataset.classes), "labels": labels}
    with replacing(folder / "labels.json") as file:
        json.dump(content, file)


def write(splits, folder, options):
    """Writes an export a split, in a folder of its name; see `yolov1.data.write`."""
    for split, dataset in splits.items():
        write_fiftyone(dataset, folder / (split or ""), link=options.link)
    return []
