"""The cases that `benchmarks.gpu` measures, their rows, and how they stand to what is aimed at."""

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks import harness, targets
from benchmarks.gpu import box_iou as gpu_iou
from benchmarks.gpu import load_images as gpu_images
from benchmarks.gpu import nms as gpu_nms
from benchmarks.gpu import timing as gpu_timing
from benchmarks.gpu import verdicts as gpu_verdicts
from benchmarks.gpu import yolo_loss as gpu_loss
from yolov1 import kernels
from yolov1.grid import GridSpec

GRID = GridSpec()
IMAGES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
PEERS_AT = (1, 64, 1024, 16384)  # compiling takes the most of the time
DTYPES = (("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16"))
IOUS = {
    "4096x4096": ((4096,), (4096,)),
    "8x2048x512": ((8, 2048), (8, 512)),
    "64x98x64": ((64, 98), (64, 64)),
    "16x98x20": ((16, 98), (16, 20)),
}
NMS_IMAGES = (1, 64)
PHOTOS = (1, 64, 256, 1024)
EMPTY = 'extern "C" __global__ void empty() {}'


class Rows:
    """Measures groups of timers; keeps their rows and adds them to `output` as they come."""

    def __init__(self, environment, output, repeats, budget_seconds):
        self.rows, self._environment, self._output = [], environment, Path(output)
        self._options = {"repeats": repeats, "budget_seconds": budget_seconds}

    def add(self, part, case, moved, timers, dtype="", targets_dtype=""):
        """Times ``{(provider, method): (timer, runs)}``; `moved`: bytes in and out of each run."""
        for (provider, method), seconds in gpu_timing.measure(timers, **self._options).items():
            rate = moved / np.median(seconds) / 1e9
            row = {"benchmark": "gpu", "part": part, "provider": provider, "method": method}
            row |= {"case": case, "dtype": dtype, "targets_dtype": targets_dtype}
            row |= harness.summary(seconds)
            row |= {"bytes": moved, "gb_per_s": round(rate, 1), "of_copy": ""}
            if part != "copy" and self.copy_rate():
                row["of_copy"] = round(rate / self.copy_rate(), 3)
            self.rows.append(row | self._environment)
            text = "{part:8}{provider:16}{method:7}{case:22}{dtype:9}{targets_dtype:9}"
            text += "{median_us:11.2f} us{gb_per_s:9.1f} GB/s  {of_copy}"
            print(text.format(**row), flush=True)
        harness.write_rows(self._output, self.rows[-len(timers) :])

    def copy_rate(self):
        """The device's fastest copy, GB/s of bytes read and written; None before it is measured."""
        return max((r["gb_per_s"] for r in self.rows if r["part"] == "copy"), default=None)


def measure(rows, device, clock, *, images=IMAGES, ious=IOUS, peers_at=PEERS_AT, left_out=()):
    """Everything, into `rows`; how many groups failed, each of which is said.

    Args:
        left_out: names of peers that are not measured.
    """
    groups = []
    if device.graphs:
        groups += [(copies,), (floor,)]
    for count in images:
        for dtype, targets_dtype in DTYPES:
            peers = count in peers_at and dtype == "float32"
            peers |= count == max(peers_at) and targets_dtype == "bfloat16"
            groups.append((loss, count, dtype, targets_dtype, peers, left_out))
    for name, shapes in ious.items():
        groups += [(iou, name, shapes, mode, left_out) for mode in ("forward", "backward")]
    groups += [(nms, count, left_out) for count in NMS_IMAGES]
    groups += [(photos, count, "float32", left_out) for count in PHOTOS]
    groups += [(photos, 256, dtype, left_out) for dtype in ("bfloat16", "uint8")]
    failed = 0
    for group, *arguments in groups:
        try:
            group(rows, device, clock, *arguments)
        except Exception as error:  # whatever it was, the other rows are of use
            failed += 1
            print(f"FAILED: {group.__name__} {arguments}: {gpu_timing.first_line(error)}")
    return failed


def copies(rows, device, clock):
    """Copies of 16 MB to 1 GB, each way counted."""
    torch = device.torch

    def buffer(size):
        return torch.empty(size, dtype=torch.uint8, device="cuda")

    for megabytes in (16, 64, 256, 1024):
        size = megabytes << 20
        count = gpu_timing.sets_for(2 * size, clock.cache_bytes)
        pairs = [(buffer(size), buffer(size)) for _ in range(count)]
        launches = [lambda stream, a=a, b=b: b.copy_(a) for a, b in pairs]
        timers = {("torch", "graph"): (clock.replayed(launches), count)}
        rows.add("copy", f"{megabytes} MB", 2 * size, timers)


