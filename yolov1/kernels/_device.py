"""Arrays in the memory of a GPU, of any library that shares them: CuPy, PyTorch, JAX.

They come through DLPack, the only way for bfloat16, or through ``__cuda_array_interface__``.
Nothing is copied. The memory must live until the stream has come that far: libraries that take it
back in the order of their own stream know nothing of another one.
"""

import math

from yolov1.kernels._module import extension

CUDA = 2  # DLPack's number for such a device
_TYPESTR = {"f2": "float16", "f4": "float32", "f8": "float64"}
_TYPESTR |= {"b1": "bool", "u1": "uint8", "i4": "int32", "i8": "int64"}


def is_device_array(array) -> bool:
    """Whether `array` lies in the memory of a GPU."""
    place = getattr(array, "__dlpack_device__", None)
    if place is not None:
        return place()[0] == CUDA
    return hasattr(array, "__cuda_array_interface__")


def check_cuda(op) -> None:
    """Refuses device arrays where the native module has no CUDA kernels (`RuntimeError`)."""
    if not hasattr(extension(), "call_on_gpu"):
        raise RuntimeError(
            f"{op}: this build has no CUDA kernels, but an array is on a GPU. Copy it to the host, "
            "or build where nvcc is found: YOLOV1_CUDA=ON pip install --no-build-isolation -e ."
        )


def refuse_on_host(op, **options) -> None:
    """Refuses, beside NumPy arrays, what goes with arrays on a GPU (`TypeError`)."""
    for name, option in options.items():
        if is_device_array(option):
            raise TypeError(f"{op}: {name} is on the GPU, but the first array is not; copy one.")
        if name in ("stream", "out") and option is not None:
            raise TypeError(f"{op}: {name} is for arrays on a GPU, got NumPy arrays; leave it out.")


def stream_of(array, stream):
    """`stream`, a CUDA stream as an integer; of None the one that the array's library is using.

    That of PyTorch and CuPy is where the array was written and where its memory is reused; other
    libraries have none to ask for, and get the default stream.
    """
    if stream is not None:
        return stream
    library = type(array).__module__.split(".")[0]
    if library == "torch":
        import torch

        return torch.cuda.current_stream(array.device).cuda_stream
    if library == "cupy":
        import cupy

        with array.device:
            return cupy.cuda.get_current_stream().ptr
    return 0


def read(op, name, array, stream):
    """The native view of a device array: pointer, shape, dtype, device.

    Args:
        op, name: who asks, and the argument's name: for errors.
        stream: where it will be used: its library is told to have it ready there.

    Raises:
        TypeError: it is not in the memory of a GPU.
        ValueError: it is not contiguous, or in use on another stream.
    """
    if not is_device_array(array):
        raise TypeError(
            f"{op}: {name} must be on the GPU as the others are, got {type(array).__name__} on the "
            "host; copy it."
        )
    if not hasattr(array, "__dlpack__"):
        return _from_interface(op, name, array.__cuda_array_interface__, stream)
    try:
        return extension().from_dlpack(_capsule(array, stream or 1))
    except (TypeError, ValueError, BufferError) as error:
        raise type(error)(f"{op}: {name} {error}.") from error


def _capsule(array, stream):
    """`stream`: 1 is the default one there, as 0 could be either of two."""
    try:
        return array.__dlpack__(stream=stream, max_version=(1, 0))  # tells what is read-only
    except TypeError:
        return array.__dlpack__(stream=stream)


def _from_interface(op, name, interface, stream):
    shape, typestr = tuple(interface["shape"]), interface["typestr"]
    dtype, size = _TYPESTR.get(typestr[1:]), int(typestr[2:])
    if dtype is None or typestr[0] == ">":
        raise TypeError(f"{op}: {name} has the unknown dtype {typestr}.")
    steps = interface.get("strides") or _strides(shape, size)
    wrong = [a != b for a, b, n in zip(steps, _strides(shape, size), shape, strict=True) if n != 1]
    if any(wrong) and 0 not in shape:
        raise ValueError(f"{op}: {name} must be contiguous in C order; copy it first.")
    queued = interface.get("stream")
    if queued is not None and queued != (stream or 1):
        raise ValueError(
            f"{op}: {name} is in use on stream {queued}, but {stream} was asked for; pass "
            f"stream={queued}, or wait for it."
        )
    pointer, read_only = interface["data"]
    return extension().DeviceArray(pointer, shape, dtype, read_only)


def _strides(shape, size):
    return tuple(size * math.prod(shape[k + 1 :]) for k in range(len(shape)))


def output(op, name, array, shape, dtype, stream):
    """The native view of an array to write, which must be of this shape and dtype."""
    view = read(op, name, array, stream)
    if list(view.shape) != list(shape) or view.dtype != dtype:
        raise ValueError(
            f"{op}: out: {name} must be {dtype} {list(shape)}, got {view.dtype} {list(view.shape)}."
        )
    if name == "workspace" and view.pointer % 16:
        raise ValueError(
            f"{op}: out: workspace must begin at a multiple of 16 bytes, got {view.pointer:#x}."
        )
    if view.read_only:
        raise ValueError(f"{op}: out: {name} must not be read-only; pass another array.")
    return view


def check_one_gpu(op, *views) -> None:
    """Refuses views of arrays on several GPUs (`ValueError`); those of unknown place fit any."""
    places = {view.device for view in views if view is not None and view.device >= 0}
    if len(places) > 1:
        raise ValueError(f"{op}: all arrays must be on one GPU, got {sorted(places)}; move them.")


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


def views(op, arrays, stream) -> dict:
    """The native views of ``{argument: array}``, where this build has CUDA; None for None."""
    check_cuda(op)
    return {k: None if x is None else read(op, k, x, stream or 0) for k, x in arrays.items()}


def call(op, native, config, inputs, like, out, *, results, order=(), left_out=0, stream, version):
    """Queues a native op on arrays on a GPU.

    Args:
        op: who asks, for errors.
        native, config, left_out, version: as of `yolov1.kernels._module.call`.
        inputs: `views` of the op's arguments; None: no mask.
        like: an array, of whose library and on whose GPU new ones are made.
        out: arrays to write, None for what is not made; None: new ones.
        results: names for the op's results.
        order: the names in the order of `out`, where that is another.

    Returns:
        ``{name: array}``; None for what is not made.
    """
    names, inputs = order or results, list(inputs.values())
    made = extension().results_on_gpu(native, config, inputs, left_out)
    wanted = dict(zip(results, made, strict=True))
    if out is None:
        out = [wanted[name] and empty_like(op, like, *wanted[name]) for name in names]
    if len(out) > len(names) or any(wanted[name] for name in names[len(out) :]):
        raise ValueError(f"{op}: out must be ({', '.join(names)}), got {len(out)} arrays.")
    out = {name: array for name, array in zip(names, out, strict=False) if wanted[name]}
    outputs = [x and output(op, name, out[name], *x, stream or 0) for name, x in wanted.items()]
    check_one_gpu(op, *inputs, *outputs)
    native_call = native, config, inputs, left_out, outputs
    extension().call_on_gpu(*native_call, stream or 0, version or "")
    return dict.fromkeys(names) | out


def versions(op, native, device) -> list[str]:
    """The versions of a native op on ``"cpu"`` or ``"cuda"``."""
    if device not in ("cpu", "cuda"):
        raise ValueError(f"{op}_versions: device must be 'cpu' or 'cuda', got {device!r}.")
    return extension().versions(native, device == "cuda")
