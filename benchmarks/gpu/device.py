"""Memory, streams and graphs that the checks of `benchmarks.gpu` need: of a GPU, or NumPy's."""

import ml_dtypes
import numpy as np

GUARD = 16  # elements before and behind an array, which nothing may write
POISON = 0xA5  # each byte of what nothing has written yet


class Device:
    """Arrays on a device: what `checks` sees of it."""

    graphs = False

    def put(self, array, offset=0):
        """A copy of a NumPy array, `offset` elements behind a multiple of 16 bytes."""
        raise NotImplementedError

    def read(self, array):
        """A NumPy copy."""
        raise NotImplementedError

    def stream(self) -> int:
        """A new stream, as kernels take it."""
        raise NotImplementedError

    def synchronize(self):
        """Waits for all streams."""

    def captured(self, call, replays):
        """Records ``call(stream)`` into a graph and replays it."""
        raise NotImplementedError

    def poisoned(self, shape, dtype, offset=0) -> "Output":
        return Output(self, shape, np.dtype(dtype), offset)


class Output:
    """An array for a kernel to write, full of poison, between guards."""

    def __init__(self, device, shape, dtype, offset):
        size = int(np.prod(shape))
        total = np.full((size + 2 * GUARD) * dtype.itemsize, POISON, np.uint8).view(dtype)
        self._device, self._size = device, size
        self._begin = GUARD + -offset % GUARD  # lying otherwise than inputs of that offset
        self._whole = device.put(total)
        self._shape = shape
        self.array = self._whole[self._begin : self._begin + size].reshape(shape)

    def read(self):
        """Its values.

        Raises:
            AssertionError: something wrote outside of it.
        """
        whole = self._device.read(self._whole)
        before, behind = whole[: self._begin], whole[self._begin + self._size :]
        for guard in (before, behind):
            if not (np.ascontiguousarray(guard).view(np.uint8) == POISON).all():
                raise AssertionError("wrote outside of an output")
        return whole[self._begin : self._begin + self._size].reshape(self._shape).copy()


class Cuda(Device):
    """The GPU, by PyTorch; its memory can be that of the host, to try `put` and `read`."""

    graphs = True

    def __init__(self, where="cuda"):
        import torch

        self.torch, self._where = torch, where
        self._streams = []

    def put(self, array, offset=0):
        flat = np.ascontiguousarray(array).reshape(-1)
        kind = {2: np.int16}.get(flat.dtype.itemsize, flat.dtype)
        whole = self.torch.empty(
            flat.size + offset, dtype=self._dtype(flat.dtype), device=self._where
        )
        bits = self.torch.from_numpy(flat.view(kind).copy())
        whole[offset:].view(bits.dtype).copy_(bits)
        return whole[offset:].reshape(array.shape)

    def _dtype(self, dtype):
        return getattr(self.torch, np.dtype(dtype).name)

    def read(self, array):
        self.synchronize()
        host = array.detach().cpu()
        if host.dtype == self.torch.bfloat16:
            return host.view(self.torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
        return host.numpy().copy()

    def stream(self):
        self._streams.append(self.torch.cuda.Stream())  # kept, or its number would be another's
        return self._streams[-1].cuda_stream

    def synchronize(self):
        self.torch.cuda.synchronize()

    def captured(self, call, replays):
        graph = self.graph(call)
        for _ in range(replays):
            graph.replay()
        self.synchronize()

    def graph(self, call):
        """A CUDA graph of what ``call(stream)`` queues."""
        self.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            call(self.torch.cuda.current_stream().cuda_stream)
        return graph


class Host(Device):
    """NumPy's memory, for a build whose CUDA kernels run on the host."""

    def __init__(self):
        from benchmarks.gpu.host_device import HostDevice

        self._wrap = HostDevice().wrap

    def put(self, array, offset=0):
        array = np.asarray(array, order="C")
        size = array.dtype.itemsize
        whole = np.empty(array.nbytes + offset * size + 16, np.uint8)
        begin = -whole.ctypes.data % 16 + offset * size
        copy = whole[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return Wrapped(copy, self._wrap)

    def read(self, array):
        return array.numpy.copy()

    def stream(self):
        return 0

    def captured(self, call, replays):
        for _ in range(replays):
            call(0)


class Wrapped:
    """A NumPy array in the place of one on a device."""

    def __init__(self, array, wrap):
        self.numpy, self._wrap = array, wrap

    def __getitem__(self, where):
        return Wrapped(self.numpy[where], self._wrap)

    def reshape(self, shape):
        return Wrapped(self.numpy.reshape(shape), self._wrap)

    @property
    def shape(self):
        return self.numpy.shape

    @property
    def on_device(self):
        return self._wrap(self.numpy)


def handed(array):
    """What a kernel takes of an array of a `Device`; None and numbers stay."""
    return array.on_device if isinstance(array, Wrapped) else array


def make(cuda):
    """The device for a build with ``YOLOV1_CUDA=cuda``."""
    return Host() if cuda == "HOST" else Cuda()
