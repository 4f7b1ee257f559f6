"""A detector that says of a picture what its colour is, and holds its breath when told to."""

import contextlib
import io
import threading
import types

import numpy as np
import pytest
from PIL import Image

from tests.experiments.conftest import call_experiment, known_run  # noqa: F401, as fixtures
from yolov1.inference import Detections


class Colours:
    """Finds one thing in a picture: how red it is, is the score; how green, how wide the box."""

    def __init__(self):
        self.grid = types.SimpleNamespace(C=3, image_size=8)
        self.classes = ("one", "two", "<three>")
        self.options = {"score_threshold": 0.05, "iou_threshold": 0.5, "suppression": "hard"}
        self.batches, self.go, self.looking = [], threading.Event(), threading.Event()
        self.go.set()

    def detect(self, images, batch_size):
        assert len(images) <= batch_size
        self.looking.set()
        assert self.go.wait(30)
        self.batches.append(len(images))
        return [self.look(image) for image in images]

    def look(self, image):
        red, green, blue = image.reshape(-1, 3).mean(axis=0) / 255
        if blue > 0.9:
            raise ValueError("it is too blue")
        label = np.array([0 if red < 0.5 else 1])
        return Detections(np.array([[0, 0, green, 0.5]]), np.array([red]), label)

    @contextlib.contextmanager
    def held(self):
        """Inside, it looks and says nothing."""
        self.looking.clear()
        self.go.clear()
        try:
            yield
        finally:
            self.go.set()


@pytest.fixture
def colours():
    return Colours()


def picture(red=204, green=102, blue=0, size=(20, 10), kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (red, green, blue)).save(file, kind, **options)
    return file.getvalue()
