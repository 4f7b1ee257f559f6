import io
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.folders import write_image
from tests.data.records import BOXES, NAMED, classified, detection, jpeg, record, write
from yolov1 import data
from yolov1.grid import GridSpec


def test_boxes(tmp_path):
    empty = record({}, filename="b.jpg", encoded=jpeg(1), **{"object/class/text": []})
    file = write(tmp_path / "x.tfrecord", detection(), empty)
    dataset = data.open(f"records:{file}")
    first, second = dataset
    assert dataset.classes == ("cat", "dog") and not dataset.notes
    assert first.labels.tolist() == [1, 0] and first.difficult.tolist() == [False, True]
    expected = [[0.3, 0.35, 0.4, 0.5], [0.5, 0.5, 1, 1]]
    np.testing.assert_allclose(first.boxes_cxcywh, expected, rtol=1e-6)
    assert [e.image_id for e in dataset] == ["a", "b"] and first.size == (40, 60)
    assert first.path is None and first.jpeg and len(second.labels) == 0
    assert [e.encoded for e in dataset] == [jpeg(0), jpeg(1)] and dataset.block == 1
    for k, example in enumerate(dataset):
        truth = np.asarray(Image.open(io.BytesIO(jpeg(k))))
        np.testing.assert_array_equal(example.image, truth)
    only = data.open(f"records:{file}", classes="dog")
    assert [e.labels.tolist() for e in only] == [[0], []]


def test_crowds_are_difficult(tmp_path):
    crowd = {"object/difficult": None, "object/is_crowd": [1, 0]}
    file = write(tmp_path / "x.tfrecord", detection(**crowd))
    assert data.open(f"records:{file}")[0].difficult.tolist() == [True, False]


