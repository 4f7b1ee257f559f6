"""Data flows one way: nothing imports upwards, and importing does nothing but import."""

import ast
import os
import subprocess
import sys

import pytest

from tests.shared import ROOT

# Each may import those before it.
LAYERS = [
    *(
        "extras",
        "files",
        "interrupts",
        "fonts",
        "names",
        "option_text",
        "grid",
        "boxes",
        "revision",
        "semantics",
        "activations",
        "kernels",
    ),
    "heads",
    "darknet",
    *("data", "models"),
    *("ops", "data.pipeline"),
    *("responsible", "cell_loss", "losses", "training", "inference", "streaming", "serving"),
    *("evaluation", "microscope", "reporting", "reviewing", "tracking", "studies"),
    "doctor",
]
# What makes batches of a data set, and calls ops; the rest of `data` needs no TensorFlow.
ABOVE_OPS = {"data.pipeline": ("cache", "pipeline", "table")}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "yolov1":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("yolov1."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            yield from (p[1] for p in parts if p[0] == "yolov1" and len(p) > 1)


@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_imports_upwards(layer):
    package = ROOT / "yolov1" / layer.partition(".")[0]
    files = list(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]
    above = [package / f"{name}.py" for names in ABOVE_OPS.values() for name in names]
    files = [path for path in files if (path in above) == (layer in ABOVE_OPS)]
    assert files
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) | {"__version__", "_kernels"}
    for path in files:
        assert set(imported(path)) <= allowed, path


def test_every_part_is_in_the_list():
    parts = {p.stem for p in (ROOT / "yolov1").iterdir() if p.suffix == ".py" or p.is_dir()}
    parts = {p for p in parts if not p.startswith("_")}
    assert parts == set(LAYERS) - set(ABOVE_OPS)


def test_tests_import_no_experiment():
    """Two in one process would define a flag twice: they are called, and what they share is in
    ``experiments/lib``."""
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "experiments":
                assert {alias.name for alias in node.names} == {"lib"}, path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("experiments"):
                assert node.module.split(".")[1] == "lib", path


@pytest.mark.parametrize(
    ("begin", "given", "expected"), [("-m", "", "1"), ("-m", "0", "0"), ("-c", "", "")]
)
def test_programs_have_onednn_unless_told_otherwise(begin, given, expected):
    """TensorFlow leaves it out on many processors; who only imports is left alone."""
    name = "TF_ENABLE_ONEDNN_OPTS"
    code = "import os, sys; sys.argv = sys.argv[1:]; import experiments; "
    code += f"print(os.environ.get({name!r}, ''))"
    surroundings = {k: v for k, v in os.environ.items() if k != name} | (
        {name: given} if given else {}
    )
    command = [sys.executable, "-c", code, begin]
    assert (
        subprocess.check_output(command, cwd=ROOT, env=surroundings, text=True).strip() == expected
    )


def test_importing_the_light_parts_does_not_load_tensorflow():
    code = (
        "import sys, yolov1, yolov1.grid, yolov1.boxes, yolov1.semantics, yolov1.data, "
        "yolov1.evaluation, yolov1.darknet, yolov1.darknet.weights, yolov1.darknet.results; "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_importing_the_rest_starts_no_device_and_loads_no_extra():
    code = (
        "import yolov1.training, yolov1.ops, yolov1.inference, yolov1.streaming, yolov1.serving; "
        "import yolov1.reviewing, yolov1.studies, yolov1.tracking.tensorboard; "
        "from tensorflow.python.eager import context; "
        "import sys; extras = {'av', 'fastapi', 'starlette', 'uvicorn', 'prometheus_client', "
        "'ai_edge_litert', 'onnx', 'onnxruntime', 'tf2onnx', 'openvino', 'optuna', "
        "'mlflow'} & set(sys.modules); "
        "sys.exit(str(extras) if extras else context.context()._initialized)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
