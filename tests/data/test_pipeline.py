import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.data.batches import assert_same, in_numpy, joined
from tests.data.folders import write_image, write_voc
from tests.ops.image_cases import expected, expected_darknet
from yolov1 import data, ops
from yolov1.data import order, pipeline
from yolov1.data.augmentation import GREY, PRESETS, Augmentation, change_colours, draw
from yolov1.data.cache import CACHES, open_images
from yolov1.data.images import shrink_ratio
from yolov1.data.places import Place
from yolov1.grid import GridSpec

GRID = GridSpec(S=4, B=2, C=2, image_size=32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    annotations = {}
    for k in range(7):
        low = rng.integers(0, 25, (3, 2))
        high = low + rng.integers(5, 15, (3, 2))
        annotations[f"{k}"] = [
            (("cat", "dog")[i % 2], (*low[i], *high[i]), i == 2) for i in range(1 + k % 3)
        ]
    return data.open(f"voc:{write_voc(tmp_path_factory.mktemp('voc'), annotations)}")


def batches(dataset, **options):
    options = {"seed": 3, "steps": 4, **options}
    result = data.training_batches(dataset, GRID, options.pop("batch_size", 4), **options)
    return in_numpy(result)


def test_shapes_and_ranges(dataset):
    for images, targets, indices in batches(dataset):
        assert images.shape == (4, 32, 32, 3) and images.dtype == np.float32
        assert targets.shape == (4, 4, 4, 7) and targets.dtype == np.float32
        assert indices.shape == (4,) and indices.dtype == np.int64
        assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.05


def test_same_seed_same_bits_other_seed_other_bits(dataset):
    assert_same(batches(dataset), batches(dataset, num_parallel_calls=1))
    assert (batches(dataset)[0][0] != batches(dataset, seed=4)[0][0]).any()


@pytest.mark.first_case
@pytest.mark.parametrize("cache", CACHES)
def test_a_stream_that_starts_later_has_the_same_bits(dataset, cache):
    whole = batches(dataset, steps=6, augmentation="dihedral", cache=cache)
    assert_same(
        whole[4:], batches(dataset, start_step=4, steps=2, augmentation="dihedral", cache=cache)
    )


def test_shards_are_slices_of_the_whole_batch(dataset):
    parts = [batches(dataset, shard=(k, 2)) for k in range(2)]
    assert_same(batches(dataset), joined(parts))


def test_every_epoch_has_every_image_in_another_order(dataset):
    order = np.concatenate([b[2] for b in batches(dataset, steps=14, batch_size=2)]).reshape(4, 7)
    for epoch in order:
        assert sorted(epoch) == list(range(7))
    assert len({tuple(epoch) for epoch in order}) > 1


@pytest.mark.parametrize("length, block", [(200_000, 2), (100_000, 1)])
def test_large_files_are_read_in_blocks(length, block):
    """Where no cache of the default size would hold them, and whatever this one is."""
    place = Place(Path("x"), 0, length, (0, 0))
    examples = [data.Example(str(k), [], [], [], (4, 4), place=place) for k in range(9000)]
    positions = tf.range(100_000, 100_100, dtype=tf.int64)
    found = pipeline._order(data.Dataset(examples, ["a"]), 3)(positions)
    want = {
        1: order.shuffled(positions, 9000, 3),
        2: order.shuffled_in_blocks(positions, 9000, 2, 3),
    }
    assert data.Dataset(examples, ["a"]).block == 2 and (want[1] != want[2]).numpy().any()
    want = want[block]
    np.testing.assert_array_equal(found, want)


def test_no_end(dataset):
    stream = iter(data.training_batches(dataset, GRID, 2, seed=0, augmentation="none"))
    for _ in range(9):
        next(stream)


def test_without_augmentation_it_is_the_image_and_its_targets(dataset):
    evaluation = list(data.evaluation_batches(dataset, GRID, 3))
    assert [len(indices) for _, indices in evaluation] == [3, 3, 1]
    shown = np.concatenate([images.numpy() for images, _ in evaluation])
    for images, targets, indices in batches(dataset, augmentation="none"):
        for image, target, index in zip(images, targets, indices, strict=True):
            example = dataset[index]
            np.testing.assert_array_equal(image, shown[index])
            usual = ~example.difficult
            expected, _ = data.encode_targets(
                example.boxes_cxcywh[usual], example.labels[usual], GRID
            )
            # The window's arithmetic may round a box by one bit.
            np.testing.assert_allclose(target, expected, atol=1e-5)
            plain = tf.image.resize(example.image, [32, 32]).numpy() / 255
            assert np.abs(image - plain).max() < 0.03
    with_difficult = batches(dataset, augmentation="none", difficult=True)
    assert sum(b[1][..., 2].sum() for b in with_difficult) > sum(
        b[1][..., 2].sum() for b in batches(dataset, augmentation="none")
    )


@pytest.mark.slow
def test_darknet_takes_images_at_their_full_size(tmp_path):
    """Whatever is kept of them, the bits are the same; those of "paper" are decoded smaller.

    With the reference one cache of pixels is compared with the files: every graph of it takes
    seconds to trace and compile, and what else a cache does is the same for both."""
    rng = np.random.default_rng(5)
    for k, suffix in enumerate(("jpg", "png", "jpg")):
        pixels = np.asarray(
            Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((150, 90 + k))
        )
        Image.fromarray(pixels).save(tmp_path / f"{k}.{suffix}")
    examples = [
        data.Example(
            *(str(k), [[0.5, 0.5, 0.3, 0.4]], [0], [False], (90 + k, 150)),
            path=tmp_path / f"{k}.{suffix}",
            jpeg=suffix == "jpg",
        )
        for k, suffix in enumerate(("jpg", "png", "jpg"))
    ]
    dataset = data.Dataset(examples, ["a", "b"])
    for impl, caches in {"auto": CACHES, "reference": ("decoded",)}.items():
        options = {"augmentation": "darknet", "batch_size": 3, "impl": impl}
        whole = batches(dataset, cache="off", **options)
        for cache in caches:
            assert_same(batches(dataset, cache=cache, **options), whole)
    lines = []
    for augmentation in ("darknet", "paper"):
        batches(dataset, augmentation=augmentation, cache="decoded", say=lines.append)
    assert "3 images decoded at 1/1" in lines[0] and "3 images decoded at 1/2" in lines[1]


@pytest.mark.parametrize("resize", ["half_pixel", "darknet", "darknet_black_row"])
def test_evaluation_resizes_as_asked(resize):
    image = np.random.default_rng(0).integers(0, 256, (114, 50, 3), dtype=np.uint8)
    example = data.Example("0", [], [], [], (114, 50), draw=lambda: image)
    grid = GridSpec(S=4, C=1, image_size=448)
    dataset = data.Dataset([example], ["a"])
    (batch, _) = next(iter(data.evaluation_batches(dataset, grid, 1, resize=resize)))
    see = expected if resize == "half_pixel" else expected_darknet
    black = {"black_row": True} if resize == "darknet_black_row" else {}
    want = see(image, (0, 0, 1, 1), (False, False), False, 448, **black)
    np.testing.assert_allclose(batch[0], want, rtol=0, atol=1e-6)
    assert (want[-1].max() < 0.01) == bool(black)


@pytest.mark.slow
def test_cached_and_uncached_agree(dataset):
    """To the bit: what is decoded of a part has its neighbours."""
    whole = batches(dataset, cache="auto")
    for cache in (*CACHES, True, False, 0, 10_000):
        assert_same(batches(dataset, cache=cache), whole)


def test_batches_that_are_made_outside_of_tf_data(dataset):
    """As on a GPU; here on the processor."""
    images = open_images(dataset, GRID.image_size, "test", cache="decoded")
    drawn = ops.draw_augmentation(Augmentation(), 3, range(8))
    indices = np.arange(8) % len(dataset)
    plans = tf.data.Dataset.from_tensors((indices, drawn, indices))
    ((made, _, _),) = pipeline.OnDevice(images, plans)
    np.testing.assert_array_equal(made, images.batch(indices, *drawn))


@pytest.mark.first_case
@pytest.mark.parametrize("cache", CACHES)
def test_shapes_are_known_of_mixed_files(tmp_path, cache):
    root = write_voc(tmp_path, {k: [] for k in "ab"})
    write_image(root / "JPEGImages" / "b.png", seed=1)
    (root / "JPEGImages" / "b.png").rename(root / "JPEGImages" / "b.jpg")
    dataset = data.Dataset(list(data.open(f"voc:{root}")), ["cat", "dog"])
    assert sorted(e.jpeg for e in dataset) == [False, True]
    batch = next(iter(data.training_batches(dataset, GRID, 2, seed=0, cache=cache)))
    spec = batch
    if cache != "device":  # on a GPU that is no data set of TensorFlow
        spec = data.training_batches(dataset, GRID, 2, seed=0, cache=cache).element_spec
    for parts in (batch, spec):
        assert [tuple(part.shape) for part in parts] == [(2, 32, 32, 3), (2, 4, 4, 7), (2,)]


def test_threads_are_not_left_behind(dataset):
    drawn = data.Dataset(
        [data.Example("0", [], [], [], (9, 9), draw=lambda: np.zeros((9, 9, 3), np.uint8))],
        dataset.classes,
    )

    def threads():
        list(data.evaluation_batches(drawn, GRID, 1))
        return sum(thread.name.startswith("ThreadPool") for thread in threading.enumerate())

    before = threads()
    assert {threads() for _ in range(3)} == {before}


def test_an_image_of_another_size_than_before_is_named(tmp_path):
    root = write_voc(tmp_path, {"a": [], "b": []})
    dataset = data.open(f"voc:{root}")
    Image.new("RGB", (23, 25)).save(root / "JPEGImages" / "b.jpg")
    with pytest.raises(data.BadExampleError, match="image 'b' .*size .* is .25, 23"):
        data.training_batches(data.Dataset(list(dataset), ["cat", "dog"]), GRID, 2, seed=0)


def test_what_is_kept_is_said(dataset):
    decoded = sum(3 * np.prod(example.size) for example in dataset)
    encoded = sum(example.path.stat().st_size for example in dataset)
    assert encoded < decoded / 3

    def said(**options):
        lines = []
        data.training_batches(dataset, GRID, 4, seed=0, say=lines.append, **options)
        (line,) = lines
        return line

    def size(count):
        return f"{count / 1e3:.1f} kB"

    pixels = f"cache: 7 images decoded at 1/1, {size(decoded)} in memory"
    files = f"cache: the files of 7 images, {size(encoded)} in memory"
    off = f"cache: off, 7 images are read for each batch ({size(encoded)}; {size(decoded)} decoded)"
    assert said() == said(cache_bytes=decoded) == said(cache=int(decoded)) == pixels
    assert said(cache="decoded", cache_bytes=0) == pixels  # by name, whatever the size
    assert said(cache_bytes=decoded - 1) == said(cache="encoded", cache_bytes=0) == files
    assert said(cache_bytes=encoded - 1) == said(cache="off") == said(cache=False) == off
    if not tf.config.list_physical_devices("GPU"):
        assert said(cache="device") == pixels + ", as there is no GPU"


def test_drawn_images_have_no_file_to_keep():
    shapes, lines = data.open("shapes:count=3,classes=2"), []
    for options in ({"cache_bytes": 9}, {"cache": "encoded"}, {"cache": "off"}):
        images, _, _ = batches(shapes, steps=1, say=lines.append, **options)[0]
        assert images.std() > 0.05
    off = "cache: off, 3 images are read for each batch (0.0 kB; 9.2 kB decoded)"  # 32 x 32 pixels
    assert lines == [off, "cache: the files of 0 of 3 images, 0.0 kB in memory", off]


@pytest.mark.each_value
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("impl", ("auto", "reference"))
def test_equals_the_pipeline_of_one_image_at_a_time(dataset, preset, impl):
    """As batches were made before there were image ops: a position's image and draws each by a
    stateless op of their own, pixels rounded to 8 bits before their colours change."""
    seen = 0
    stream = batches(dataset, augmentation=preset, impl=impl, cache="decoded", start_step=2)
    for step, (images, targets, indices) in enumerate(stream, start=2):
        for k in range(4):
            epoch, place = divmod(4 * step + k, 7)
            index = tf.random.experimental.index_shuffle(place, [3, epoch], 6).numpy()
            assert indices[k] == index
            one = draw(PRESETS[preset], 3, [4 * step + k])
            window, flips, transpose = (value.numpy()[0] for value in one[:3])
            see = expected_darknet if PRESETS[preset].sampling == "darknet" else expected
            image = see(dataset[index].image, window, flips, transpose)
            turns = PRESETS[preset].hue > 0
            if not turns:  # which would make more of the rounding
                image = np.floor(image * 255 + 0.5) / 255
            if PRESETS[preset].changes_colours:
                image = change_colours(image[None].astype(np.float32), one.colour, hue=turns)[0]
            assert np.abs(images[k] - image).max() < 2 / 255
            assert targets[k].any() or preset != "none"
            seen += targets[k, ..., 2].sum()
    assert seen > 10


def test_pixels_move_with_their_boxes():
    """A white rectangle on black: what is white in the batch is what the target says."""
    shapes = []
    for k in range(6):
        image = np.zeros((90, 120, 3), np.uint8)
        x, y = 30 + 5 * k, 40 - 3 * k
        image[y : y + 20, x : x + 40] = 255
        box = [(x + 20) / 120, (y + 10) / 90, 40 / 120, 20 / 90]
        shapes.append(
            data.Example(str(k), [box], [0], [False], (90, 120), draw=lambda image=image: image)
        )
    grid = GridSpec(S=3, B=1, C=1, image_size=96)
    augmentation = Augmentation(vertical_flip=0.5, transpose=0.5, exposure=1, saturation=1)
    stream = data.training_batches(
        data.Dataset(shapes, ["box"]), grid, 8, seed=1, steps=6, augmentation=augmentation
    )
    transposed = 0
    for images, targets, _ in stream:
        for image, target in zip(images.numpy(), targets.numpy(), strict=True):
            (row,), (column,) = np.nonzero(target[..., 1])
            x, y, w, h = target[row, column, 2:]
            centre = np.array([x + column, y + row]) / 3
            corners = np.concatenate([centre - [w / 2, h / 2], centre + [w / 2, h / 2]]) * 96
            rows, columns = np.nonzero(image[..., 0] > 0.75)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(corners, seen, atol=1.1)
            transposed += h > w
    assert 10 < transposed < 38


def test_outside_of_the_image_is_grey():
    white = data.Example(
        "0", [], [], [], (50, 50), draw=lambda: np.full((50, 50, 3), 255, np.uint8)
    )
    stream = data.training_batches(
        data.Dataset([white], ["a"]),
        GridSpec(S=2, C=1, image_size=50),
        8,
        seed=0,
        steps=2,
        augmentation=Augmentation(exposure=1, saturation=1),
    )
    values = np.concatenate([images.numpy().ravel() for images, _, _ in stream])
    edge = np.abs(values - GREY / 255) < 1e-6
    assert 0.02 < edge.mean() < 0.5 and (values[~edge] > GREY / 255).all()


def test_files_that_are_no_jpeg(tmp_path):
    annotations = {k: [("cat", (5, 5, 30, 30), False)] for k in "abc"}
    root = write_voc(tmp_path, annotations)
    png = root / "JPEGImages" / "b.png"
    write_image(png, seed=1)
    png.rename(root / "JPEGImages" / "b.jpg")  # a PNG that calls itself a JPEG
    Image.open(root / "JPEGImages" / "c.jpg").convert("CMYK").save(root / "JPEGImages" / "c.jpg")
    dataset = data.open(f"voc:{root}")
    assert [e.jpeg for e in dataset] == [True, False, False]
    for cache in CACHES:
        stream = data.training_batches(
            dataset, GRID, 3, seed=0, steps=1, augmentation="none", cache=cache
        )
        images, _, indices = next(iter(stream))
        assert sorted(indices.numpy()) == [0, 1, 2]
        for image, index in zip(images.numpy(), indices.numpy(), strict=True):
            plain = tf.image.resize(dataset[int(index)].image, [32, 32]).numpy() / 255
            assert np.abs(image - plain).max() < 0.03


def test_a_damaged_file_that_nobody_looked_for_is_named(tmp_path):
    root = write_voc(tmp_path, {"a": [], "b": []})
    file = root / "JPEGImages" / "b.jpg"
    file.write_bytes(file.read_bytes()[:-300])
    dataset = data.open(f"voc:{root}", verify=False)
    named = r"^image 'b' cannot be read: .*b\.jpg is damaged.*verify=True"
    for cache in CACHES:
        with pytest.raises(data.BadExampleError, match=named), data.reading(dataset):
            stream = data.training_batches(dataset, GRID, 2, seed=0, cache=cache)
            assert cache in ("encoded", "off")  # the others decode at once
            next(iter(stream))
    with pytest.raises(data.BadExampleError, match=named):  # with nobody to find out
        data.training_batches(dataset, GRID, 2, seed=0)


def test_large_images_are_averaged_down(tmp_path):
    assert [shrink_ratio(s, 224) for s in ((480, 640), (300, 400), (224, 9000), (1792, 2000))] == [
        2, 1, 1, 8,
    ]  # fmt: skip
    # Stripes of one pixel: a plain bilinear resize to a quarter would alias.
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    for name in ("a.jpg", "b.png"):
        path = tmp_path / name
        Image.fromarray(stripes).save(path, quality=95)
        example = data.Example(name, [], [], [], (128, 128), path=path, jpeg=path.suffix == ".jpg")
        images, _ = next(
            iter(data.evaluation_batches(data.Dataset([example], ["a", "b"]), GRID, 1))
        )
        assert np.abs(images.numpy() - 0.5).max() < 0.02


def test_errors(dataset):
    with pytest.raises(ValueError, match="evaluation_batches: resize must be one of .*'nearest'"):
        data.evaluation_batches(dataset, GRID, 4, resize="nearest")
    with pytest.raises(ValueError, match=r"W must divide a batch_size .* got shard \(0, 3\)"):
        data.training_batches(dataset, GRID, 4, seed=0, shard=(0, 3))
    with pytest.raises(ValueError, match=r"number of classes .* \(2: cat, dog\), got C=20"):
        data.training_batches(dataset, GridSpec(), 4, seed=0)
    with pytest.raises(ValueError, match="cache must be one of auto, .*, off, got 'disk'"):
        data.training_batches(dataset, GRID, 4, seed=0, cache="disk")
    with pytest.raises(ValueError, match="the data set is empty"):
        data.evaluation_batches(dataset[:0], GRID, 4)
