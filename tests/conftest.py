"""What tests of several parts need."""

import gc
import os

import pytest

# As in the programs (experiments/__init__.py), so that what they compute is the same in here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def pytest_collection_finish():
    """What has been imported stays: garbage is not looked for in it again and again."""
    gc.freeze()


@pytest.fixture
def no_other_font(monkeypatch):
    """The font that comes with Matplotlib is the only one."""
    from yolov1 import fonts

    def forget():
        fonts.readable.cache_clear()
        fonts._covering.cache_clear()

    monkeypatch.setattr(fonts, "_paths", lambda: [fonts.default()])
    forget()
    yield
    forget()


@pytest.fixture
def mixed_precision():
    """A function that sets the global dtype policy; the old one is back after the test."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy(before)
