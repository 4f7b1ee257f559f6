"""What `bench_yolo_loss` compares: each provider computes the loss of one batch, with its gradient.

In one table: whose code, and how it is called (eagerly, in a `tf.function`, compiled by XLA).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import native, posts_loss, strong_tf, workloads
from benchmarks.providers import called, of_op, tried
from benchmarks.runner import unlisted
from yolov1 import kernels, ops
from yolov1.grid import GridSpec
from yolov1.ops import _library
from yolov1.semantics import TERMS

GRID = GridSpec()


@dataclasses.dataclass(frozen=True)
class Case:
    """What is computed.

    Attributes:
        images: N.
        mode: ``"full"``, with the gradient, or ``"forward"``.
        objects: share of the cells that hold an object.
        dtype: of predictions and gradient.
        targets_dtype: of the targets.
        workload, step: the file, and its step, that predictions and targets come from; "": they are
            random.
    """

    images: int
    mode: str = "full"
    objects: float = 0.06
    dtype: str = "float32"
    targets_dtype: str = "float32"
    workload: str = unlisted("")
    step: int = unlisted(0)

    @classmethod
    def captured(cls, workload: str, step: int, mode: str = "full") -> "Case":
        """A step of a captured workload, in its own dtypes."""
        predictions, targets = workloads.load(workload).steps[step]
        share = workloads.object_share(workload, step)
        names = predictions.dtype.name, targets.dtype.name
        return cls(len(predictions), mode, share, *names, workload, step)

    @property
    def grid(self) -> GridSpec:
        return workloads.load(self.workload).grid if self.workload else GRID

    @property
    def bytes_moved(self) -> int:
        """What must be read and written at least; 24 bytes an image of loss and terms left out."""
        item, target_item = tf.as_dtype(self.dtype).size, tf.as_dtype(self.targets_dtype).size
        outputs = self.grid.flat_size * item * (2 if self.mode == "full" else 1)
        return self.images * (outputs + self.grid.cells * self.grid.target_channels * target_item)

    def tensors(self):
        """Predictions ``[N, S, S, D]`` and targets ``[N, S, S, C + 5]``."""
        if self.workload:
            return tuple(map(tf.constant, workloads.load(self.workload).steps[self.step]))
        generator = np.random.default_rng(0)
        predictions = generator.random((self.images, *GRID.prediction_shape), np.float32)
        targets = generator.random((self.images, *GRID.target_shape), np.float32)
        has_object = generator.random((self.images, GRID.S, GRID.S)) < self.objects
        targets[..., GRID.target_object_channel] = 1
        targets *= has_object[..., None]
        return tf.cast(predictions, self.dtype), tf.cast(targets, self.targets_dtype)


def _by_tape(loss_of):
    """Loss by `loss_of`, gradient by TensorFlow's tape."""

    def form(case):
        def compute(p, t):
            if case.mode == "forward":
                return (loss_of(p, t, case.grid),)
            with tf.GradientTape() as tape:
                tape.watch(p)
                loss = loss_of(p, t, case.grid)
            return loss, tape.gradient(loss, p)

        return compute

    return form


def _of_ops(impl):
    return _by_tape(lambda p, t, grid: ops.yolo_loss(p, t, grid=grid, impl=impl).loss)


def _strong(function):
    def form(case):
        if case.mode == "forward":
            return lambda p, t: function(p, t, case.grid, gradient=False)[:1]
        return lambda p, t: function(p, t, case.grid)

    return form


def _fused_op(case):
    """The op itself: no checks in Python, no tape."""
    op = _library.load().yolov1_yolo_loss
    config = kernels.yolo_loss_config(case.grid, strong_tf.PAPER)
    gradient = case.mode == "full"
    return lambda p, t: op(p, t, config, gradient, tf.float32)


def _kernel(version):
    """A version of the kernel by itself, on one thread: no TensorFlow, no memory to make."""

    def form(case):
        config = kernels.yolo_loss_config(case.grid, strong_tf.PAPER)
        outputs = []

        def compute(p, t):
            if not outputs:
                sums = np.empty(len(p), np.float32), np.empty((len(p), len(TERMS)), np.float32)
                gradient = np.empty_like(p) if case.mode == "full" else None
                outputs.extend((*sums, gradient, None))
            kernels.call("Yolov1>YoloLoss", config, (p, t), outputs=outputs, version=version)
            return outputs[0], outputs[2]

        return compute

    return form


def _noop(case):
    del case
    op = native.noop_op()
    return lambda p, t: op(p, t, tf.float32)


def _outputs_only(case):
    """Memory for the results, and no more."""
    del case

    def empty(shape, dtype):
        return tf.raw_ops.Empty(shape=shape, dtype=dtype, init=False)

    return lambda p, t: (empty(p.shape[:1], tf.float32), empty(p.shape, p.dtype))


PROVIDERS = of_op(_of_ops, _fused_op, _noop, _kernel) | {
    "eager_tf_strong": (_strong(strong_tf.sparse), "eager"),
    "tf_function_strong": (_strong(strong_tf.sparse), "graph"),
    "xla_strong": (_strong(strong_tf.dense), "xla"),
    "posts_keras_voc": (_by_tape(posts_loss.keras_voc), "graph"),
    "posts_tf2_person": (_by_tape(posts_loss.tf2_person), "graph"),
    "outputs_only": (_outputs_only, "graph"),
}
TRANSFERS = ("copy", "copy_non_temporal")


def make(name: str, case: Case) -> Callable[[], object]:
    """A function that computes the case and returns loss and gradient.

    Raises:
        Unavailable: the provider does not exist here.
    """
    form, way = PROVIDERS[name]
    return called(name, way, form(case), case.tensors())


def make_copies(name: str, case: Case, copies: int) -> Callable[[], object]:
    """A function that computes the case `copies` times in one graph and sums all results up.

    What must not be cheaper here than in a model: each copy has its own inputs (which share
    memory), so that no work is shared; and the sums are taken outside of what XLA compiles, so that
    it must write each gradient down. They cost the same for all; "outputs_only" is that cost.

    Raises:
        Unavailable: the provider does not exist here.
        ValueError: the provider is an eager one.
    """
    form, way = PROVIDERS[name]
    if way not in ("graph", "xla"):
        raise ValueError(f"make_copies: {name} is called by {way}, expected one with a graph.")
    inputs = [[tf.identity(tensor) for tensor in case.tensors()] for _ in range(copies)]
    compute = form(case)

    def all_copies():
        return [compute(p, t) for p, t in inputs]

    if way == "xla":
        all_copies = tf.function(all_copies, jit_compile=True, autograph=False)

    @tf.function(autograph=False)
    def consumed():
        return tf.add_n([tf.reduce_sum(x) for copy in all_copies() for x in (copy[0], copy[-1])])

    return tried(name, consumed)


def make_transfer(name: str, case: Case, threads: int) -> tuple[Callable[[], object], int]:
    """A copy of as many bytes as the case moves; and the copies that one call makes."""
    return native.copier(case.bytes_moved, name == "copy_non_temporal", threads)