def test_images_do_not_stay_in_memory(tmp_path):
    file = write(tmp_path / "x.tfrecord", detection(), detection(encoded=jpeg(1)))
    dataset = data.open(f"records:{file}")
    assert dataset[1].image.shape == (40, 60, 3)
    assert len(pickle.dumps(dataset[1])) < 1000 < len(jpeg(1))
    other, before = jpeg(2, size=(8, 8)).ljust(len(jpeg(1)), b"\0"), file.stat()
    file.write_bytes(file.read_bytes().replace(jpeg(1), other))
    os.utime(file, ns=(0, before.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"x\.tfrecord was changed after it was opened"):
        dataset[1].image  # noqa: B018
    os.utime(file, ns=(0, before.st_mtime_ns))
    truth = np.asarray(Image.open(io.BytesIO(other)))
    np.testing.assert_array_equal(dataset[1].image, truth)  # it is read from the file each time


def test_whole_images(tmp_path):
    # ImageNet's own records have boxes too, but no class for each of them.
    imagenet = classified(1, **{f"object/bbox/{c}": [0.5] for c in BOXES})
    write(tmp_path / "train-00000-of-00001", imagenet, classified(2, encoded=jpeg(1)))
    (tmp_path / "classes.txt").write_text("tench\nshark\nray\n")
    dataset = data.open(f"records:{tmp_path}", "train")
    assert dataset.classes == ("tench", "shark", "ray")
    for k, example in enumerate(dataset):
        np.testing.assert_array_equal(example.boxes_cxcywh, [[0.5, 0.5, 1, 1]])
        assert example.labels.tolist() == [k]
    # Without its box an image would be one of no class: a classifier has no use for it.
    only = data.open(f"records:{tmp_path}", "train", classes="shark")
    assert [e.labels.tolist() for e in only] == [[0]] and not only.skipped


def test_files_and_splits(tmp_path):
    names = [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "voc_validation.record",
        "test.tfrecord",
    ]
    for k, name in enumerate(names):
        write(tmp_path / name, detection(filename=f"{k}.jpg"))
    (tmp_path / "train.txt").write_text("not a record file")

    def ids(pattern, split=None):
        return "".join(e.image_id for e in data.open(f"records:{pattern}", split))

    assert ids(tmp_path, "train") == "01" and ids(tmp_path, "val") == "2"
    assert ids(tmp_path, "test+train") == "301" and ids(tmp_path, "train+train") == "01"
    assert ids(tmp_path) == "3012" and ids(tmp_path / "train-*") == "01"
    assert ids(tmp_path / names[3]) == ids(tmp_path / names[3], "test") == "3"
    with pytest.raises(FileNotFoundError, match="no split 'rain'.*there are: test.tfrecord, "):
        ids(tmp_path, "rain")
    with pytest.raises(FileNotFoundError, match="no split 'train'"):
        ids(tmp_path / names[3], "train")
    for nothing in (tmp_path / "none", tmp_path / "none-*"):
        with pytest.raises(FileNotFoundError, match="no record file; expected"):
            ids(nothing)


def test_image_ids_are_unique(tmp_path):
    file = write(tmp_path / "x.tfrecord", detection(), detection(), detection(filename="b/a.jpg"))
    assert [e.image_id for e in data.open(f"records:{file}")] == ["a", "a#2", "b/a"]
    write(file, detection(filename=None), detection(filename="", source_id="7"))
    assert [e.image_id for e in data.open(f"records:{file}")] == ["x-1", "7"]


@pytest.mark.parametrize(
    "features, reason",
    [
        ({"encoded": None}, "image/encoded is missing or empty, and the image 'a.jpg' lies"),
        ({"encoded": b"GIF"}, "the encoded image is not an image that can be read"),
        ({"encoded": jpeg()[:300]}, "the encoded image is (damaged|not an image)"),
        ({"encoded": 5}, "image/encoded must be a bytes_list, got a int64_list"),
        ({"object/class/text": None}, "no class: expected image/object/class/text or"),
        ({"object/class/text": []}, "no class: expected"),
        ({"object/class/text": ["dog"]}, "image/object/class/text must have 2 values, got 1"),
        ({"object/class/text": [b"\xff", b"b"]}, "image/object/class/text is not UTF-8"),
        ({"object/class/label": [0.5, 1.5]}, "must be a int64_list, got a float_list"),
        ({"object/difficult": [1]}, "image/object/difficult must have 2 values, got 1"),
        ({"boxes": BOXES | {"xmax": [0.5]}}, "as many of each, got 2 xmin, 2 ymin, 1 xmax"),
        ({"boxes": BOXES | {"xmax": [0.5, 60.0]}}, "fractions of the image, not pixels; got up"),
        ({"boxes": BOXES | {"xmax": [0.5, float("nan")]}}, "not a finite number"),
        ({"boxes": BOXES | {"xmax": [0.05, 1.0]}}, "is inverted"),
        ({"boxes": {}}, "image/object/class/text must have 0 values, got 2"),
    ],
)  # fmt: skip
def test_bad_records(tmp_path, features, reason):
    file = write(tmp_path / "x.tfrecord", detection(**features), detection(filename="b.jpg"))
    with pytest.raises(data.BadExampleError, match=rf"x\.tfrecord: record 1: .*{reason}"):
        data.open(f"records:{file}")
    dataset = data.open(f"records:{file}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and len(dataset.skipped) == 1


def test_not_an_example(tmp_path):
    file = write(tmp_path / "x.tfrecord", b"\xff\xff\xff", detection())
    dataset = data.open(f"records:{file}", bad_examples="skip")
    assert len(dataset) == 1 and dataset.skipped == [
        (f"{file}: record 1", "not a tf.train.Example")
    ]


def test_several_classes_of_a_whole_image(tmp_path):
    file = write(tmp_path / "x.tfrecord", classified([1, 2]))
    with pytest.raises(data.BadExampleError, match="image/class/label must have 1 values, got 2"):
        data.open(f"records:{file}")


def test_an_image_beside_the_records(tmp_path):
    """Annotation tools export records without the images."""
    write_image(tmp_path / "images" / "a.jpg")
    write_image(tmp_path / "b.jpg", seed=1)
    records = [
        detection(encoded=value, filename=f) for value, f in ((b"", "a.jpg"), (None, "b.jpg"))
    ]
    file = write(tmp_path / "x.tfrecord", *records)
    dataset = data.open(f"records:{file}")
    assert [e.path for e in dataset] == [tmp_path / "images" / "a.jpg", tmp_path / "b.jpg"]
    assert all(e.jpeg and len(e.labels) == 2 for e in dataset)


@pytest.mark.parametrize("cache", [True, False])
def test_the_pipeline_sees_the_images(tmp_path, cache):
    file = write(tmp_path / "x.tfrecord", *(classified(k + 1, encoded=jpeg(k)) for k in range(3)))
    dataset = data.open(f"records:{file}")
    grid = GridSpec(S=1, B=1, C=3, image_size=24)
    stream = data.training_batches(
        dataset, grid, 3, seed=0, steps=1, augmentation="none", cache=cache
    )
    for images, targets, indices in stream:
        for image, target, k in zip(images.numpy(), targets.numpy(), indices.numpy(), strict=True):
            assert target[0, 0].tolist() == [*np.eye(3)[k], 1, 0.5, 0.5, 1, 1]
            small = Image.fromarray(dataset[k].image).resize(
                (24, 24), Image.BILINEAR, reducing_gap=1
            )
            assert np.abs(image * 255 - np.asarray(small)).mean() < 6


def test_damage_found_in_training_names_the_record(tmp_path):
    file = write(
        tmp_path / "x.tfrecord", detection(), detection(filename="b", encoded=jpeg()[:-40])
    )
    dataset = data.open(f"records:{file}", verify=False)
    grid = GridSpec(S=2, B=1, C=2, image_size=24)
    with pytest.raises(
        data.BadExampleError, match="^image 'b' cannot be read: the encoded image is"
    ):
        data.training_batches(dataset, grid, 2, seed=0, steps=1)


RECORDS = {
    "good": detection,
    "again": lambda: detection(filename="a.jpg"),
    "no image": lambda: detection(encoded=None, filename="gone.jpg"),
    "damaged": lambda: detection(encoded=jpeg()[:300]),
    "pixels": lambda: record({k: [30.0, 20.0] for k in BOXES}, **NAMED),
    "flag": lambda: detection(**{"object/difficult": [0, 2]}),
    "not an example": lambda: b"\xff\xff\xff",
}


@settings(max_examples=25, deadline=None)
@given(kinds=st.lists(st.sampled_from(list(RECORDS)), min_size=1, max_size=6))
def test_every_record_is_accounted_for(kinds):
    good = [kind in ("good", "again") for kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "x.tfrecord", detection(), *(RECORDS[kind]() for kind in kinds))
        (Path(folder) / "notes.bin").touch()
        dataset = data.open(f"records:{folder}", bad_examples="skip")
        assert len(dataset) == 1 + sum(good) and len(dataset.skipped) == len(good) - sum(good)
        assert len({e.image_id for e in dataset}) == len(dataset)
        named = [file.rsplit(" ", 1)[1] for file, _ in dataset.skipped]
        assert named == [str(k + 2) for k, is_good in enumerate(good) if not is_good]
        assert dataset.notes == [(f"{folder}/notes.bin", "not read: no record file by its name")]
