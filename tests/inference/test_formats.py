"""Files of detectors: what was written is found again."""

import contextlib
import dataclasses
import json
import re

import keras
import numpy as np
import pytest

from tests.inference.files import (
    ALL,
    CLASSES,
    EVERY,
    GRID,
    OPTIONS,
    assert_same,
    build,
    calibration,
    expected,
    images,
    make,
    make_small,
    need,
    network,
)
from yolov1 import data, inference
from yolov1.heads import conv_head
from yolov1.inference import formats
from yolov1.inference.formats import frozen


@pytest.mark.each_value
@pytest.mark.parametrize("format, precision, nms", EVERY)
def test_a_file_finds_what_the_network_finds(format, precision, nms, session):
    detector = inference.FileDetector(session(format, precision, nms))
    assert isinstance(detector, inference.Detector)
    want, highest = expected(), abs(expected()["predictions"]).max()
    for start, stop in ((0, 1), (0, 5), (3, 5)):  # any number at once
        found = {k: np.asarray(v) for k, v in detector.look(images()[start:stop]).items()}
        assert {k: (v.dtype, v.shape) for k, v in found.items()} == {
            k: (v.dtype, v[start:stop].shape) for k, v in want.items()
        }
        difference = abs(found["predictions"] - want["predictions"][start:stop]).max() / highest
        lowest, most = {"float32": (0, 1e-5), "float16": (1e-6, 2e-3), "int8": (1e-4, 0.06)}[
            precision
        ]
        assert lowest <= difference <= most
        if precision == "float32":
            np.testing.assert_array_equal(found["count"], want["count"][start:stop])
    if precision == "float32":
        assert_same(detector.detect(images()), make().detect(images()), 1e-5)


@pytest.mark.first_case
@pytest.mark.parametrize("format, precision, nms", [x for x in EVERY if x[2] == "outside"])
def test_boxes_are_decoded_in_float32(format, precision, nms, session):
    """Whatever the network's arithmetic: boxes are those of the predictions."""
    found = session(format, precision, nms).run(images())
    boxes_xyxy, scores = inference.decode(found["predictions"], GRID)
    np.testing.assert_allclose(found["boxes_xyxy"], boxes_xyxy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["scores"], scores, rtol=0, atol=1e-6)


@pytest.mark.each_value
@pytest.mark.parametrize("format, precision, nms", EVERY)
def test_lower_precision_is_smaller(format, precision, nms, written):
    def size(path):
        return sum(f.stat().st_size for f in (path, *path.rglob("*")) if f.is_file())

    ratio = size(written(format, precision, nms)) / size(written(format, "float32", nms))
    assert ratio < {"float32": 1.01, "float16": 0.6, "int8": 0.4}[precision]


@pytest.mark.each_value
@pytest.mark.parametrize(
    "format, precision",
    [
        *((f, "float32") for f, m in inference.FORMATS.items() if "uint8" in m.INPUTS),
        *(("tflite", "int8"), ("onnx", "int8")),
    ],
)
def test_images_of_uint8(format, precision, session):
    found, want = (
        session(format, precision, "outside", *dtype).run(images())["predictions"]
        for dtype in (("uint8",), ())
    )
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 if precision == "float32" else 0.03)


@pytest.mark.parametrize("format", ALL)
def test_a_file_says_what_it_is(format, written):
    path = written(format)
    assert formats.format_of(path.with_suffix(path.suffix.upper())) == format or path.is_dir()
    detector = inference.load(path)
    assert detector.grid == GRID and detector.wh == "predict_sqrt"
    assert detector.classes == CLASSES and detector.resize == "half_pixel"
    assert detector.options == OPTIONS | {"clip": True, "suppression": "hard", "sigma": 0.5}
    metadata = formats.open_file(path).metadata
    assert (metadata.revision, metadata.source) == ("abc-dirty", "ein Lauf")
    assert metadata.nms == inference.FORMATS[format].NMS[0]
    assert inference.Metadata.from_json(metadata.to_json(), "x") == metadata
    lowest = dataclasses.replace(metadata, score_threshold=float("-inf"))
    assert json.loads(lowest.to_json())["score_threshold"] < -1e38  # JSON has no infinity


