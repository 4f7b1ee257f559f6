"""Readers for the detection and ground-truth files of ../shared/oracle."""

import io
import json
import tarfile

import numpy as np

from yolov1.data.formats.voc import VOC_CLASSES, parse_annotation
from yolov1.evaluation import GroundTruth
from yolov1.inference import Detections


def detections_of(rows):
    """`Detections` from rows of (label, score, x0, y0, x1, y1)."""
    rows = np.array(rows, float).reshape(-1, 6)
    return Detections(rows[:, 2:], rows[:, 1], rows[:, 0].astype(int))


def truth_of(rows):
    """`GroundTruth` from rows of (label, x0, y0, x1, y1)."""
    rows = np.array(rows, float).reshape(-1, 5)
    return GroundTruth(rows[:, 1:], rows[:, 0].astype(int))


def rows_of_file(path, corners):
    """(label 0, numbers before the box, corners) of a file with a box per line."""
    rows = []
    for line in path.read_text().splitlines():
        *before, a, b, c, d = (float(v) for v in line.split()[1:])
        rows.append([0, *before, *corners(a, b, c, d)])
    return rows


def xywh(x, y, w, h):
    return x, y, x + w, y + h


def coco_images(truth_json, detections_json):
    """(Detections, GroundTruth) of each image of two files in COCO's format, in pixels."""
    truth = json.loads(truth_json.read_text())
    found = json.loads(detections_json.read_text())
    found = found["annotations"] if isinstance(found, dict) else found
    ids = sorted({image["id"] for image in truth["images"]})
    categories = sorted({annotation["category_id"] for annotation in truth["annotations"] + found})
    boxes = {i: [] for i in ids}
    hits = {i: [] for i in ids}
    for annotation in truth["annotations"]:
        row = [categories.index(annotation["category_id"]), *xywh(*annotation["bbox"])]
        boxes[annotation["image_id"]].append((*row, annotation.get("iscrowd", 0)))
    for hit in found:
        row = [categories.index(hit["category_id"]), hit["score"], *xywh(*hit["bbox"])]
        hits[hit["image_id"]].append(row)
    truths = []
    for i in ids:
        rows = np.array(boxes[i], float).reshape(-1, 6)
        truths.append(GroundTruth(rows[:, 1:5], rows[:, 0].astype(int), rows[:, 5] > 0))
    return [detections_of(hits[i]) for i in ids], truths


def voc2007_test(archive):
    """{image id: (boxes_xyxy in pixels, labels, difficult, (height, width))} of the test split."""
    with tarfile.open(archive) as files:
        members = {member.name: member for member in files}
        split = files.extractfile(members["VOC2007/ImageSets/Main/test.txt"]).read().decode()
        truth = {}
        for image_id in split.split():
            xml = files.extractfile(members[f"VOC2007/Annotations/{image_id}.xml"]).read()
            annotation, _ = parse_annotation(xml)
            labels = [VOC_CLASSES.index(name) for name in annotation.names]
            flags = np.array(annotation.difficult, bool)
            truth[image_id] = (annotation.boxes_xyxy, labels, flags, annotation.extent)
    return truth


def comp4(archive, image_ids):
    """`Detections` per image from an archive of the devkit's comp4 files, in pixels."""
    place = {image_id: k for k, image_id in enumerate(image_ids)}
    parts = []
    with tarfile.open(archive) as files:
        for member in files:
            label = VOC_CLASSES.index(member.name.rpartition("_")[2].removesuffix(".txt"))
            text = files.extractfile(member).read().decode()
            rows = np.loadtxt(io.StringIO(text), converters={0: lambda i: place[i]}, encoding=None)
            parts.append(np.insert(rows, 1, label, axis=1))
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ends = np.searchsorted(rows[:, 0], np.arange(len(place)), "right")
    return [detections_of(part[:, 1:]) for part in np.split(rows, ends[:-1])]
