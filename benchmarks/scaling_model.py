"""What many GPUs would cost: a calculation from what was measured on one, and stated speeds.

A step takes ``compute + sum``. `compute` is what a step takes on one GPU with the same images of
its own; the sum of the gradients is a ring all-reduce (Patarasuk and Yuan, 2009) in which each of n
GPUs sends ``2 (n - 1) / n`` times the gradients' bytes over its slowest link, in ``2 (n - 1)``
messages one after another:

    sum = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency

It is the worse case twice: nothing of the sum is taken to overlap with the backward pass, and there
are better ways than one ring once n is large. Weak scaling: each GPU keeps its batch.
"""

import csv

from benchmarks import harness

LATENCY = 5e-6  # seconds a message, within a machine and between two; an assumption
PER_MACHINE = 8
GPUS = (8, 16, 64, 256, 512)
# Bytes a second from each machine to the next, all its network cards together: nominal.
LINKS = {"8 x 400 Gbit/s": 400e9, "400 Gbit/s": 50e9, "100 Gbit/s": 12.5e9}
# Within a machine, in one direction; half of the 900 GB/s of NVLink that NVIDIA states for an H100.
NVLINK = 450e9

# Name -> (case and mode of results/gpu_tensorflow.csv, one H100; images of a step; parameters, with
# 20 and 6 classes; side of the input).
MEASURED = {
    "paper, 448 px": ("paper 448 px batch 64 float32", "graph", 64, 271_703_550, 448),
    "laptop, 112 px": ("laptop 112 px batch 64 float32", "jit", 64, 767_152, 112),
}
# Of results/input_pipeline.csv: photographs of 500 x 375 from their files, and from kept pixels.
INPUT = ("ours_paper", "ours_paper_cached")


def sum_seconds(gpus: int, size: float, bandwidth: float) -> float:
    """Seconds of an all-reduce of `size` bytes over a ring with the slowest link's `bandwidth`."""
    messages = 2 * (gpus - 1)
    return messages / gpus * size / bandwidth + messages * LATENCY


def efficiency(gpus: int, compute: float, size: float, link: float) -> float:
    """The share of a step that is no sum."""
    bandwidth = min(NVLINK, link) if gpus > PER_MACHINE else NVLINK
    return compute / (compute + sum_seconds(gpus, size, bandwidth))


def measured(name: str) -> tuple[float, int]:
    """(seconds of a step on one GPU, bytes of the gradients in float32)."""
    case, mode, images, parameters, _ = MEASURED[name]
    with (harness.RESULTS / "gpu_tensorflow.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["case"] == case and r["mode"] == mode]
    return images / float(rows[-1]["fused"]), 4 * parameters


def cores(provider: str, image_size: int, images_per_second: float) -> float:
    """Cores that make so many inputs a second."""
    wanted = provider, str(image_size)
    with (harness.RESULTS / "input_pipeline.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["provider"], r["image_size"]) == wanted]
    return images_per_second * float(rows[-1]["cpu_ms_per_image"]) / 1e3


def table() -> str:
    """The table of docs/scale.md, in Markdown."""
    lines = ["| network | between machines | " + " | ".join(f"{n} GPUs" for n in GPUS) + " |"]
    lines.append("|" + "---|" * (len(GPUS) + 2))
    for name in MEASURED:
        compute, size = measured(name)
        for link, bandwidth in LINKS.items():
            shares = [efficiency(n, compute, size, bandwidth) for n in GPUS]
            cells = " | ".join(f"{share:.0%}" for share in shares)
            lines.append(f"| {name} | {link} | {cells} |")
    lines.append("")
    for name in MEASURED:
        compute, size = measured(name)
        *_, images, _, side = MEASURED[name]
        files, pixels = (cores(provider, side, images / compute) for provider in INPUT)
        lines.append(
            f"- {name}: {images / compute:.0f} images/s a GPU, {1e3 * compute:.1f} ms a step of "
            f"{images}; {size / 1e6:.0f} MB of gradients; input for a GPU: {files:.1f} cores from "
            f"files, {pixels:.1f} from kept pixels."
        )
    return "\n".join(lines)
