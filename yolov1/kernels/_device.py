"""Arrays in the memory of a GPU, of any library that shares them: CuPy, PyTorch, JAX.

They come through DLPack, the only way for bfloat16, or through ``__cuda_array_interface__``.
Nothing is copied. The memory must live until the stream has come that far: libraries that take it
back in the order of their own stream know nothing of another one.
"""

import math

from yolov1.kernels._module import extension

CUDA = 2  # DLPack's number for such a device
_TYPESTR = {"f2": "float16", "f4": "float32", "f8": "float64", "b1": "bool", "u1": "uint8"}


def is_device_array(array) -> bool:
    """Whether `array` lies in the memory of a GPU."""
    place = getattr(array, "__dlpack_device__", None)
    if place is not None:
        return place()[0] == CUDA
    return hasattr(array, "__cuda_array_interface__")


def check_cuda(op) -> None:
    """Refuses device arrays where the native module has no CUDA kernels (`RuntimeError`)."""
    if not hasattr(extension(), "yolo_loss_cuda"):
        raise RuntimeError(
            f"{op}: this build has no CUDA kernels, but an array is on a GPU. Copy it to the host, "
            "or build where nvcc is found: YOLOV1_CUDA=ON pip install --no-build-isolation -e ."
        )


def read(op, name, array, stream):
    """The native view of a device array: pointer, shape, dtype, device.

    Args:
        op, name: who asks, and the argument's name: for errors.
        stream: where it will be used: its library is told to have it ready there.

    Raises:
        TypeError: it is not in the memory of a GPU.
        ValueError: it is not contiguous.
    """
    if not is_device_array(array):
        raise TypeError(
            f"{op}: {name} must be on the GPU as the others are, got {type(array).__name__} on the "
            "host; copy it."
        )
    native = extension()
    if hasattr(array, "__dlpack__"):
        try:
            # The default stream is 1 there, as 0 could be either of two.
            return native.from_dlpack(array.__dlpack__(stream=stream or 1))
        except (TypeError, ValueError, BufferError) as error:
            raise type(error)(f"{op}: {name} {error}.") from error
    interface = array.__cuda_array_interface__
    shape, dtype = tuple(interface["shape"]), _TYPESTR.get(interface["typestr"][1:])
    size = int(interface["typestr"][2:])
    if dtype is None or interface["typestr"][0] == ">":
        raise TypeError(f"{op}: {name} has the unknown dtype {interface['typestr']}.")
    if interface.get("strides") not in (None, _strides(shape, size)):
        raise ValueError(f"{op}: {name} must be contiguous in C order; copy it first.")
    return native.DeviceArray(interface["data"][0], shape, dtype, 0)


def _strides(shape, size):
    return tuple(size * math.prod(shape[k + 1 :]) for k in range(len(shape)))


def output(op, name, array, shape, dtype, stream):
    """The native view of an array to write, which must be of this shape and dtype."""
    view = read(op, name, array, stream)
    if list(view.shape) != list(shape) or view.dtype != dtype:
        raise ValueError(
            f"{op}: out: {name} must be {dtype} {list(shape)}, got {view.dtype} {list(view.shape)}."
        )
    return view


def empty_like(op, array, shape, dtype):
    """A new array of the library, and on the device, of `array`.

    Raises:
        TypeError: that library's arrays cannot be written; says to pass `out`.
    """
    library = type(array).__module__.split(".")[0]
    if library == "torch":
        import torch

        return array.new_empty(tuple(shape), dtype=getattr(torch, dtype), requires_grad=False)
    if library == "cupy":
        import cupy

        with array.device:
            return cupy.empty(tuple(shape), dtype)
    raise TypeError(
        f"{op}: results can be made for arrays of torch and cupy, got one of {library}; pass "
        "arrays to write into as out=."
    )


def versions(name, device) -> list[str]:
    """The versions of a kernel ``"yolo_loss"`` or ``"box_iou"`` on ``"cpu"`` or ``"cuda"``."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"{name}_versions: device must be 'cpu' or 'cuda', got {device!r}.")
    if device == "cpu":
        return getattr(extension(), f"{name}_versions")()
    return getattr(extension(), f"{name}_cuda_versions", list)()
