"""Records that are ten times as large as the cache: read from their shards, and resumed exactly."""

import os

import numpy as np
import pytest

from tests.data.batches import assert_same, in_numpy, joined
from tests.data.folders import write_image
from yolov1 import data
from yolov1.data import pipeline
from yolov1.data.formats.record_index import index_file
from yolov1.grid import GridSpec

COUNT, BATCH, SIZE = 30, 4, (40, 60)
GRID = GridSpec(S=4, B=2, C=2, image_size=32)
DECODED = COUNT * SIZE[0] * SIZE[1] * 3
CACHE = DECODED // 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    examples = []
    for k in range(COUNT):
        path = folder / "images" / f"{k}.{('jpg', 'png')[k % 3 == 2]}"
        write_image(path, SIZE, seed=k)
        box = [0.3 + k / 100, 0.5, 0.4, 0.3]
        kind = path.suffix == ".jpg"
        examples.append(data.Example(f"{k}", [box], [k % 2], [False], SIZE, path=path, jpeg=kind))
    data.write_records(data.Dataset(examples, ["cat", "dog"]), folder / "train.tfrecord", shards=4)
    return folder


def stream(dataset, **options):
    options = {"seed": 3, "steps": 20, "cache": CACHE} | options
    batches = data.training_batches(dataset, GRID, options.pop("batch_size", BATCH), **options)
    return in_numpy(batches)


@pytest.fixture(scope="module", params=(False, True), ids=("any order", "blocks"), autouse=True)
def in_blocks(request):
    """Whether the order is that of data which no cache of the default size would hold."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(pipeline, "CACHE_BYTES", 0)
            patch.setattr(data.Dataset, "block", 3)
        yield request.param


@pytest.fixture(scope="module")
def whole(shards, in_blocks):
    return stream(data.open(f"records:{shards}", "train"))


@pytest.mark.each_value
@pytest.mark.parametrize("start", [1, 7, 8, 19])
def test_it_goes_on_where_it_stopped(shards, whole, start):
    """Step 7 has images of two epochs. Opened anew, and by the index alone."""
    dataset = data.open(f"records:{shards}", "train", verify=False)
    assert_same(stream(dataset, start_step=start, steps=20 - start), whole[start:])


@pytest.mark.slow
def test_it_does_not_depend_on_index_threads_or_workers(shards, whole):
    indexes = [index_file(file) for file in sorted(shards.glob("train*"))]
    contents = [index.read_bytes() for index in indexes]
    assert len(contents) == 4
    for index in indexes:
        index.unlink()
    dataset = data.open(f"records:{shards}", "train")
    for index, content in zip(indexes, contents, strict=True):
        index.write_bytes(content)
    assert_same(stream(dataset, num_parallel_calls=1), whole)
    parts = [stream(dataset, shard=(k, 2)) for k in range(2)]
    assert_same(joined(parts), whole)


def test_an_epoch_has_every_image_once(whole):
    indices = np.concatenate([batch[2] for batch in whole])[: 2 * COUNT].reshape(2, COUNT)
    for epoch in indices:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(COUNT))
    assert (indices[0] != indices[1]).any()


def test_the_order_is_that_of_the_size_of_the_data(shards, whole, in_blocks):
    positions = np.arange(20 * BATCH)
    order = pipeline.shuffled(positions, COUNT, 3).numpy()
    same = (np.concatenate([batch[2] for batch in whole]) == order).all()
    assert same != in_blocks


@pytest.mark.first_case
def test_images_go_with_their_boxes(shards, whole):
    """The pictures of the records are those of the files that they were made of."""
    dataset = data.open(f"records:{shards}", "train")
    plain = stream(dataset, augmentation="none", steps=8)
    shown = {int(k): (i, t) for batch in plain for i, t, k in zip(*batch, strict=True)}
    assert sorted(shown) == list(range(COUNT))
    files = [
        data.Example(
            *(e.image_id, e.boxes_cxcywh, e.labels, e.difficult, e.size),
            path=next((shards / "images").glob(f"{e.image_id}.*")),
            jpeg=e.jpeg,
        )
        for e in dataset
    ]
    for images, indices in data.evaluation_batches(data.Dataset(files, dataset.classes), GRID, 8):
        for image, k in zip(images.numpy(), indices.numpy(), strict=True):
            assert np.abs(image - shown[k][0]).max() < 0.02
            box, label = files[k].boxes_cxcywh, files[k].labels
            np.testing.assert_allclose(
                shown[k][1], data.encode_targets(box, label, GRID)[0], atol=1e-5
            )


@pytest.mark.first_case
def test_every_image_is_read_when_it_is_its_turn(shards, monkeypatch):
    dataset = data.open(f"records:{shards}", "train", verify=False)
    size = sum(example.place.length for example in dataset)
    read, original = [], os.pread

    def pread(descriptor, length, start):
        read.append(length)
        return original(descriptor, length, start)

    monkeypatch.setattr(os, "pread", pread)
    batches = iter(data.training_batches(dataset, GRID, BATCH, seed=3, steps=15, cache=CACHE))
    next(batches)
    begun = len(read)
    assert BATCH <= begun <= COUNT  # not the whole set before the first batch
    assert len(list(batches)) == 14
    # Two epochs: each image twice, none kept.
    assert len(read) == 2 * COUNT and sum(read) == 2 * size
    read.clear()
    held = data.training_batches(dataset, GRID, BATCH, seed=3, steps=15, cache=DECODED)
    assert len(list(held)) == 15 and len(read) == COUNT


@pytest.mark.first_case
def test_a_shard_that_changes_in_the_middle_is_named(shards, tmp_path):
    file = tmp_path / "train.tfrecord"
    file.write_bytes(sorted(shards.glob("train*"))[0].read_bytes())
    (tmp_path / "label_map.pbtxt").write_bytes((shards / "label_map.pbtxt").read_bytes())
    dataset = data.open(f"records:{file}")
    batches = data.training_batches(dataset, GRID, 2, seed=3, cache=False)
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(data.BadExampleError, match=r"train\.tfrecord was changed after it was op"):
        with data.reading(dataset):
            list(batches.take(3))
