"""What every op does to its arguments first."""

import tensorflow as tf

# Private, as the device scope outside a function that is being traced has no public name.
from tensorflow.python.eager import context


def as_tensor(value, dtype=None):
    """`value` itself where it is a tensor; else one of it, of `dtype` where the value has none."""
    if isinstance(value, tf.Tensor):
        return value
    return tf.convert_to_tensor(value, None if hasattr(value, "dtype") else dtype)


def saturating_cast(tensor, dtype):
    """`tensor` cast to `dtype`. Integers that it does not hold become the nearest that it does: a
    plain cast would make other numbers of them, 3 of 2^32 + 3."""
    given = tensor.dtype
    if given.is_integer and dtype.is_integer and given.size >= dtype.size and given != dtype:
        limits = tf.constant([dtype.min if given.min < 0 else 0, dtype.max], given)
        tensor = tf.clip_by_value(tensor, limits[0], limits[1])
    return tf.cast(tensor, dtype)


def device(tensor) -> str:
    """``"CPU"`` or ``"GPU"``: where an op on the tensor would run.

    In a graph the tensors of a function have no place: that of a `tf.device` around the function
    counts, which its trace does not inherit.
    """
    place = tensor.device or context.context().device_name
    if not place:
        return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return "GPU" if "GPU" in place.upper() else "CPU"


def static_shape(tensor):
    """Its sizes, None where unknown; None for a tensor of unknown rank."""
    return None if tensor.shape.rank is None else tuple(tensor.shape)
