import io
import os
import pickle
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.folders import write_image, write_voc
from yolov1 import data
from yolov1.data.formats import tfrecord
from yolov1.data.formats.label_map import label_map_text, parse_label_map
from yolov1.grid import GridSpec

BOXES = {"xmin": [0.1, 0.0], "ymin": [0.1, 0.0], "xmax": [0.5, 1.0], "ymax": [0.6, 1.0]}
NAMED = {"object/class/text": ["dog", "cat"], "object/difficult": [0, 1]}


def jpeg(seed=0, size=(40, 60)):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    file = io.BytesIO()
    small.resize(size[::-1], Image.BICUBIC).save(file, "JPEG", quality=95)
    return file.getvalue()


def record(boxes=BOXES, **features):
    """A serialized example; a feature is named without ``image/``, None leaves it out."""
    features = {"encoded": jpeg(), "filename": "a.jpg"} | features
    features |= {f"object/bbox/{corner}": values for corner, values in (boxes or {}).items()}

    def feature(values):
        values = values if isinstance(values, list) else [values]
        if not values or isinstance(values[0], str | bytes):
            texts = [v.encode() if isinstance(v, str) else v for v in values]
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        if isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    kept = {f"image/{k}": feature(v) for k, v in features.items() if v is not None}
    example = tf.train.Example(features=tf.train.Features(feature=kept))
    return example.SerializeToString()


def detection(**features):
    return record(**(NAMED | features))


def classified(label=None, text=None, **features):
    return record(None, **{"class/label": label, "class/text": text} | features)


def write(path, *records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in records:
            writer.write(content)
    return path


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


@pytest.mark.parametrize("label_map", ["label_map.pbtxt", "voc.pbtxt", "classes.txt"])
def test_labels_without_texts_take_their_names_from_a_file(tmp_path, label_map):
    numbers = {"object/class/text": None, "object/class/label": [3, 1]}
    write(tmp_path / "x.tfrecord", detection(**numbers))
    names = ("cat", "cow", "dog")
    text = "\n".join(names) if label_map == "classes.txt" else label_map_text(names)
    (tmp_path / label_map).write_text(text)
    dataset = data.open(f"records:{tmp_path}")
    assert dataset.classes == names and dataset[0].labels.tolist() == [2, 0]
    write(tmp_path / "y.tfrecord", detection(**numbers | {"object/class/label": [0, 1]}))
    with pytest.raises(data.BadExampleError, match=rf"unknown label 0; .*{label_map} has 1 to 3"):
        data.open(f"records:{tmp_path}")


def test_labels_without_any_names(tmp_path):
    write(tmp_path / "train.tfrecord", classified(10), classified(9))
    write(tmp_path / "val.tfrecord", classified(9))
    for split in ("train", "val", None):
        dataset = data.open(f"records:{tmp_path}", split)
        assert dataset.classes == ("class 9", "class 10")
    write(tmp_path / "test.tfrecord", classified(text="cat"))
    with pytest.raises(ValueError, match=r"some objects have texts \(cat, ...\), others numbers"):
        data.open(f"records:{tmp_path}")


def test_a_text_that_is_no_class_leaves_it_to_the_label(tmp_path):
    (tmp_path / "label_map.pbtxt").write_text(label_map_text(["n01", "n02"]))
    write(tmp_path / "x.tfrecord", classified(2, "tench, Tinca tinca"), classified(2, "n01"))
    assert [e.labels.tolist() for e in data.open(f"records:{tmp_path}")] == [[1], [0]]


def test_label_map_text():
    text = """# item { id: 9 name: 'no' }
    item { id: 2, name: "/m/1" display_name: "a \\"b\\"" keypoints { id: 7 label: "nose" } }
    item {
      name: 'it is'  # name: 'other'
      id: 1
    }"""
    assert parse_label_map(text) == {1: ("it is",), 2: ('a "b"', "/m/1")}
    assert list(parse_label_map(text)) == [1, 2]
    odd = ('say "a"', "back\\slash", "it's {", "# no")
    assert [names[0] for names in parse_label_map(label_map_text(odd)).values()] == list(odd)
    with pytest.raises(ValueError, match="needs an id and a name"):
        parse_label_map("item { id: 1 }")


def test_an_empty_label_map(tmp_path):
    write(tmp_path / "x.tfrecord", detection())
    (tmp_path / "label_map.pbtxt").write_text("")
    with pytest.raises(ValueError, match=r"label_map.pbtxt names no class"):
        data.open(f"records:{tmp_path}")


def test_display_names(tmp_path):
    text = 'item { id: 1 name: "/m/1" display_name: "dog" } item { id: 2 name: "cat" }'
    (tmp_path / "label_map.pbtxt").write_text(text)
    for k, first in enumerate(("/m/1", "dog")):
        texts = {"object/class/text": [first, "cat"]}
        file = write(tmp_path / f"{k}.tfrecord", detection(**texts))
        dataset = data.open(f"records:{file}")
        assert dataset.classes == ("dog", "cat") and dataset[0].labels.tolist() == [0, 1]


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


def frames_of(file):
    return [(f.length, f.error) for f in tfrecord.frames(file)]


def test_frames_are_what_tensorflow_reads(tmp_path):
    # A length of 0x8b1f begins with the two bytes of a gzip file.
    contents = [b"", b"a", b"x" * 0x8B1F, bytes(range(256)) * 300]
    for records in (contents, contents[::-1], contents[2:], []):
        file = write(tmp_path / "x.tfrecord", *records)
        assert [f.read() for f in tfrecord.frames(file)] == records
        assert not any(f.error for f in tfrecord.frames(file))
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 5000, 20):
        file = write(tmp_path / "x.tfrecord", bytes(length))
        header = file.read_bytes()[:12]
        assert struct.unpack("<QI", header) == (length, tfrecord.crc(header[:8]))


