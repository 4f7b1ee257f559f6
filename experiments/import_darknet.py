"""Makes a run of Darknet's files: a network that detect, evaluate and train take as their own.

    python -m experiments.import_darknet --cfg=yolov1.cfg --weights=yolov1.weights \\
        --names=voc.names --output_dir=runs/yolov1
    python -m experiments.detect --checkpoint=runs/yolov1 --images=photos
    python -m experiments.evaluate --checkpoint=runs/yolov1 --dataset=voc:VOCdevkit/VOC2007 \\
        --eval_split=test
    python -m experiments.train --init=runs/yolov1 --model=darknet:yolov1.cfg --dataset=voc:PATH

The folder holds config.json, network.cfg (a copy), checkpoints/last, darknet.json (what the files
were, and the layers), model.keras where the weights take at most 256 MB (it would be as large as
the checkpoint, and needs its size in memory once more), summary.json and report.html. It remembers
that Darknet resizes pictures corner on corner. A file that does not fit leaves nothing behind.
"""

import contextlib
import math
import os
import resource
import shutil
import time
import warnings

import numpy as np
import tensorflow as tf
from absl import flags

from yolov1 import darknet, reporting, training
from yolov1.darknet.assembly import name_of
from yolov1.darknet.weights import WeightsFile
from yolov1.data.formats.voc import VOC_CLASSES
from yolov1.data.formats.yolo_settings import Settings
from yolov1.files import make_folder, user_path
from yolov1.names import read_names

from .lib import common
from .lib import flags as experiment_flags

CFG = flags.DEFINE_string("cfg", None, "Darknet's cfg file of the network.", required=True)
WEIGHTS = flags.DEFINE_string("weights", None, "Its weights file, of any age.", required=True)
NAMES = flags.DEFINE_string(
    "names",
    "",
    "File with a class name a line; empty: those of --data, else VOC's where there "
    "are 20, else 'class 0' and so on.",
)
DATA = flags.DEFINE_string(
    "data", "", "Darknet's .data file: class names, and what the run is measured on."
)
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Run directory.", required=True)
PARTIAL = flags.DEFINE_boolean(
    "partial", False, "The file may end before the last layer, as one of `darknet partial` does."
)
TRAILING = flags.DEFINE_boolean("trailing", False, "Bytes behind the last layer are ignored.")
BATCH_NORM = flags.DEFINE_enum(
    "batch_norm",
    "cpu",
    ("cpu", "gpu"),
    "Which of Darknet's builds to follow: cpu: x / (sqrt(v) + 1e-6); gpu: x / sqrt(v + 1e-5).",
)
DEBUG = flags.DEFINE_boolean("debug", False, "Without model.keras and report.html.")

PIECE = 1 << 22  # weights that are looked at at a time
LARGEST_KERAS = 256_000_000  # bytes of weights