def floor(rows, device, clock):
    """A kernel that does nothing."""
    try:
        import cupy
    except ImportError:
        print("left out: the empty kernel, which needs CuPy")
        return
    empty = cupy.RawKernel(EMPTY, "empty")

    def launch(stream):
        with cupy.cuda.ExternalStream(stream):
            empty((1,), (32,), ())

    timers = {("cupy", "graph"): (clock.replayed([launch] * 256), 256)}
    rows.add("floor", "empty kernel", 0, timers)


def loss(rows, device, clock, images, dtype, targets_dtype, with_peers, left_out):
    """Loss, terms and gradient of N images with an object in 6 % of the cells."""
    case = gpu_loss.LossCase(images=images, dtype=dtype, targets=targets_dtype)
    size, targets_size = (gpu_verdicts.DTYPES[d].itemsize for d in (dtype, targets_dtype))
    cells = images * GRID.cells
    moved = cells * (2 * size * GRID.channels + targets_size * GRID.target_channels) + 24 * images
    count = gpu_timing.sets_for(moved, clock.cache_bytes)
    sets = loss_sets(count, images, dtype, targets_dtype)
    timers = {}
    for version in kernels.yolo_loss_versions("cuda"):
        one = dataclasses.replace(case, version=version)
        calls = [gpu_loss.LossCall(device, one, *sets[k % len(sets)]) for k in range(count)]
        timers[version, "graph"] = clock.replayed(calls), count
    if with_peers:
        timers |= gpu_timing.loss_peers(clock, GRID, sets, device.put, left_out)
    rows.add("loss", f"N={images}", moved, timers, dtype, targets_dtype)


