"""What `bench_box_iou` compares: each provider computes the overlaps of boxes, with both gradients.

In one table: whose code, and how it is called (eagerly, in a `tf.function`, compiled by XLA).
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import native, strong_iou, workloads
from benchmarks.providers import Unavailable, called, of_op
from benchmarks.runner import unlisted
from yolov1 import kernels, ops
from yolov1.ops import _library


@dataclasses.dataclass(frozen=True)
class Case:
    """What is computed.

    Attributes:
        N: groups of boxes.
        M: boxes of the one side in each group.
        K: boxes of the other side; 1 for pairs of "aligned_iou".
        mode: ``"full"``, with the gradients by both sides, or ``"forward"``.
        op: ``"pairwise_iou"``, or ``"aligned_iou"`` of N * M pairs.
        kind: ``"iou"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        dtype: of boxes, overlaps, upstream and gradients.
        workload, step: the file, and its step, that the boxes come from: those that were predicted,
            and the objects; "": they are random.
    """

    N: int
    M: int
    K: int
    mode: str = "full"
    op: str = "pairwise_iou"
    kind: str = "iou"
    dtype: str = "float32"
    workload: str = unlisted("")
    step: int = unlisted(0)

    @classmethod
    def captured(cls, workload: str, step: int, mode: str) -> "Case":
        """A step of a captured workload."""
        predicted, true = _captured(workload, step)
        return cls(*predicted.shape[:2], true.shape[1], mode, workload=workload, step=step)

    @property
    def pairs(self) -> int:
        return self.N * self.M * self.K

    @property
    def overlap_bytes(self) -> int:
        """Of the overlaps alone."""
        return self.pairs * tf.as_dtype(self.dtype).size

    @property
    def boxes_bytes(self) -> int:
        """Of the boxes of both sides, and so of their gradients."""
        sides = 2 * self.M if self.op == "aligned_iou" else self.M + self.K
        return self.N * sides * 4 * tf.as_dtype(self.dtype).size

    @property
    def output_bytes(self) -> int:
        """Of the overlaps, and of the gradients in mode "full"."""
        return self.overlap_bytes + (self.boxes_bytes if self.mode == "full" else 0)

    @property
    def bytes_moved(self) -> int:
        """What must be read and written at least: boxes, upstream in mode "full", and results."""
        upstream = self.overlap_bytes if self.mode == "full" else 0
        return self.boxes_bytes + upstream + self.output_bytes

    def tensors(self):
        """Boxes ``[N, M, 4]`` and ``[N, K, 4]`` in [0, 1], and upstream ``[N, M, K]``.

        Of "aligned_iou" ``[N * M, 4]`` twice, and ``[N * M]``.
        """
        if self.workload:
            upstream = np.random.default_rng(0).uniform(-1, 1, (self.N, self.M, self.K))
            arrays = *_captured(self.workload, self.step), upstream
            return tuple(tf.cast(array, self.dtype) for array in arrays)
        return _tensors(self.N, self.M, self.K, self.op == "aligned_iou", self.dtype)


def _captured(workload, step):
    """Predicted boxes ``[N, S*S*B, 4]`` and objects ``[N, K, 4]``."""
    return workloads.predicted(workload, step)[0], workloads.true_boxes(workload, step)


@functools.lru_cache(maxsize=4)  # shared by all providers: an upstream has up to 134 MB
def _tensors(N, M, K, aligned, dtype):
    generator = np.random.default_rng(0)

    def boxes(*shape):
        sizes = generator.uniform(0.05, 0.5, (*shape, 2))
        low = generator.uniform(0, 1 - sizes)
        return np.concatenate([low, low + sizes], -1)

    shapes = ((N * M,),) * 3 if aligned else ((N, M), (N, K), (N, M, K))
    arrays = boxes(*shapes[0]), boxes(*shapes[1]), generator.uniform(-1, 1, shapes[2])
    return tuple(tf.cast(array, dtype) for array in arrays)


def _by_tape(iou_of):
    """Overlaps by `iou_of`, gradients by TensorFlow's tape."""

    def form(case):
        def compute(a, b, upstream):
            if case.mode == "forward":
                return (iou_of(case, a, b),)
            with tf.GradientTape() as tape:
                tape.watch([a, b])
                iou = iou_of(case, a, b)
            return iou, *tape.gradient(iou, (a, b), output_gradients=upstream)

        return compute

    return form


def _of_ops(impl):
    return _by_tape(lambda case, a, b: getattr(ops, case.op)(a, b, kind=case.kind, impl=impl))


def _strong_of(case, a, b):
    if case.op != "pairwise_iou":
        raise Unavailable(f"the strong form: there is none of {case.op}")
    return strong_iou.pairwise_iou(a, b, case.kind)


_strong = _by_tape(_strong_of)


def _fused_op(case):
    """The ops themselves: no checks in Python, no tape."""
    library, config = _library.load(), kernels.box_iou_config(case.kind)
    forward = getattr(library, f"yolov1_{case.op}")
    gradient = getattr(library, f"yolov1_{case.op}_grad")
    every = tf.zeros(0, tf.bool)

    def compute(a, b, upstream):
        iou = forward(a, b, every, every, config)
        if case.mode == "forward":
            return (iou,)
        return iou, *gradient(a, b, every, every, upstream, config)

    return compute


def _kernel(version):
    """A version of the kernel by itself, on one thread: no TensorFlow, no memory to make."""

    def form(case):
        op, config = _library.OPS[case.op], kernels.box_iou_config(case.kind)
        every, outputs = np.zeros(0, bool), []

        def compute(a, b, upstream):
            if not outputs:
                outputs.extend(np.empty_like(like) for like in (upstream, a, b))
            iou, *gradients = outputs
            inputs = a, b, every, every
            kernels.call(op, config, inputs, outputs=[iou], version=version)
            if case.mode == "forward":
                return (iou,)
            inputs += (upstream,)
            outputs_of_both = [*gradients, None]
            kernels.call(f"{op}Grad", config, inputs, outputs=outputs_of_both, version=version)
            return outputs

        return compute

    return form


def _noop(case):
    """As many op calls with outputs of these shapes, none of which is written."""
    op = native.noop_op()

    def compute(a, b, upstream):
        iou = op(upstream, a, tf.float32).gradient
        return (iou,) if case.mode == "forward" else (iou, op(a, b, tf.float32).gradient)

    return compute


def _fill(case):
    """The overlaps' memory, written once by TensorFlow's own op."""
    del case
    return lambda a, b, upstream: (tf.fill(upstream.shape, tf.zeros((), upstream.dtype)),)


PROVIDERS = of_op(_of_ops, _fused_op, _noop, _kernel) | {
    "eager_tf_strong": (_strong, "eager"),
    "tf_function_strong": (_strong, "graph"),
    "xla_strong": (_strong, "xla"),
    "fill_op": (_fill, "eager"),
}
TRANSFERS = ("store_non_temporal", "copy_non_temporal")


def make(name: str, case: Case) -> Callable[[], object]:
    """A function that computes the case and returns the overlaps, and the gradients if asked.

    Raises:
        Unavailable: the provider does not exist here.
    """
    form, way = PROVIDERS[name]
    return called(name, way, form(case), case.tensors())


def make_transfer(name: str, case: Case, threads: int) -> tuple[Callable[[], object], int]:
    """A store of the overlaps' size, or a copy that moves as many bytes as the case must.

    Returns:
        A function, and the stores or copies that one call of it makes.
    """
    if name == "store_non_temporal":
        return native.storer(case.overlap_bytes, threads)
    return native.copier(case.bytes_moved, True, threads)