def test_a_file_that_is_cut_off(tmp_path):
    whole = write(tmp_path / "x.tfrecord", *(detection(filename=f"{k}.jpg") for k in range(3)))
    content = whole.read_bytes()
    second, third = (f.start - tfrecord.HEADER_BYTES for f in tfrecord.frames(whole)[1:])
    for size in (second + 1, second + 11, second + 12, second + 200, third - 1):
        whole.write_bytes(content[:size])
        dataset = data.open(f"records:{whole}", bad_examples="skip")
        assert [e.image_id for e in dataset] == ["0"]
        (entry,) = dataset.skipped
        assert entry == (
            f"{whole}: record 2",
            f"the file is cut off at byte {size}, in the middle of this record",
        )
    with pytest.raises(data.BadExampleError, match="record 2: the file is cut off at byte"):
        data.open(f"records:{whole}")
    whole.write_bytes(content[:third])
    assert len(data.open(f"records:{whole}")) == 2


def test_a_damaged_length_ends_the_file(tmp_path):
    file = write(tmp_path / "x.tfrecord", *(detection(filename=f"{k}.jpg") for k in range(3)))
    content = bytearray(file.read_bytes())
    second = tfrecord.frames(file)[1].start - tfrecord.HEADER_BYTES
    for byte in (0, 7, 8):  # two of the length, one of its CRC
        damaged = content.copy()
        damaged[second + byte] ^= 4
        file.write_bytes(damaged)
        dataset = data.open(f"records:{file}", bad_examples="skip")
        assert [e.image_id for e in dataset] == ["0"]
        assert f"no record begins at byte {second}" in dataset.skipped[0][1]


def test_files_that_are_no_records(tmp_path):
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    file = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(file), options) as writer:
        writer.write(detection())
    with pytest.raises(data.BadExampleError, match="compressed; unpack it with gunzip"):
        data.open(f"records:{file}")
    file.write_text("<html>404 not found</html>")
    with pytest.raises(data.BadExampleError, match="no record begins at byte 0"):
        data.open(f"records:{file}")
    file.write_bytes(b"")
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"records:{file}")


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


