"""Checks an installation and prints a block to paste into a bug report.

    python -m yolov1.doctor

Exit code 0: everything that should work does; 1: something does not, and the last lines say what to
do about it.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata

PACKAGES = ("tensorflow", "keras", "numpy", "protobuf", "yolov1")
TOLERANCE = 1e-5  # of the largest value, fused against reference in float32
ONEDNN_OFF = "off here; in the experiments on, and for your own: export TF_ENABLE_ONEDNN_OPTS=1"


def environment() -> list[tuple[str, str]]:
    """(name, value) of the machine and the installed packages."""
    rows = [
        ("platform", platform.platform()),
        ("processor", f"{platform.machine()}, {os.cpu_count()} CPUs"),
        ("python", platform.python_version()),
    ]
    for package in PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, "not installed"))
    return rows


def build(problems: list[str]) -> list[tuple[str, str]]:
    """What the native libraries were built from; adds to `problems` if they are missing."""
    from yolov1 import kernels

    try:
        info = kernels.build_info()
    except ImportError as error:
        problems.append(str(error))
        return [("native module", "missing")]
    changed = kernels.compare_sources(info)
    problems.extend([changed] if changed else [])
    return [(f"built: {name}", str(value) or "none") for name, value in info.items()]


def driver() -> list[tuple[str, str]]:
    """The NVIDIA driver and GPUs of this machine, if there are any."""
    if not shutil.which("nvidia-smi"):
        return [("GPU", "none (no nvidia-smi)")]
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):  # a driver that hangs is worth a report, too
        return [("GPU", "nvidia-smi failed")]
    lines = answer.stdout.strip().splitlines() if answer.returncode == 0 else []
    return [("GPU, driver", line) for line in lines] or [("GPU", "nvidia-smi failed")]


def tensorflow_ops(problems: list[str]) -> list[tuple[str, str]]:
    """Whether TensorFlow imports, the op library fits it, and the ops agree with the reference."""
    try:
        import tensorflow as tf
    except ImportError as error:
        problems.append(
            f"TensorFlow cannot be imported ({error}); run: pip install 'tensorflow~=2.21.0'"
        )
        return []
    from yolov1 import ops
    from yolov1.training.run_directory import onednn

    rows = [
        ("tensorflow ABI", f"C++11 {int(tf.sysconfig.CXX11_ABI_FLAG)}"),
        ("tensorflow CUDA", str(tf.sysconfig.get_build_info().get("cuda_version", "none"))),
        ("oneDNN", "on" if onednn() else ONEDNN_OFF),
        ("devices", ", ".join(device.name for device in tf.config.list_logical_devices())),
        ("fused ops", json.dumps(ops.available()) if ops.available() else "none"),
    ]
    try:
        ops.load()
    except ops.LibraryUnavailable as error:
        problems.append(str(error))
        return rows
    on_gpu = tf.config.list_logical_devices("GPU") and "GPU" in ops.available()["yolo_loss"]
    for device in ("CPU", "GPU") if on_gpu else ("CPU",):
        with tf.device(f"{device}:0"):
            deviation = self_test()
        passed = deviation <= TOLERANCE
        verdict = f"{'passed' if passed else 'FAILED'} on the {device}, deviation {deviation:.1e}"
        rows.append(("op self-test", verdict))
        if not passed:
            problems.append(
                f"A fused op differs from the reference on the {device}. Use impl='reference' and "
                "report this."
            )
    return rows


def self_test() -> float:
    """Largest deviation of the fused loss and pairwise IoU, value and gradient, from the reference:
    of the largest number of each result. NaN where a result has one."""
    import numpy as np
    import tensorflow as tf

    from yolov1 import ops
    from yolov1.semantics import PRESETS

    predictions, targets, grid = _loss_inputs()
    boxes = predictions[..., grid.box_channels.start : grid.box_channels.start + 4]
    boxes = tf.reshape(boxes, [len(boxes), -1, 4])

    def loss(impl, semantics):
        options = dict(grid=grid, semantics=semantics, impl=impl)
        return predictions, lambda: ops.yolo_loss(predictions, targets, **options).loss

    def overlap(impl, kind):
        options = dict(kind=kind, box_format="cxcywh", impl=impl)
        return boxes, lambda: ops.pairwise_iou(boxes, boxes[:1], **options)

    cases = [(loss, semantics) for semantics in PRESETS]
    cases += [(overlap, kind) for kind in ("iou", "giou", "diou", "ciou")]
    deviations = []
    for case, choice in cases:
        results = []
        for impl in ("fused", "reference"):
            source, compute = case(impl, choice)
            with tf.GradientTape() as tape:
                tape.watch(source)
                value = compute()
            results.append((value.numpy(), tape.gradient(value, source).numpy()))
        for fused, reference in zip(*results, strict=True):
            deviations.append(np.abs(fused - reference).max() / np.abs(reference).max())
    return float(np.max(deviations))  # Python's max loses a NaN


def _loss_inputs():
    """Predictions and targets of four images, and their grid."""
    import numpy as np
    import tensorflow as tf

    from yolov1.grid import GridSpec

    grid, generator = GridSpec(), np.random.default_rng(0)
    predictions = tf.constant(generator.uniform(0.05, 1, (4, *grid.prediction_shape)), tf.float32)
    targets = generator.uniform(0.05, 1, (4, *grid.target_shape))
    targets[..., grid.target_object_channel] = generator.random((4, grid.S, grid.S)) < 0.3
    return predictions, tf.constant(targets, tf.float32), grid


def main() -> int:
    problems: list[str] = []
    rows = environment() + build(problems) + driver() + tensorflow_ops(problems)
    print("----- yolov1 doctor: paste this block into a bug report -----")
    for name, value in rows:
        print(f"{name + ':':<28}{value}")
    print(f"{'verdict:':<28}{'problems found' if problems else 'all well'}")
    print("-" * 61)
    for problem in problems:
        print(f"* {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
