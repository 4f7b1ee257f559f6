import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from yolov1 import darknet, data, inference, models
from yolov1.grid import GridSpec
from yolov1.inference.detect import prepare
from yolov1.kernels.load_images import SAMPLINGS
from yolov1.ops import _library

GRID = GridSpec(S=4, B=2, C=3, image_size=64)


def painter(grid=GRID):
    """A network with known answers: the first box of a cell is as confident as the cell is red.

    Each cell's box 0 covers the cell; the class is 2.
    """
    pixels = keras.Input((grid.image_size, grid.image_size, 3))
    side = grid.image_size // grid.S
    red = keras.layers.AveragePooling2D(side)(pixels)[..., :1]
    zero, one = red * 0, red * 0 + 1
    root = one * np.sqrt(1 / grid.S)
    outputs = [zero, zero, one, red, zero, one / 2, one / 2, root, root] + [zero] * 4
    return keras.Model(pixels, keras.ops.concatenate(outputs, axis=-1))


def picture(cells, side=64, dtype=np.uint8):
    """Black, with the (row, col) cells red."""
    image = np.zeros((side, side, 3), dtype)
    step = side // 4
    for row, col in cells:
        image[row * step : (row + 1) * step, col * step : (col + 1) * step, 0] = (
            255 if dtype == np.uint8 else 1
        )
    return image


@pytest.fixture(scope="module")
def detector():
    return inference.Detector(painter(), grid=GRID, score_threshold=0.5)


def test_finds_what_is_there(detector):
    found = detector.detect([picture([(1, 2)]), picture([]), picture([(0, 0), (3, 3)])])
    assert [len(f) for f in found] == [1, 0, 2]
    np.testing.assert_allclose(found[0].boxes_xyxy, [[0.5, 0.25, 0.75, 0.5]], atol=1e-6)
    assert found[0].labels.tolist() == [2]
    assert found[0].scores.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize(("squared", "wh"), [(1, "predict_sqrt"), (0, "plain")])
def test_sizes_are_what_the_cfg_of_a_network_says(squared, wh, tmp_path):
    head = "[connected]\noutput=44\nactivation=linear\n[detection]\nclasses=1\ncoords=4\nside=2\n"
    text = f"[net]\nheight=4\nwidth=4\nchannels=3\n{head}num=2\nsqrt={squared}\n"
    network = darknet.build(darknet.parse_cfg(text))
    assert models.semantics_of(network).wh == wh
    network.save(tmp_path / "network.keras")
    images = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    options = {"score_threshold": -9.0, "clip": False}
    expected = inference.Detector(network, wh=wh, **options)(images)
    for model in (network, keras.models.load_model(tmp_path / "network.keras")):
        found = inference.Detector(model, **options)(images)
        np.testing.assert_array_equal(found["boxes_xyxy"], expected["boxes_xyxy"])
    other = inference.Detector(network, wh={1: "plain", 0: "predict_sqrt"}[squared], **options)
    assert not np.array_equal(other(images)["boxes_xyxy"], expected["boxes_xyxy"])
    assert models.semantics_of(painter()) is None


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batches_do_not_matter(detector, batch_size):
    images = np.stack([picture([(k, 0)]) for k in (0, 1, 2, 3, 0)])
    found = inference.detect(detector, images, batch_size=batch_size)
    assert [f.boxes_xyxy[0, 1] for f in found] == pytest.approx([0, 0.25, 0.5, 0.75, 0], abs=1e-6)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_image_is_refused(detector, batch_size):
    for one in (detector, inference.flipped(detector)):
        with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
            inference.detect(one, [picture([(1, 2)])], batch_size=batch_size)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("side", [32, 64, 96, 256])
def test_sizes_and_dtypes(detector, side, dtype):
    found = inference.detect(detector, [picture([(2, 1)], side, dtype)])[0]
    np.testing.assert_allclose(found.boxes_xyxy, [[0.25, 0.5, 0.5, 0.75]], atol=1e-6)
    assert found.scores[0] > 0.8