@pytest.mark.parametrize("format", ALL)
def test_without_suppression_inside_any_thresholds_go(format, session):
    options = {"score_threshold": 1e-4, "iou_threshold": 0.7, "max_detections": 50, "clip": False}
    options |= {"suppression": "gaussian", "sigma": 0.3}
    detector = inference.FileDetector(session(format, "float32", "outside"), **options)
    assert detector.options == options
    assert_same(detector.detect(images()), make(**options).detect(images()), 1e-5)
    again = detector.with_other(score_threshold=0.002)
    want = make(**options | {"score_threshold": 0.002}).detect(images())
    assert_same(again.detect(images()), want, 1e-5)


@pytest.mark.parametrize("format", [f for f, m in inference.FORMATS.items() if "inside" in m.NMS])
def test_with_suppression_inside_a_detector_can_find_less(format, session):
    file = session(format, "float32", "inside")
    scores = inference.FileDetector(file).look(images())["scores"][0]
    between = float(scores[5] + scores[6]) / 2
    for some in ({"max_detections": 3}, {"score_threshold": between, "max_detections": 4}):
        detector = inference.FileDetector(file, **some)
        assert_same(detector.detect(images()[:1]), make(**some).detect(images()[:1]), 1e-5)
        found = detector.look(images())
        beyond = np.arange(detector.options["max_detections"]) >= found["count"][:, None]
        for name in ("scores", "boxes_xyxy", "labels"):
            assert not found[name][beyond].any()
    exactly = inference.FileDetector(file, score_threshold=float(scores[2]))
    assert exactly.look(images())["count"][0] == (scores > scores[2]).sum()  # "greater", as ours
    for name, value, message in (
        ("score_threshold", 0.0001, "must be at least 0.0005, got 0.0001"),
        ("iou_threshold", 0.5, "must be 0.4, got 0.5"),
        ("max_detections", 21, "must be at most 20, got 21"),
        ("max_detections", None, "must be at most 20, got None"),
        ("clip", False, "must be True, got False"),
        ("suppression", "linear", "must be hard, got linear"),
        ("sigma", 0.25, "must be 0.5, got 0.25"),
    ):
        with pytest.raises(ValueError, match=f"{name} {message}: suppression is inside this file"):
            inference.FileDetector(file, **{name: value})


@pytest.mark.first_case
@pytest.mark.parametrize("suppression", ["linear", "gaussian"])
def test_soft_suppression_is_inside_where_a_format_can(suppression, tmp_path):
    detector = make(suppression=suppression, sigma=0.3, score_threshold=0.01, max_detections=90)
    wanted = detector.detect(images())
    hard = detector.with_other(suppression="hard").detect(images())
    assert sum(map(len, wanted)) > sum(map(len, hard))
    path = inference.export(detector, tmp_path / "it_saved_model")
    loaded = inference.load(path)
    assert loaded.metadata.nms == "inside" and loaded.options == detector.options
    assert_same(loaded.detect(images()), wanted, 1e-5)
    among = min(float(found.scores[4]) for found in wanted)
    fewer = inference.load(path, score_threshold=among, max_detections=9)
    wanted = make(**fewer.options).detect(images())
    assert_same(fewer.detect(images()), wanted, 1e-5)


def test_soft_suppression_is_outside_of_the_others(tmp_path):
    need("onnx")
    detector = make(suppression="linear")
    refused = "suppression inside onnx must be hard, got linear. Take nms='outside'"
    with pytest.raises(ValueError, match=re.escape(refused)):
        inference.export(detector, tmp_path / "it.onnx", format="onnx", nms="inside")
    path = inference.export(detector, tmp_path / "it.onnx", format="onnx")
    loaded = inference.load(path)
    assert loaded.metadata.nms == "outside" and loaded.options == detector.options
    assert_same(loaded.detect(images()), detector.detect(images()), 1e-5)


