"""NumPy arrays in the place of arrays on a GPU, for a build with ``YOLOV1_CUDA=HOST``."""

import ctypes

import numpy as np


class _Tensor(ctypes.Structure):  # DLTensor and DLManagedTensor of DLPack
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("place_kind", ctypes.c_int32),
        ("place_number", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("kind", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
        ("owner", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    ]


_KINDS = {"i": 0, "u": 1, "f": 2, "V": 4, "b": 6}  # ml_dtypes' bfloat16 is of NumPy's kind V
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class HostArray:
    """Shares the memory of `array`, and says that it lies on a GPU."""

    def __init__(self, array):
        self.array = array
        self.asked = []  # the streams that a reader named

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream=None):
        """A capsule as NumPy's own, which does not know bfloat16."""
        self.asked.append(stream)
        array, rank = self.array, self.array.ndim
        self._shape = (ctypes.c_int64 * rank)(*array.shape)
        self._strides = (ctypes.c_int64 * rank)(*(x // array.itemsize for x in array.strides))
        self._tensor = _Tensor(
            array.ctypes.data, 1, 0, rank, _KINDS[array.dtype.kind], 8 * array.itemsize, 1,
            self._shape, self._strides, 0, None, None,
        )  # fmt: skip
        return _new_capsule(ctypes.addressof(self._tensor), b"dltensor", None)


class HostDevice:
    """The "GPU" of such a build."""

    @staticmethod
    def wrap(array) -> HostArray:
        return HostArray(np.asarray(array))