def main(argv):
    del argv
    start = time.perf_counter()
    output = user_path(OUTPUT_DIR.value).absolute()
    require_free(output)
    with experiment_flags.user_errors(), options_are_flags():
        cfg = darknet.read_cfg(user_path(CFG.value))
        plan = darknet.plan(cfg)
        config = configuration(cfg, output)
        file = WeightsFile(user_path(WEIGHTS.value), plan)
        file.check(PARTIAL.value, TRAILING.value)
        names, whence = class_names(plan)
        if len(names) != plan.classes:
            raise experiment_flags.UserError(
                f"{whence} has {len(names)} names, and {cfg.source} has {plan.classes} classes: "
                "expected a name for each class."
            )
        for remark in plan.remarks:
            print(f"remark: {remark}")
        print(f"classes: {whence}")
        with warnings.catch_warnings(record=True) as said:
            model = darknet.load(
                plan,
                file.path,
                partial=PARTIAL.value,
                trailing=TRAILING.value,
                batch_norm=BATCH_NORM.value,
            )
        doubts = [str(w.message) for w in said if issubclass(w.category, UserWarning)]
        for doubt in doubts:
            print(f"warning: {doubt}")
    layers = describe_layers(plan, file, model)
    description = {
        "cfg": str(cfg.source),
        "weights": str(file.path),
        "kind": file.kind,
        "version": file.version,
        "seen": file.seen,
        "bytes": file.path.stat().st_size,
        "remarks": [*plan.remarks, *doubts],
        "layers": layers,
    }
    # Under another name until all is there, so that no half of a run is taken for one.
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write_run(partial, config, plan, names, model, description)
        summary = {
            "parameters": plan.floats,
            "seen": file.seen,
            "classes": len(names),
            "layers": len(layers),
            "import_seconds": time.perf_counter() - start,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        training.write_json(partial / "summary.json", summary)
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not DEBUG.value:
        with common.drawing(output / "report.html"):
            reporting.write_report(output)
    print_layers(layers)
    print(
        f"{plan.floats:,} numbers of {len(layers)} layers (weights of kind {file.kind}, "
        f"{file.seen:,} images seen) in {summary['import_seconds']:.1f} s, "
        f"{summary['peak_memory_bytes'] / 1e6:,.0f} MB of memory at most; written to {output}"
    )


@contextlib.contextmanager
def options_are_flags():
    """Inside, an error that names an option of `darknet.load` names the flag of this program."""
    try:
        yield
    except darknet.DarknetError as error:
        text = str(error)
        for option in ("partial", "trailing"):
            text = text.replace(f"{option}=True", f"--{option}")
        raise experiment_flags.UserError(text) from error


def require_free(output):
    """Raises FileExistsError where something is there that a run would be written over."""
    if training.RunDirectory(output).has_checkpoint:
        raise FileExistsError(f"{output} already holds a run. Give another --output_dir.")
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise FileExistsError(
            f"{output} is there, expected nothing or an empty folder. Give another --output_dir."
        )


def class_names(plan):
    """(names, a sentence's beginning on where they are from)."""
    if NAMES.value:
        path = user_path(NAMES.value)
        return read_names(path), str(path)
    if DATA.value:
        settings = Settings(user_path(DATA.value))
        if settings.names is not None:
            return settings.names, str(settings.file)
    if plan.classes == len(VOC_CLASSES):
        return VOC_CLASSES, "VOC's list (no --names and no --data)"
    names = tuple(f"class {k}" for k in range(plan.classes))
    return names, f"a list of {plan.classes} numbers (no --names and no --data)"


def configuration(cfg, output):
    """The `TrainConfig` of a network of Darknet's."""
    choice = f"darknet:{cfg.source}"
    fixed, defaults = training.cfg_files.fields({"model": choice})
    data = {"dataset": "", "train_split": "", "eval_split": ""}
    if DATA.value:
        settings = Settings(user_path(DATA.value))
        data["dataset"] = f"yolo:{settings.file.absolute()}"
        data["train_split"] = "train" if "train" in settings.splits() else ""
        data["eval_split"] = "valid" if "valid" in settings.splits() else ""
    net = cfg.net
    return training.TrainConfig(
        model=choice,
        model_options="" if BATCH_NORM.value == "cpu" else f"batch_norm={BATCH_NORM.value}",
        batch_size=max(net.get("batch", 1), 1),
        learning_rate=max(net.get("learning_rate", 0.001), 1e-12),
        optimizer="darknet",
        weight_decay=net.get("decay", 0.0001),
        schedule="constant",
        ema=0.0,
        output_dir=str(output),
        **data,
        **defaults,
        **fixed,
    )


def write_run(folder, config, plan, names, model, description):
    """All files of the run but summary.json and report.html."""
    run = training.RunDirectory(make_folder(folder))
    config = training.cfg_files.keep_copies(config, run.path)
    run.write_config(config, plan.grid, names)
    training.write_json(run / "darknet.json", description)
    training.save_weights(run, model)
    if not DEBUG.value:
        if 4 * plan.floats <= LARGEST_KERAS:
            model.save(run / "model.keras")
        else:
            print(
                f"model.keras is left out: {4 * plan.floats / 1e6:,.0f} MB once more; "
                "yolov1.training.load_run gives the Keras model."
            )


def describe_layers(plan, file, model) -> list[dict]:
    """What the report shows of each layer: shapes, how many numbers, and the range of its weights.

    ``low``, ``high`` and ``deviation`` are those of the kernel, None of a layer without one and
    of one that is not finite. ``from_file`` says whether the weights file had its numbers.
    """
    read = {layer.index for layer in file.complete}
    kernels = {layer.name: layer.kernel for layer in model.layers if hasattr(layer, "kernel")}
    rows = []
    for layer in plan.layers:
        rows.append(
            {
                "index": layer.index,
                "section": layer.kind,
                "line": layer.section.line,
                "options": dict(layer.section.options),
                "output": list(layer.output),
                "parameters": layer.floats,
                "from_file": layer.index in read,
                **value_range(kernels.get(name_of(layer.index, layer.kind))),
            }
        )
    return rows


def value_range(kernel) -> dict:
    """Lowest and highest value and standard deviation, without a copy of half a gigabyte."""
    if kernel is None:
        return dict.fromkeys(("low", "high", "deviation"))
    rows, *others = kernel.shape
    at_once = max(1, PIECE // math.prod(others))
    low, high, total, squares = math.inf, -math.inf, 0.0, 0.0
    for start in range(0, rows, at_once):
        # Any other way to read a variable may copy it as a whole.
        piece = kernel.value.sparse_read(tf.range(start, min(start + at_once, rows))).numpy()
        low, high = min(low, piece.min()), max(high, piece.max())
        total += piece.sum(dtype=np.float64)
        squares += float(np.vdot(piece, piece))
    if not math.isfinite(squares):
        return value_range(None)
    n = math.prod(kernel.shape)
    deviation = math.sqrt(max(squares / n - (total / n) ** 2, 0))
    return {"low": float(low), "high": float(high), "deviation": deviation}


def print_layers(layers):
    """The table of the layers, as Darknet prints one."""
    for row in layers:
        c, h, w = (*row["output"], 1, 1)[:3]
        values = f"{row['low']:10.3g} .. {row['high']:.3g}" if row["low"] is not None else ""
        print(
            f"{row['index']:4d} {row['section']:<14} {w:4d} x{h:4d} x{c:5d} "
            f"{row['parameters']:>13,}{values}"
        )


if __name__ == "__main__":
    experiment_flags.run(main)
