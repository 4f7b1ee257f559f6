"""Files of detectors: what was written is found again, or refused with a sentence."""

import contextlib
import dataclasses
import functools
import importlib
import json
import shutil
import sys

import keras
import numpy as np
import pytest

from tests.inference.test_detect import painter, picture
from yolov1 import data, inference, models
from yolov1.grid import GridSpec
from yolov1.inference import formats
from yolov1.inference.metadata import FILE

GRID = GridSpec(S=4, B=2, C=3, image_size=64)
CLASSES = ("Äpfel & Öl", "猫", 'a "quoted" <name>')
OPTIONS = {"score_threshold": 0.0005, "iou_threshold": 0.4, "max_detections": 20}
LIBRARIES = {  # what writes and runs each, beyond TensorFlow
    "tflite": ("ai_edge_litert.interpreter",),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "openvino": ("openvino",),
}
ALL = tuple(inference.FORMATS)
EVERY = [(f, p, n) for f, m in inference.FORMATS.items() for p in m.PRECISIONS for n in m.NMS]


def need(format):
    for name in LIBRARIES.get(format, ()):
        pytest.importorskip(name, reason=f"the extra {inference.FORMATS[format].EXTRA} is missing")


def images(count=5, seed=0):
    """Of whole 255ths, so that uint8 holds them."""
    values = np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return values.astype(np.float32) / 255


def calibration():
    return (image[None] for image in images(8, seed=1))


@functools.cache
def network():
    keras.utils.set_random_seed(3)
    return models.build("laptop", grid=GRID, width=0.5)


def make(**options):
    return inference.Detector(network(), classes=CLASSES, **OPTIONS | options)


