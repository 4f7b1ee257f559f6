"""Files of detectors, written and opened once."""

import functools
import shutil

import pytest

from tests.inference.files import calibration, make, need
from yolov1 import inference
from yolov1.inference import formats


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A function that gives the path of a file, written once."""

    @functools.cache
    def write(format, precision, nms, input_dtype):
        folder = tmp_path_factory.mktemp("written")
        path = folder / inference.FORMATS[format].name_of("ünser detector")
        choices = {"precision": precision, "nms": nms, "input_dtype": input_dtype}
        own = {"revision": "abc-dirty", "source": "ein Lauf"}
        return inference.export(
            make(), path, format=format, calibration=calibration, **choices, **own
        )

    def chosen(format, precision="float32", nms=None, input_dtype="float32"):
        need(format)
        return write(format, precision, nms or inference.FORMATS[format].NMS[0], input_dtype)

    return chosen


@pytest.fixture(scope="session")
def session(written):
    """A function that opens what `written` writes, once."""
    opened = functools.cache(formats.open_file)
    return lambda *args: opened(written(*args))


@pytest.fixture
def copy(written, tmp_path):
    """A function that gives the path of a copy, which may be damaged."""

    def copied(format):
        path = written(format)
        return (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)

    return copied
