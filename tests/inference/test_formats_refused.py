"""Files that are damaged, foreign or half written are refused with a sentence."""

import importlib
import json
import sys

import numpy as np
import pytest

from tests.inference.files import ALL, CLASSES, LIBRARIES, halve, images, make_small, need, network
from yolov1 import inference
from yolov1.inference.metadata import FILE


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


@pytest.mark.parametrize("name", ["photo.jpg", "weights.h5", "saved_model.pb"])
def test_a_file_of_no_format_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(inference.WrongFile, match=f"{name} is no file .*NAME.tflite, NAME.onnx"):
        inference.load(tmp_path / name)


@pytest.mark.parametrize("format", ALL)
def test_a_file_without_metadata_is_refused(format, tmp_path, monkeypatch):
    need(format)
    path = tmp_path / inference.FORMATS[format].name_of("foreign")
    if format == "keras":
        network().save(path)
    else:
        monkeypatch.setattr(inference.Metadata, "to_json", lambda self: "{}")
        inference.export(make_small(), path, format=format)
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


@pytest.mark.parametrize("format", ["saved_model", "keras"])  # a folder, and a file
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
        inference.export(make_small(), path, format=format)
    monkeypatch.undo()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    np.testing.assert_array_equal(inference.load(path).look(images())["predictions"], before)
    inference.export(make_small(), path, format=format)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert inference.load(path).options["score_threshold"] == 0.0