@functools.cache
def expected():
    return {name: value.numpy() for name, value in make().look(images()).items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that gives the path of a file, written once."""

    @functools.cache
    def write(format, precision="float32", nms=None, input_dtype="float32"):
        need(format)
        folder = tmp_path_factory.mktemp("written")
        path = folder / inference.FORMATS[format].name_of("ünser detector")
        choices = {"precision": precision, "nms": nms, "input_dtype": input_dtype}
        own = {"revision": "abc-dirty", "source": "ein Lauf"}
        return inference.export(
            make(), path, format=format, calibration=calibration, **choices, **own
        )

    return write


def assert_same(found, wanted, tolerance):
    """Detections of several images, each box where it was; of equal scores in any order."""
    for a, b in zip(found, wanted, strict=True):
        assert len(a) == len(b) > 0
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=tolerance)
        sorted_a, sorted_b = (np.lexsort([*d.boxes_xyxy.T.round(3), d.labels]) for d in (a, b))
        np.testing.assert_array_equal(a.labels[sorted_a], b.labels[sorted_b])
        np.testing.assert_allclose(
            a.boxes_xyxy[sorted_a], b.boxes_xyxy[sorted_b], rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("format, precision, nms", EVERY)
def test_a_file_finds_what_the_network_finds(format, precision, nms, written):
    detector = inference.load(written(format, precision, nms))
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


@pytest.mark.parametrize("format, precision, nms", [x for x in EVERY if x[2] == "outside"])
def test_boxes_are_decoded_in_float32(format, precision, nms, written):
    """Whatever the network's arithmetic: boxes are those of the predictions."""
    found = formats.open_file(written(format, precision, nms)).run(images())
    boxes_xyxy, scores = inference.decode(found["predictions"], GRID)
    np.testing.assert_allclose(found["boxes_xyxy"], boxes_xyxy, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["scores"], scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("format, precision, nms", EVERY)
def test_lower_precision_is_smaller(format, precision, nms, written):
    def size(path):
        return sum(f.stat().st_size for f in (path, *path.rglob("*")) if f.is_file())

    ratio = size(written(format, precision, nms)) / size(written(format, "float32", nms))
    assert ratio < {"float32": 1.01, "float16": 0.6, "int8": 0.4}[precision]


@pytest.mark.parametrize("format", [f for f, m in inference.FORMATS.items() if "uint8" in m.INPUTS])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_images_of_uint8(format, precision, written):
    if precision not in inference.FORMATS[format].PRECISIONS:
        precision = "float32"
    found, want = (
        inference.load(written(format, precision, "outside", dtype)).look(images())["predictions"]
        for dtype in ("uint8", "float32")
    )
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 if precision == "float32" else 0.03)


@pytest.mark.parametrize("format", ALL)
def test_a_file_says_what_it_is(format, written):
    detector = inference.load(written(format))
    assert detector.grid == GRID and detector.wh == "predict_sqrt"
    assert detector.classes == CLASSES and detector.resize == "half_pixel"
    assert detector.options == OPTIONS | {"clip": True}
    metadata = formats.open_file(written(format)).metadata
    assert (metadata.revision, metadata.source) == ("abc-dirty", "ein Lauf")
    assert metadata.nms == inference.FORMATS[format].NMS[0]
    assert inference.Metadata.from_json(metadata.to_json(), "x") == metadata
    lowest = dataclasses.replace(metadata, score_threshold=float("-inf"))
    assert json.loads(lowest.to_json())["score_threshold"] < -1e38  # JSON has no infinity


@pytest.mark.parametrize("format", ALL)
def test_without_suppression_inside_any_thresholds_go(format, written):
    options = {"score_threshold": 1e-4, "iou_threshold": 0.7, "max_detections": 50, "clip": False}
    detector = inference.load(written(format, nms="outside"), **options)
    assert detector.options == options
    assert_same(detector.detect(images()), make(**options).detect(images()), 1e-5)
    again = detector.with_other(score_threshold=0.002)
    want = make(**options | {"score_threshold": 0.002}).detect(images())
    assert_same(again.detect(images()), want, 1e-5)


@pytest.mark.parametrize("format", [f for f, m in inference.FORMATS.items() if "inside" in m.NMS])
def test_with_suppression_inside_a_detector_can_find_less(format, written):
    path = written(format, nms="inside")
    best = sorted(expected()["scores"][0], reverse=True)
    options = {"score_threshold": float(best[5] + best[6]) / 2, "max_detections": 4}
    for some in ({}, options, {"max_detections": 3}, {"score_threshold": float(best[2])}):
        detector = inference.load(path, **some)
        assert_same(detector.detect(images()[:1]), make(**some).detect(images()[:1]), 1e-5)
        found = detector.look(images())
        beyond = np.arange(detector.options["max_detections"]) >= found["count"][:, None]
        assert not found["scores"][beyond].any() and not found["boxes_xyxy"][beyond].any()
        assert not found["labels"][beyond].any()
    for name, value, message in (
        ("score_threshold", 0.0001, "must be at least 0.0005, got 0.0001"),
        ("iou_threshold", 0.5, "must be 0.4, got 0.5"),
        ("max_detections", 21, "must be at most 20, got 21"),
        ("clip", False, "must be True, got False"),
    ):
        with pytest.raises(ValueError, match=f"{name} {message}: suppression is inside this file"):
            inference.load(path, **{name: value})


@pytest.mark.parametrize("format", ALL)
def test_any_path_does(format, tmp_path, monkeypatch):
    need(format)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = inference.FORMATS[format].name_of("lr[0.1] * (ä)")
    detector = inference.Detector(painter(), grid=GRID, score_threshold=0.5)
    pattern = pytest.warns(UserWarning, match="reads . . . . in")
    with pattern if format == "saved_model" else contextlib.nullcontext():
        inference.export(detector, f"~/new folder/{name}", format=format)
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == [name]
    again, pictures = inference.load(f"~/new folder/{name}"), [picture([(1, 2), (3, 0)])]
    assert_same(again.detect(pictures), detector.detect(pictures), 1e-6)


@pytest.mark.parametrize("format", ALL)
def test_what_is_not_finite_is_refused(format, tmp_path):
    need(format)
    model = models.build("laptop", grid=GRID, width=0.25)
    model.layers[-2].bias.assign(np.full(model.layers[-2].bias.shape, np.nan))
    path = tmp_path / inference.FORMATS[format].name_of("nan")
    inference.export(inference.Detector(model), path, format=format)
    with pytest.raises(ValueError, match=r"NaN or infinite for image\(s\) \[0, 1\]"):
        inference.load(path).detect(images(2))


def halve(path):
    """Cuts the largest file of a format in half, or the file that says what it is."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


@pytest.fixture
def copy(written, tmp_path):
    """A function that gives the path of a copy, which may be damaged."""

    def copied(format):
        path = written(format)
        return (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)

    return copied


@pytest.mark.parametrize("format", ALL)
def test_a_damaged_file_is_refused(format, copy):
    path = copy(format)
    halve(path)
    with pytest.raises(inference.WrongFile, match=r"is damaged, or|it is cut, or"):
        inference.load(path)


@pytest.mark.parametrize("format", ALL)
def test_another_kind_of_file_is_refused(format, copy):
    path = copy(format)
    main = {"saved_model": "saved_model.pb", "openvino": "model.xml"}.get(format, "")
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100)):
        (path / main).write_bytes(content)
        with pytest.raises(inference.WrongFile, match=r"is damaged, or another|holds no metadata"):
            inference.load(path)


@pytest.mark.parametrize("format", ALL)
def test_a_file_without_metadata_is_refused(format, tmp_path, monkeypatch):
    need(format)
    path = tmp_path / inference.FORMATS[format].name_of("foreign")
    if format == "keras":
        network().save(path)
    else:
        monkeypatch.setattr(inference.Metadata, "to_json", lambda self: "{}")
        inference.export(make(), path, format=format)
        with pytest.raises(inference.WrongFile, match=f"its metadata is no {FILE}"):
            inference.load(path)
        remove_metadata(format, path)
    with pytest.raises(inference.WrongFile, match="holds no metadata of a detector .* Give the"):
        inference.load(path)


def remove_metadata(format, path):
    if format == "saved_model":
        (path / "assets.extra" / FILE).unlink()
    elif format == "tflite":
        path.write_bytes(path.read_bytes().partition(b"PK\x03\x04")[0])
    elif format == "onnx":
        onnx = importlib.import_module("onnx")
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    else:
        text = (path / "model.xml").read_text()
        assert "<yolov1 " in text
        (path / "model.xml").write_text(text.replace("<yolov1 ", "<other "))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 2}, "is of version 2, expected at most 1: .*Update this one"),
        ({"classes": ["a"]}, "not as it was written: .*1 classes, C=3"),
        ({"grid": {"S": 0}}, "not as it was written: .*S must be"),
        ({"grid": None}, "not as it was written"),
        ({"version": None}, "is no yolov1.json"),
    ],
)
def test_other_metadata_is_refused(change, message, copy):
    path = copy("saved_model")
    text = path / "assets.extra" / FILE
    text.write_text(json.dumps(json.loads(text.read_text()) | change))
    with pytest.raises(inference.WrongFile, match=message):
        inference.load(path)


def test_what_a_later_minor_version_adds_is_passed_over(copy):
    path = copy("saved_model")
    text = path / "assets.extra" / FILE
    text.write_text(json.dumps(json.loads(text.read_text()) | {"licence": "MIT"}))
    assert inference.load(path).classes == CLASSES


@pytest.mark.parametrize("format", LIBRARIES)
def test_a_missing_extra_is_named(format, written, tmp_path, monkeypatch):
    path = written(format)
    extra = inference.FORMATS[format].EXTRA
    for name in LIBRARIES[format]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(inference.MissingExtra, match=rf"pip install 'yolov1\[{extra}\]'"):
        inference.load(path)


@pytest.mark.parametrize("format", ALL)
def test_no_file_is_half_written(format, copy, monkeypatch):
    path = copy(format)
    before = inference.load(path).look(images())["predictions"]

    def breaks(detector, path, metadata, *, calibration):
        halved.write(detector, path, metadata, calibration=calibration)
        halve(path)
        raise OSError("No space left on device")

    halved = inference.FORMATS[format]
    broken = type("Broken", (), {**vars(halved), "write": staticmethod(breaks)})
    monkeypatch.setitem(inference.FORMATS, format, broken)
    with pytest.raises(OSError, match="No space"):
        inference.export(make(), path, format=format)
    monkeypatch.undo()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(inference.load(path).look(images())["predictions"], before)
    inference.export(make(score_threshold=0.125), path, format=format)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert inference.load(path).options["score_threshold"] == 0.125


@pytest.mark.parametrize("format", ALL)
def test_nothing_of_another_kind_is_written_over(format, tmp_path):
    folder = tmp_path / inference.FORMATS[format].name_of("mine")
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds other files|is a folder"):
        inference.export(make(), folder, format=format)
    assert (folder / "thesis.txt").read_text() == "years of work"


def test_a_keras_file_holds_the_network(written, tmp_path):
    again = inference.load(written("keras"), score_threshold=0.01)
    assert again.options == OPTIONS | {"clip": True, "score_threshold": 0.01}
    for a, b in zip(again.model.weights, network().weights, strict=True):
        np.testing.assert_array_equal(a, b)
    inference.export(again, tmp_path / "again.keras", format="keras")
    assert inference.load(tmp_path / "again.keras").classes == CLASSES


def test_a_network_of_mixed_precision_is_written_in_float32(mixed_precision, tmp_path):
    need("onnx")
    mixed_precision("mixed_bfloat16")
    keras.utils.set_random_seed(3)
    mixed = models.build("laptop", grid=GRID, width=0.5)
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
        ({"format": "onnx", "precision": "int8"}, "int8 needs calibration="),
        ({"format": "onnx"}, r"must be called NAME.onnx, got x"),
    ):
        with pytest.raises(ValueError, match=message):
            inference.export(make(), tmp_path / "x", **choices)
    with pytest.raises(ValueError, match="is a file's, .*Give that of the run, or of a .keras"):
        inference.export(inference.load(written("saved_model")), tmp_path / "x")
    with pytest.raises(ValueError, match="holds one set of weights, got which='best'"):
        inference.load(written("saved_model"), which="best")
    assert not list(tmp_path.iterdir())


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
