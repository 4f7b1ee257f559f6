import keras
import pytest


@pytest.fixture
def mixed_precision():
    """A function that sets the global dtype policy; the old one is back after the test."""
    before = keras.mixed_precision.dtype_policy()
    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy(before)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)