def loss_sets(count, images, dtype, targets_dtype):
    """NumPy predictions and targets, `count` pairs, of which some are one where they are large."""
    generator, sets = np.random.default_rng(0), []
    different = max(1, min(count, 4096 // images, 32))
    for _ in range(different):
        predictions = generator.random((images, *GRID.prediction_shape), np.float32)
        truth = generator.random((images, *GRID.target_shape), np.float32)
        truth[..., GRID.target_object_channel] = 1
        truth *= generator.random((images, GRID.S, GRID.S, 1)) < 0.06
        arrays = predictions, truth
        names = dtype, targets_dtype
        sets.append(
            tuple(x.astype(gpu_verdicts.DTYPES[n]) for x, n in zip(arrays, names, strict=True))
        )
    # The same values in other memory do as well.
    return [sets[k % different] for k in range(count)]


def iou(rows, device, clock, name, shapes, mode, left_out):
    """Pairwise IoU of corner boxes, float32."""
    case = gpu_iou.IouCase("pairwise_iou", *shapes)
    generator = np.random.default_rng(0)
    a, b = (gpu_iou.boxes(generator, shape, case) for shape in shapes)
    pairs = int(np.prod(shapes[0])) * shapes[1][-1]
    upstream = generator.uniform(-1, 1, (*shapes[0], shapes[1][-1])).astype(np.float32)
    moved = 4 * pairs + (1 if mode == "forward" else 2) * (a.nbytes + b.nbytes)
    count = gpu_timing.sets_for(moved, clock.cache_bytes)
    timers = {}
    for version in kernels.box_iou_versions("cuda"):
        one = dataclasses.replace(case, version=version)
        calls = [gpu_iou.IouCall(device, one, a, b, (None, None), upstream) for _ in range(count)]
        launches = [getattr(call, mode) for call in calls]
        timers[version, "graph"] = clock.replayed(launches), count
    arguments = (a, b) if mode == "forward" else (a, b, upstream)
    timers |= gpu_timing.iou_peers(clock, [arguments] * count, device.put, mode, left_out)
    rows.add("iou", f"{name} {mode}", moved, timers, "float32")


def nms(rows, device, clock, images, left_out=()):
    """Suppression of the paper's 98 boxes and 20 classes; all but a thousandth are candidates."""
    for rule in (0, *gpu_nms.SOFT):
        kind = f" {gpu_nms.RULES[rule]['suppression']}" if rule else ""
        case = gpu_nms.NmsCase(images, rule=rule)
        arrays = gpu_nms.random_case(0, images, case.boxes, case.classes)
        moved = sum(x.nbytes for x in arrays) + images * (24 * 300 + 4)
        count = min(gpu_timing.sets_for(moved, clock.cache_bytes), 32)
        calls = [gpu_nms.NmsCall(device, case, *arrays) for _ in range(count)]
        timers = {("fused", "graph"): (clock.replayed(calls), count)}
        if not kind:
            timers |= gpu_timing.nms_peers(clock, [arrays] * count, device.put, left_out)
        rows.add("nms", f"N={images}{kind}", moved, timers, "float32")


def photos(rows, device, clock, images, dtype, left_out=()):
    """500 x 375 pixels to 448 x 448 with the paper's augmentation; PyTorch resizes alone."""
    case = gpu_images.ImagesCase(images, 448, dtype, "photos", "paper")
    arrays = gpu_images.make_inputs(np.random.default_rng(0), case)
    result = images * case.size**2 * 3 * np.dtype(dtype).itemsize
    moved = gpu_images.shown_bytes(*arrays[2:4]) + result
    count = min(gpu_timing.sets_for(moved, clock.cache_bytes), 32)
    calls = [gpu_images.ImagesCall(device, case, *arrays) for _ in range(count)]
    timers = {("fused", "graph"): (clock.replayed(calls), count)}
    if dtype == "float32":
        pixels = arrays[0].reshape(images, *arrays[2][0], 3)
        timers |= gpu_timing.resize_peers(
            clock, [(pixels,)] * count, case.size, device.put, left_out
        )
    rows.add("images", f"N={images} {dtype}", moved, timers, dtype)


# ----------------------------------------------------------------------------- what is aimed at


def table(rows):
    """(case, target, measured, verdict) of every target, as text."""

    def find(part, case, providers, field="median_us", dtypes=("float32", "float32"), method=None):
        found = [
            row[field]
            for row in rows
            if row["part"] == part
            and row["case"] == case
            and row["provider"] in providers
            and (part != "loss" or (row["dtype"], row["targets_dtype"]) == dtypes)
            and method in (None, row["method"])
            and row[field] != ""
        ]
        return (max if field == "of_copy" else min)(found, default=None)

    loss = {r["provider"] for r in rows if r["part"] == "loss" and r["method"] == "graph"}
    iou = {r["provider"] for r in rows if r["part"] == "iou" and r["method"] == "graph"}

    def rules():
        for images in (1, 64, 256):
            yield (
                f"loss, N={images}, us of a replay",
                find("loss", f"N={images}", loss),
                "at most",
                4,
            )
        for images in (4096, 16384):
            case = f"N={images}"
            yield (
                f"loss, {case}, of the copy",
                find("loss", case, loss, "of_copy"),
                "at least",
                0.85,
            )
            full = find("loss", case, loss)
            for kinds, target in ((DTYPES[1], 0.72), (DTYPES[2], 0.6)):
                narrow = find("loss", case, loss, dtypes=kinds)
                label = f"loss, {case}, {kinds[0]}, targets {kinds[1]} / float32"
                yield label, targets.ratio(narrow, full), "at most", target
        for images in (64, 16384):
            case = f"N={images}"
            xla, own = find("loss", case, {"xla"}), find("loss", case, loss)
            yield f"loss, {case}, XLA / fused", targets.ratio(xla, own), "at least", 3
            inside = find("loss", case, {"fused_jax"}, method="chain")
            xla = find("loss", case, {"xla"}, method="chain")
            yield f"loss, {case}, XLA / fused in XLA", targets.ratio(xla, inside), "", None
        for mode, target in (("forward", 18), ("backward", 25)):
            case = f"4096x4096 {mode}"
            yield f"IoU, {case}, us", find("iou", case, iou), "at most", target
        for case in (f"{name} {mode}" for name in IOUS for mode in ("forward", "backward")):
            both = find("iou", case, {"xla"}), find("iou", case, iou)
            yield f"IoU, {case}, XLA / fused", targets.ratio(*both), "", None
        for images in PHOTOS[1:]:
            case = f"N={images} float32"
            share = find("images", case, {"fused"}, "of_copy")
            yield f"images, {case}, of the copy", share, "at least", 0.85
            both = find("images", case, {"torch"}), find("images", case, {"fused"})
            yield f"images, {case}, PyTorch's resize / fused", targets.ratio(*both), "", None

    return targets.table(rules())