def same(one, other):
    assert one.classes == other.classes and len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.image_id == b.image_id and a.size == b.size
        np.testing.assert_allclose(a.boxes_cxcywh, b.boxes_cxcywh, atol=2e-7)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.difficult, b.difficult)
        np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.parametrize("shards", [1, 3])
def test_round_trip_of_drawn_images(tmp_path, shards):
    dataset = data.open("shapes:count=7", image_size=48)
    files = data.write_records(dataset, tmp_path / "out" / "train.tfrecord", shards=shards)
    assert len(files) == shards and all(f.is_file() for f in files)
    again = data.open(f"records:{tmp_path / 'out'}", "train")
    same(dataset, again)
    data.write_records(again, tmp_path / "val.tfrecord")
    same(dataset, data.open(f"records:{tmp_path}", "val"))


def test_round_trip_of_files(tmp_path):
    objects = [("dog", (6, 4, 30, 24), False), ("cat", (0, 0, 60, 40), True)]
    root = write_voc(tmp_path / "voc", {"a": objects, "b.c": [], "d": objects[1:]})
    dataset = data.open(f"voc:{root}")
    (file,) = data.write_records(dataset, tmp_path / "x.tfrecord")
    same(dataset, data.open(f"records:{file}"))
    content = file.read_bytes()
    assert all(example.path.read_bytes() in content for example in dataset)  # not encoded anew
    parsed = [tf.train.Example.FromString(f.read()) for f in tfrecord.frames(file)]
    first = parsed[0].features.feature
    assert first["image/format"].bytes_list.value == [b"jpeg"]
    assert first["image/object/class/label"].int64_list.value == [2, 1]  # from 1


def test_a_writer_that_is_stopped_leaves_no_data_set(tmp_path, monkeypatch):
    from yolov1.data.formats.writing import records

    dataset = data.open("shapes:count=4", image_size=32)
    original, calls = records._serialized, []

    def stop(example, classes):
        calls.append(example)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(example, classes)

    monkeypatch.setattr(records, "_serialized", stop)
    with pytest.raises(KeyboardInterrupt):
        data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    with pytest.raises(FileNotFoundError):
        data.open(f"records:{tmp_path}")
    monkeypatch.setattr(records, "_serialized", original)
    data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    assert len(data.open(f"records:{tmp_path}")) == 4


def test_the_writer_does_not_mix(tmp_path):
    dataset = data.open("shapes:count=4,classes=2", image_size=32)
    data.write_records(dataset, tmp_path / "train.tfrecord", shards=2)
    for shards in (1, 2, 4):
        with pytest.raises(FileExistsError, match=r"train-00000-of-00002\.tfrecord exists"):
            data.write_records(dataset, tmp_path / "train.tfrecord", shards=shards)
    other = data.open("shapes:count=4,classes=3", image_size=32)
    with pytest.raises(FileExistsError, match="label_map.pbtxt is of other classes than circle"):
        data.write_records(other, tmp_path / "val.tfrecord")
    assert not (tmp_path / "val.tfrecord").exists()
    for shards in (0, 5):
        with pytest.raises(
            ValueError, match=rf"from 1 to the number of images \(4\), got {shards}"
        ):
            data.write_records(dataset, tmp_path / "test.tfrecord", shards=shards)


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


def test_label_maps_must_agree(tmp_path):
    texts = [label_map_text(("cat", "dog")), label_map_text(("dog", "cat"))]
    for name, text in zip(("train", "valid"), texts, strict=True):
        write(tmp_path / name / "x.tfrecord", detection(**{"object/class/label": [1, 2]}))
        (tmp_path / name / "label_map.pbtxt").write_text(text)
    (tmp_path / "train" / "graph.pbtxt").write_text('node { name: "x" }')
    assert len(data.open(f"records:{tmp_path / 'train'}")) == 1
    with pytest.raises(ValueError, match="name different classes: there is no telling"):
        data.open(f"records:{tmp_path}")
    (tmp_path / "valid" / "label_map.pbtxt").write_text(texts[0])
    dataset = data.open(f"records:{tmp_path}", "train")
    assert len(dataset) == 1 and dataset.notes[0][1] == "not read: it is no label map"