def test_datasets_of_batches_and_examples_give_the_same(detector):
    dataset = data.open("shapes:count=7", split="val", image_size=64, seed=3)
    sharp = inference.Detector(painter(), grid=GRID, score_threshold=0.3)
    by_example = inference.detect(sharp, dataset, batch_size=4)
    batches = data.evaluation_batches(dataset, GRID, 3)
    assert len(by_example) == 7 and sum(map(len, by_example)) > 0
    for other in (batches, batches.map(lambda images, indices: images)):
        for a, b in zip(by_example, inference.detect(sharp, other), strict=True):
            np.testing.assert_allclose(a.boxes_xyxy, b.boxes_xyxy, atol=1e-6)
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_predictions_can_be_watched(detector):
    images = np.stack([picture([(k, 0)], dtype=np.float32) for k in range(3)])
    order = np.array([2, 0, 1])
    batches = tf.data.Dataset.from_tensor_slices((images[order], order)).batch(2)
    for given, expected in ((images, [0, 1, 2]), (batches, [2, 0, 1])):
        seen, watched = [], []
        detector.detect(given, 2, watch=lambda p, i: (watched.extend(p), seen.extend(i)))  # noqa: B023
        assert seen == expected
        want = detector.model.predict(images, verbose=0)[expected]
        np.testing.assert_allclose(watched, want, atol=1e-6)


