"""Whatever lies in a data set's folder is taken, skipped, noted or refused: by every reader."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.folders import voc_xml
from yolov1 import data
from yolov1.data.images import SUFFIXES

SIZE = (12, 16)
PLACES = {
    "yolo": "images",
    "voc": "JPEGImages",
    "coco": "images",
    "fiftyone": "data",
    "folders": "cat",
    "voc_txt": "VOCdevkit/VOC2007/JPEGImages",
}


def image(path, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*SIZE, 3), len(path.name) * 7 % 256, np.uint8)
    Image.fromarray(pixels).save(path, format=kind or ("PNG" if path.suffix == ".png" else "JPEG"))
    return path


class Set:
    """A data set of one kind that is made worse step by step, and then written."""

    def __init__(self, kind, root):
        self.kind, self.root, self.folder = kind, root, root / PLACES[kind]
        self.labelled = [image(self.folder / f"{name}.jpg") for name in ("a", "b")]
        self.extra = []  # further annotations, of images that are not there

    def write(self):
        names = [p.relative_to(self.folder).as_posix() for p in self.labelled]
        getattr(self, f"write_{self.kind}")(names)

    def write_yolo(self, names):
        (self.root / "classes.txt").write_text("cat\n")
        for name in [*names, *self.extra]:
            file = self.root / "labels" / Path(name).with_suffix(".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("0 0.5 0.5 0.5 0.5\n")

    def write_voc(self, names):
        for name in [*names, *self.extra]:
            file = self.root / "Annotations" / Path(name).with_suffix(".xml")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(voc_xml([("cat", (1, 1, 9, 9), False)], SIZE, Path(name).name))

    def write_coco(self, names):
        content = {
            "images": [{"id": k, "file_name": name} for k, name in enumerate(names)],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 5, 5]}
                for k in range(len(names) + len(self.extra))
            ],
        }
        (self.root / "train.json").write_text(json.dumps(content))

    def write_fiftyone(self, names):
        entry = {"label": 0, "bounding_box": [0.1, 0.1, 0.5, 0.5]}
        keys = [os.path.splitext(name)[0] for name in [*names, *self.extra]]
        content = {"classes": ["cat"], "labels": {key: [entry] for key in keys}}
        (self.root / "labels.json").write_text(json.dumps(content))

    def write_folders(self, names):
        pass

    def write_voc_txt(self, names):
        (self.root / "classes.txt").write_text("cat\n")
        lines = [f"{PLACES['voc_txt']}/{n} 1,1,9,9,0" for n in [*names, *self.extra]]
        (self.root / "VOCdevkit" / "2007_train.txt").write_text("\n".join(lines))


def stray(made):
    image(made.folder / "stray.png")


def unreadable_suffix(made):
    (made.folder / "photo.heic").write_bytes(b"ftypheic")


def other_suffix(made):
    made.labelled.append(image(made.folder / "c.jfif"))


def upper_case(made):
    made.labelled.append(image(made.folder / "IMG_1.JPG"))


def subfolder(made):
    made.labelled.append(image(made.folder / "day1" / "d.jpg"))


def same_name_in_two_folders(made):
    made.labelled += [image(made.folder / day / "e.jpg") for day in ("day1", "day2")]


def linked_folder(made):
    disk = made.root.parent / "disk2"
    image(disk / "f.jpg")
    os.symlink(disk, made.folder / "linked")
    made.labelled.append(made.folder / "linked" / "f.jpg")


def loop(made):
    os.symlink(made.folder, made.folder / "again")


def broken_link(made):
    os.symlink(made.root / "nowhere.jpg", made.folder / "broken.jpg")


def damaged(made):
    file = image(made.folder / "damaged.jpg")
    file.write_bytes(file.read_bytes()[:300])
    made.labelled.append(file)


def of_systems(made):
    for name in ("._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/x.jpg", "Thumbs.db"):
        file = made.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"\0\5\26\7")


def labels_without_image(made):
    made.extra.append("gone.jpg")


def odd_names(made):
    made.labelled += [image(made.folder / name) for name in ("f[1].jpg", "c#1.jpg", "d%20e.jpg")]


MESS = (
    *(stray, unreadable_suffix, other_suffix, upper_case, subfolder, same_name_in_two_folders),
    *(linked_folder, loop, broken_link, damaged, of_systems, labels_without_image, odd_names),
)


def lying_there(root):
    """Every file below, each once; those behind links under the name of the link."""
    seen = set()
    for top, folders, files in os.walk(root, followlinks=True):
        if os.path.realpath(top) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(top))
        yield from (Path(top) / name for name in files)


@pytest.mark.parametrize("kind", PLACES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(mess=st.lists(st.sampled_from(MESS), unique=True, max_size=6))
def test_every_file_is_accounted_for(kind, mess):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        made = Set(kind, root)
        for function in mess:
            function(made)
        made.write()
        dataset = data.open(f"{kind}:{root}", bad_examples="skip")
        ids = [e.image_id for e in dataset]
        assert len(set(ids)) == len(ids)
        assert all(example.image_id for example in dataset)
        taken = {os.path.realpath(e.path) for e in dataset}
        said = "\n".join(f"{file}: {why}" for file, why in [*dataset.skipped, *dataset.notes])
        for file in lying_there(root):
            images = file.suffix.lower() in (*SUFFIXES, ".heic")
            if not images or kind == "voc_txt" and file not in made.labelled:
                continue  # text lists are only complete where they are made so
            if any(part.startswith((".", "__MACOSX")) for part in file.relative_to(root).parts):
                assert os.path.realpath(file) not in taken
                continue
            named = str(file) in said or file.stem in said or os.path.realpath(file) in said
            assert os.path.realpath(file) in taken or named, (file, said)
        for name in made.extra:  # and so is every annotation
            assert Path(name).stem in said or kind == "folders" or "not listed" in said
        expected = {os.path.realpath(p) for p in made.labelled if p.stem != "damaged"}
        assert expected <= taken


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("function", MESS)
def test_each_by_itself(kind, function):
    test_every_file_is_accounted_for.hypothesis.inner_test(kind, [function])
