import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from yolov1 import boxes

fractions = st.floats(-2, 2, width=32)
arrays = hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.just(4)), elements=fractions)


def test_known_box():
    np.testing.assert_allclose(
        boxes.cxcywh_to_xyxy(np.array([0.5, 0.25, 0.2, 0.1])), [0.4, 0.2, 0.6, 0.3]
    )
    np.testing.assert_allclose(boxes.area_xyxy(np.array([0.4, 0.2, 0.6, 0.3])), 0.02)
    np.testing.assert_allclose(
        boxes.scale_xyxy(np.array([0.4, 0.2, 0.6, 0.3]), 100, 10), [40, 2, 60, 3]
    )


@given(arrays)
def test_round_trip(xyxy):
    back = boxes.cxcywh_to_xyxy(boxes.xyxy_to_cxcywh(xyxy))
    np.testing.assert_allclose(back, xyxy, atol=1e-12)


@given(arrays)
def test_clipping_leaves_nothing_outside(xyxy):
    clipped = boxes.clip_xyxy(xyxy)
    assert ((clipped >= 0) & (clipped <= 1)).all()
    inside = ((xyxy >= 0) & (xyxy <= 1)).all(axis=-1)
    np.testing.assert_array_equal(clipped[inside], xyxy[inside])


@pytest.mark.parametrize(
    "function",
    [boxes.cxcywh_to_xyxy, boxes.xyxy_to_cxcywh, boxes.clip_xyxy, boxes.area_xyxy],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_and_tensors_agree(function, dtype):
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(dtype)
    result = function(tf.constant(values))
    assert isinstance(result, tf.Tensor) and result.dtype == dtype
    expected = function(values)
    assert expected.dtype == dtype
    np.testing.assert_array_equal(result, expected)