def test_indices_decide_the_order(detector):
    images = np.stack([picture([(k, 0)], dtype=np.float32) for k in range(4)])
    order = np.array([2, 0, 3, 1])
    batches = tf.data.Dataset.from_tensor_slices((images[order], order)).batch(3)
    found = inference.detect(detector, batches)
    assert [f.boxes_xyxy[0, 1] for f in found] == pytest.approx([0, 0.25, 0.5, 0.75], abs=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_batches_of_a_dataset_may_be_of_other_dtypes(detector, dtype):
    images = np.stack([picture([(k, 0)], dtype=dtype) for k in range(3)])
    assert images.dtype == dtype
    found = detector.detect(tf.data.Dataset.from_tensor_slices(images).batch(2))
    for a, b in zip(found, detector.detect(images), strict=True):
        np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
        np.testing.assert_array_equal(a.scores, b.scores)


def test_images_are_prepared_as_the_pipeline_does():
    dataset = data.open("shapes:count=2", split="val", image_size=96, seed=1)
    for side in (32, 64, 96, 128):
        grid = GridSpec(S=4, B=1, C=3, image_size=side)
        batch, _ = next(iter(data.evaluation_batches(dataset, grid, 2)))
        mine = np.stack([prepare(example, grid) for example in dataset])
        assert np.abs(mine - batch.numpy()).mean() < 0.01, side


@pytest.mark.parametrize("resize", ["darknet", "darknet_black_row"])
def test_images_are_prepared_as_darknet_resizes_them(resize):
    """A height of 114 to the bit of the evaluation's; floating point in the same way."""
    images = np.random.default_rng(0).integers(0, 256, (2, 114, 60, 3), dtype=np.uint8)
    examples = [
        data.Example(str(k), [], [], [], (114, 60), draw=lambda k=k: images[k]) for k in range(2)
    ]
    grid = GridSpec(S=4, B=1, C=1, image_size=448)
    dataset = data.Dataset(examples, ["a"])
    batch, _ = next(iter(data.evaluation_batches(dataset, grid, 2, resize=resize)))
    for given in (images, images / np.float32(255), dataset):
        mine = np.stack([prepare(image, grid, resize) for image in given])
        np.testing.assert_allclose(mine, batch, rtol=0, atol=1e-6)
    assert (mine[:, -1].max() < 0.01) == (resize == "darknet_black_row")


@pytest.mark.parametrize("resize", SAMPLINGS)
def test_what_is_prepared_stays_as_it_is(resize):
    """A server prepares pictures in other threads than the detector's, which does so again."""
    grid = GridSpec(S=2, B=1, C=1, image_size=32)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    once = np.asarray(prepare(image, grid, resize))
    assert np.array_equal(prepare(once, grid, resize), once)


def test_a_detector_resizes_as_it_was_told():
    seen = []

    class Watching(tf.keras.Model):
        def call(self, images):
            tf.py_function(lambda x: seen.append(x.numpy()), [images], [])
            return tf.zeros([tf.shape(images)[0], 2, 2, 6])

    grid = GridSpec(S=2, B=1, C=1, image_size=16)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    for resize in ("half_pixel", "darknet", "darknet_black_row"):
        inference.detect(Watching(), [image], grid=grid, resize=resize)
        np.testing.assert_array_equal(seen.pop()[0], prepare(image, grid, resize))
    with pytest.raises(ValueError, match="Detector: resize must be one of half_pixel, .*'cubic'"):
        inference.Detector(Watching(), grid=grid, resize="cubic")
    with pytest.raises(ValueError, match="detect: resize must be one of half_pixel, .*'cubic'"):
        prepare(image, grid, "cubic")


def test_classes_that_nobody_named_are_numbered(detector):
    assert detector.classes is None
    assert inference.class_names(detector) == ("class 0", "class 1", "class 2")
    named = detector.with_other(classes=list("abc"))
    assert inference.class_names(inference.flipped(named)) == ("a", "b", "c")


def test_a_network_of_ours_needs_no_grid():
    grid = GridSpec(S=2, B=1, C=2, image_size=32)
    model = models.build("laptop", grid=grid)
    found = inference.detect(model, np.zeros((3, 20, 30, 3), np.uint8), max_detections=4)
    assert len(found) == 3 and all(len(f) <= 4 for f in found)


def test_new_weights_are_seen_without_tracing_again():
    pixels = keras.Input((8, 8, 3))
    layer = keras.layers.Dense(6, kernel_initializer="zeros")
    model = keras.Model(pixels, layer(keras.layers.AveragePooling2D(8)(pixels)))
    grid = GridSpec(S=1, B=1, C=1, image_size=8)
    tiny = inference.Detector(model, grid=grid)
    image = np.zeros((1, 8, 8, 3), np.uint8)
    assert len(tiny.detect(image)[0]) == 0
    layer.bias.assign([1, 1, 0.5, 0.5, 0.5, 0.5])
    assert len(tiny.detect(image)[0]) == 1


def test_a_broken_network_is_reported_by_image():
    model = keras.Sequential(
        [keras.Input((64, 64, 3)), painter(), keras.layers.Lambda(tf.math.log)]
    )
    with pytest.raises(ValueError, match=r"NaN or infinite for image\(s\) \[0, 1\]"):
        inference.detect(model, np.zeros((2, 64, 64, 3), np.uint8), grid=GRID)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((4, 4), np.uint8), r"must be \[H, W, 3\], got \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"got \[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"got \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.int64), r"must be uint8, or floating point .*got int64.*astype"),
        (
            np.full((4, 4, 3), 255.0),
            r"must be in \[0, 1\], got up to 255; divide by 255 or give uint8",
        ),
        (np.full((4, 4, 3), -1, np.float32), r"must be in \[0, 1\], got down to -1;"),
        (np.full((4, 4, 3), np.nan), r"must be in \[0, 1\], got NaN"),
    ],
)
def test_what_is_no_image_is_refused(detector, image, message):
    with pytest.raises(ValueError, match=message):
        inference.detect(detector, [image])


def test_a_batch_of_0_to_255_is_refused_and_a_rounding_beyond_1_is_not(detector):
    images = np.full((1, 64, 64, 3), 1.0 + 1e-6, np.float32)
    assert len(inference.detect(detector, images)) == 1
    for values in (images, tf.data.Dataset.from_tensors(images)):
        inference.detect(detector, values)
    with pytest.raises(ValueError, match="got up to 255"):
        inference.detect(detector, tf.data.Dataset.from_tensors(255 * images))