def test_a_file_from_before_there_was_another_suppression_is_hard(written):
    metadata = formats.open_file(written("keras")).metadata
    text = json.loads(metadata.to_json())
    assert (text.pop("suppression"), text.pop("sigma")) == ("hard", 0.5)
    assert inference.Metadata.from_json(json.dumps(text), "x") == metadata


@pytest.mark.first_case
@pytest.mark.parametrize("format", ALL)
def test_any_path_does(format, tmp_path, monkeypatch):
    need(format)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = inference.FORMATS[format].name_of("lr[0.1] * (ä)")
    detector = make_small()
    message = r"cannot load a SavedModel from .*lr.* reads \[ \] \* \? \\ in a path .*Rename"
    pattern = pytest.warns(UserWarning, match=message)
    with pattern if format == "saved_model" else contextlib.nullcontext():
        inference.export(detector, f"~/new folder/{name}", format=format)
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == [name]
    found = inference.load(f"~/new folder/{name}").detect(images())
    assert_same(found, detector.detect(images()), 1e-5)


@pytest.mark.each_value
@pytest.mark.parametrize("format", ["onnx", "tflite"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_large_weights_are_put_in_afterwards(format, precision, written, tmp_path, monkeypatch):
    usual, path = written(format, precision, "outside"), tmp_path / f"x.{format}"
    monkeypatch.setitem(frozen.apart.__kwdefaults__, "large", 1000)
    look, weights = frozen.apart(make(), formats.open_file(usual).metadata)
    assert len(weights) > 3 and len(look.input_signature) == len(weights) + 1
    options = {"nms": "outside", "calibration": calibration}
    inference.export(make(), path, format=format, precision=precision, **options)
    seen, want = (formats.open_file(p).run(images())["predictions"] for p in (path, usual))
    close = {"float32": 1e-5, "float16": 2e-3, "int8": 0.06}[precision] * np.abs(want).max()
    np.testing.assert_allclose(seen, want, rtol=0, atol=close)
    assert path.stat().st_size == pytest.approx(usual.stat().st_size, rel=0.1)


@pytest.mark.first_case
@pytest.mark.parametrize("format", ALL)
def test_constants_gradients_and_functions_of_a_networks_own(format, tmp_path):
    """As in Keras' EfficientNets: Normalization has its means as constants beside the variables,
    swish a gradient of its own. A convolution in groups is a function of its own, for XLA."""
    need(format)
    pixels = keras.Input((64, 64, 3))
    known = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(pixels)
    features = keras.layers.Conv2D(4, 16, strides=16, activation="swish")(known)
    features = keras.layers.Conv2D(4, 3, padding="same", groups=2)(features)
    network = keras.Model(pixels, conv_head(features, GRID))
    detector = inference.Detector(network, classes=CLASSES, score_threshold=0.0)
    path = tmp_path / inference.FORMATS[format].name_of("own")
    inference.export(detector, path, format=format)
    found, want = (d.look(images(2))["predictions"] for d in (inference.load(path), detector))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)


@pytest.mark.first_case
@pytest.mark.parametrize("format", ALL)
def test_what_is_not_finite_is_refused(format, tmp_path):
    need(format)
    detector = make_small()
    detector.model.layers[-2].bias.assign(np.full(GRID.channels, np.nan))
    path = tmp_path / inference.FORMATS[format].name_of("nan")
    inference.export(detector, path, format=format)
    with pytest.raises(ValueError, match=r"NaN or infinite for image\(s\) \[0, 1\]"):
        inference.load(path).detect(images(2))


@pytest.mark.parametrize("format", ALL)
def test_nothing_of_another_kind_is_written_over(format, tmp_path):
    folder = tmp_path / inference.FORMATS[format].name_of("mine")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds other files|is a folder"):
        inference.export(make(), folder, format=format)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_notes_beside_an_earlier_export_are_kept(copy):
    path = copy("saved_model")
    (path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds other files \(notes.txt\), .*new folder"):
        inference.export(make_small(), path)
    assert (path / "notes.txt").read_text() == "mine" and inference.load(path).classes == CLASSES


def test_a_keras_file_holds_the_network(written, tmp_path):
    again = inference.load(written("keras"), score_threshold=0.01)
    hard = {"clip": True, "suppression": "hard", "sigma": 0.5}
    assert again.options == OPTIONS | hard | {"score_threshold": 0.01}
    for a, b in zip(again.model.weights, network().weights, strict=True):
        np.testing.assert_array_equal(a, b)
    inference.export(again, tmp_path / "again.keras", format="keras")
    assert inference.load(tmp_path / "again.keras").classes == CLASSES


def test_a_network_of_mixed_precision_is_written_in_float32(mixed_precision, tmp_path):
    need("onnx")
    mixed_precision("mixed_bfloat16")
    mixed = build()
    mixed_precision("float32")
    inference.export(inference.Detector(mixed), tmp_path / "mixed.onnx", format="onnx")
    found = inference.load(tmp_path / "mixed.onnx").look(images())["predictions"]
    np.testing.assert_allclose(found, expected()["predictions"], rtol=0, atol=1e-5)


def test_choices_that_a_format_has_not_are_refused(tmp_path, written):
    for choices, message in (
        ({"format": "torch"}, "must be one of saved_model, tflite, onnx, openvino, keras, got"),
        ({"precision": "int8"}, "precision of saved_model must be 'float32', .*tflite, onnx can"),
        ({"format": "tflite", "nms": "inside"}, "nms of tflite must be 'outside', .*onnx can"),
        ({"format": "keras", "input_dtype": "uint8"}, "input_dtype of keras must be 'float32'"),
        ({"format": "onnx", "input_dtype": "float16"}, r"must be .* got 'float16'\.$"),
        ({"format": "onnx", "precision": "int8"}, "int8 needs calibration="),
        ({"format": "onnx"}, r"must be called NAME.onnx, got x"),
    ):
        with pytest.raises(ValueError, match=message):
            inference.export(make(), tmp_path / "x", **choices)
    need("onnx")
    with pytest.raises(ValueError, match="score_threshold of at least 0, got -1"):
        inference.export(make(score_threshold=-1.0), tmp_path / "x.onnx", format="onnx")
    with pytest.raises(ValueError, match="is a file's, .*Give that of the run, or of a .keras"):
        inference.export(inference.load(written("saved_model")), tmp_path / "x")
    for views in (inference.tiled(make(), 32), inference.flipped(make())):
        with pytest.raises(ValueError, match="a Detector of a network, got ManyViews.*inside"):
            inference.export(views, tmp_path / "x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'threshold'"):
        inference.load(written("saved_model"), threshold=0.5)
    with pytest.raises(ValueError, match="holds one set of weights, got which='best'"):
        inference.load(written("saved_model"), which="best")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", [f for f in ALL if f != "keras"])
def test_images_of_another_size_are_refused(format, session):
    for images_of in ((1, 32, 32, 3), (64, 64, 3), (1, 64, 64, 1)):
        with pytest.raises(ValueError, match=r"images \[n, 64, 64, 3\], got"):
            session(format).run(np.zeros(images_of))


@pytest.mark.parametrize("name", ["x.onnx", "x.tflite", "x.keras", "x.xml", "x"])
def test_what_is_not_there_is_said(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / name}"):
        inference.load(tmp_path / name)


def test_a_file_takes_data_sets_as_a_detector_does(written):
    dataset = data.open("shapes:count=5", split="val", image_size=64, seed=3)
    batches = data.evaluation_batches(dataset, GRID, 2)
    seen = []
    detector = inference.load(written("saved_model"))
    found = detector.detect(batches, watch=lambda predictions, indices: seen.extend(indices))
    assert seen == list(range(5))
    assert_same(found, make().detect(batches), 1e-5)