def test_a_detector_takes_no_options_twice(detector):
    with pytest.raises(ValueError, match="has its options already, got iou_threshold"):
        inference.detect(detector, [picture([])], iou_threshold=0.3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A detector, images, what it found in them, and its SavedModel."""
    model = models.build("laptop", grid=GRID)
    ours = inference.Detector(model, score_threshold=0.0005, max_detections=20)
    images = np.random.default_rng(0).random((2, 64, 64, 3)).astype(np.float32)
    want = ours(tf.constant(images))  # traced with the fused op before it is exported
    path = inference.export(ours, tmp_path_factory.mktemp("exported") / "saved")
    return ours, images, want, path


@pytest.mark.slow
def test_an_exported_detector_runs_without_this_package(exported, tmp_path):
    _, images, want, path = exported
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, json, numpy as np, tensorflow as tf\n"
        f"f = tf.saved_model.load({str(path)!r}).signatures['serving_default']\n"
        f"r = f(images=tf.constant(np.load({str(tmp_path / 'images.npy')!r})))\n"
        "assert not any(name.startswith('yolov1') for name in sys.modules)\n"
        "print(json.dumps({k: v.numpy().tolist() for k, v in r.items()}))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout.splitlines()[-1])
    assert sorted(result) == ["boxes_xyxy", "count", "finite", "labels", "scores"]
    assert result["finite"] == [True, True]
    for name in ("boxes_xyxy", "scores", "labels", "count"):
        np.testing.assert_allclose(result[name], want[name], atol=1e-5)


def op_types(graph):
    yield from (node.op for node in graph.node)
    for function in graph.library.function:
        yield from (node.op for node in function.node_def)


def test_a_detector_runs_the_fused_op_and_exports_none(exported):
    ours, *_, path = exported
    graph = ours.run.get_concrete_function().graph.as_graph_def()
    assert "Yolov1>NonMaxSuppression" in set(op_types(graph))
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    types = {op for meta in saved.meta_graphs for op in op_types(meta.graph_def)}
    assert "CombinedNonMaxSuppression" in types
    assert not [op for op in types if op.startswith("Yolov1")]


@pytest.mark.parametrize("on_request, place", (((), ""), (("GPU",), "/device:CPU:0")))
def test_beside_a_gpu_a_detector_leaves_its_boxes_there(on_request, place, monkeypatch):
    """Until the kernel for a GPU counts as tested they go to the CPU's; exports have neither."""
    monkeypatch.setattr(sys.modules["yolov1.ops.nms"], "device", lambda tensor: "GPU")
    there = dict.fromkeys(("CPU", "GPU"), ("float32",))
    monkeypatch.setattr(_library, "_kernels", lambda op: there)
    monkeypatch.setattr(_library, "ON_REQUEST", {"non_max_suppression": on_request})
    ours = inference.Detector(models.build("laptop", grid=GRID))
    plain = ours.with_other(impl="reference")
    for detector, op in (
        (ours, ("Yolov1>NonMaxSuppression", place)),
        (plain, ("CombinedNonMaxSuppression", "")),
        (plain.with_other(iou_threshold=0.4), ("CombinedNonMaxSuppression", "")),
    ):
        graph = detector.look.get_concrete_function().graph  # `run` calls it
        found = [(x.type, x.device) for x in graph.get_operations() if "MaxSuppr" in x.type]
        assert found == [op]


def test_both_implementations_detect_the_same():
    images = np.random.default_rng(1).random((3, 64, 64, 3)).astype(np.float32)
    model = models.build("laptop", grid=GRID)
    for options in ({}, {"score_threshold": 0.01, "iou_threshold": 0.2, "max_detections": 4}):
        found = [
            inference.detect(model, images, impl=impl, **options) for impl in ("fused", "reference")
        ]
        for fused, reference in zip(*found, strict=True):
            np.testing.assert_array_equal(fused.boxes_xyxy, reference.boxes_xyxy)
            np.testing.assert_array_equal(fused.labels, reference.labels)
