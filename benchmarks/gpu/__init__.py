"""The CUDA kernels, built, checked and measured in one call, without TensorFlow.

    python -m benchmarks.gpu                 # needs a GPU, nvcc, CMake, pybind11 and PyTorch
    python -m benchmarks.gpu --cuda=HOST     # the same checks of the same .cu files, without a GPU

Where they are installed, JAX and PyTorch are measured beside the kernels, CuPy launches the empty
kernel, and `--sanitize` and `--profile` run compute-sanitizer and ncu. Any check that fails is
listed, and the exit status is 1.
"""

import datetime
import importlib.util
import os
import platform
import secrets
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from absl import flags

from benchmarks import harness, targets
from yolov1.revision import git_revision

flags.disclaim_key_flags()  # --help shows what is defined here as the program's own

ORDERS = ("forward", "backward", "shuffled")  # of threads, where they run on the host
TIMEOUT = 420  # seconds of one tool


def define_flags():
    flags.DEFINE_enum("cuda", "ON", ["ON", "HOST"], "The build: for a GPU, or for this processor.")
    flags.DEFINE_integer("seed", None, "Of the checks; by default another each time.")
    flags.DEFINE_bool("small", False, "Fewer checks.")
    flags.DEFINE_bool("measure", True, "Measure behind the checks, on a GPU.")
    flags.DEFINE_bool("torch_compile", True, "Measure torch.compile too, half of the whole time.")
    flags.DEFINE_bool("sanitize", False, "Run few checks under compute-sanitizer as well.")
    flags.DEFINE_bool("profile", False, "Profile the two hot kernels with ncu as well.")
    flags.DEFINE_integer("repeats", 30, "Timed rounds, at most.", 1)
    flags.DEFINE_float("budget", 2, "Seconds for the rounds of one group.")
    flags.DEFINE_string("output", str(harness.RESULTS / "gpu.csv"), "CSV for the rows.")
    flags.DEFINE_string("build", None, "A folder that holds a build, instead of building one.")
    flags.DEFINE_string("revision", None, "Of the source, where git cannot tell.")
    flags.DEFINE_enum("only", "", ["", "bits", "hot"], "For the runs that this one starts.")
    flags.DEFINE_string("digest", None, "File for a digest of every result, to compare runs.")


# -------------------------------------------------------------------------------------- the build


def build(cuda: str) -> Path:
    """Builds the NumPy module in ``build/gpu_<cuda>``; the folder.

    Raises:
        RuntimeError: CMake or the compiler failed; with the end of what it said.
    """
    folder = harness.ROOT / "build" / f"gpu_{cuda.lower()}"
    configure = ["cmake", "-S", str(harness.ROOT), "-B", str(folder), "-DYOLOV1_TENSORFLOW=OFF"]
    configure += [f"-DYOLOV1_CUDA={cuda}", f"-DPython_EXECUTABLE={sys.executable}"]
    configure += [f"-DYOLOV1_REVISION={git_revision() or 'unknown'}"]
    if cuda == "ON":
        configure += ["-DCMAKE_CUDA_FLAGS=--threads=0"]  # the architectures side by side
    if shutil.which("ninja") and not (folder / "CMakeCache.txt").exists():
        configure += ["-G", "Ninja"]
    jobs = str(len(os.sched_getaffinity(0)))
    for command in (
        configure,
        ["cmake", "--build", str(folder), "--target", "_kernels", "--parallel", jobs],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr)[-4000:]
            raise RuntimeError(f"benchmarks.gpu: {' '.join(command)} failed:\n{said}")
    return folder


def load(folder: Path):
    """Makes the module in `folder` the one behind `yolov1.kernels`."""
    import yolov1

    (path,) = Path(folder).glob("_kernels*.so")
    spec = importlib.util.spec_from_file_location("yolov1._kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["yolov1._kernels"] = yolov1._kernels = module


def environment(revision=None) -> dict[str, str]:
    """Where a row was measured: its last columns."""

    def version(package):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return ""

    from yolov1 import kernels

    name, driver = query_gpu("name"), query_gpu("driver_version")
    return {
        "device": name or platform.processor() or platform.machine(),
        "driver": driver,
        "cuda": kernels.build_info().get("cuda", ""),
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "torch", "numpy")},
        "revision": revision or git_revision() or "unknown",
        "date": datetime.date.today().isoformat(),
    }


def query_gpu(what: str) -> str:
    """A property of the first GPU as nvidia-smi tells it, or ""."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if not done.returncode and done.stdout else ""


# ---------------------------------------------------------------------------------- parts of a run


def check(config) -> int:
    """Runs the checks; how many failed."""
    from benchmarks.gpu import checks as gpu_checks
    from benchmarks.gpu import device as gpu_device
    from benchmarks.gpu import yolo_loss as gpu_loss

    seed = secrets.randbits(31) if config.seed is None else config.seed
    checks = gpu_checks.run(gpu_device.make(config.cuda), seed, small=config.small)
    if config.cuda == "ON" and not config.only:
        checks.run("loss, inside JAX", "paper", lambda: gpu_loss.check_jax(checks))
    print("\n".join(checks.report()), flush=True)
    if config.digest:
        Path(config.digest).write_text(checks.digest())
    return len(checks.failures)


def compare_orders(config, folder) -> int:
    """The checks with the threads in each order, in processes; how many orders gave other bits."""
    digests, failed = {}, 0
    for order in ORDERS:
        file = folder / f"digest_{order}"
        file.unlink(missing_ok=True)
        done = again(config, folder, f"--digest={file}", "--only=bits", order=order)
        failed += done.returncode != 0
        digests[order] = file.read_text() if file.exists() else done.stderr[-500:]
        verdict = "same bits" if digests[order] == digests["forward"] else "OTHER BITS"
        print(f"threads {order}: {verdict}", flush=True)
    return failed + sum(digest != digests["forward"] for digest in digests.values())


def again(config, folder, *more, tool=(), order=None):
    """Runs this module once more, on a finished build, perhaps under a tool."""
    command = [*tool, sys.executable, "-m", "benchmarks.gpu", f"--cuda={config.cuda}", "--small"]
    command += [f"--build={folder}", "--nomeasure", "--seed=1", *more]
    surroundings = os.environ | ({"YOLOV1_CUDA_ORDER": order} if order else {})
    try:
        return subprocess.run(
            command,
            cwd=harness.ROOT,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took over {TIMEOUT} s")


def sanitize(config, folder) -> int:
    """memcheck and racecheck on a small run; how many of them found something."""
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).exists():
        print("compute-sanitizer was not found: it comes with the CUDA toolkit; left out.")
        return 0
    found = 0
    for what in ("memcheck", "racecheck"):
        done = again(
            config,
            folder,
            "--only=hot",
            tool=(tool, f"--tool={what}", "--error-exitcode=9"),
        )
        said = (done.stdout + done.stderr)[-1500:]
        print(f"compute-sanitizer {what}: exit {done.returncode}\n{said}", flush=True)
        found += done.returncode != 0
    return found


def profile(config, folder):
    """What ncu says of the loss and of the backward pass of the IoU."""
    tool = shutil.which("ncu") or "/usr/local/cuda/bin/ncu"
    if not Path(tool).exists():
        print("ncu was not found: it comes with the CUDA toolkit or Nsight Compute; left out.")
        return
    options = ("--clock-control", "none", "--set", "full", "--kernel-name-base", "demangled")
    options += ("--kernel-name", "regex:yolov1", "--launch-count", "12")
    done = again(config, folder, "--only=hot", tool=(tool, *options))
    print(f"ncu: exit {done.returncode}\n{done.stdout[-20000:]}{done.stderr[-1000:]}")


def hot():
    """The loss of 1024 images, the IoU of 1024 x 1024 boxes, the suppression of 64 images' boxes,
    64 photos made ready: once each, for the tools."""
    from benchmarks.gpu import box_iou as gpu_iou
    from benchmarks.gpu import device as gpu_device
    from benchmarks.gpu import load_images as gpu_images
    from benchmarks.gpu import measurements as gpu_measure
    from benchmarks.gpu import nms as gpu_nms
    from benchmarks.gpu import yolo_loss as gpu_loss
    from benchmarks.gpu.verdicts import Checks

    device = gpu_device.make(flags.FLAGS.cuda)
    images = 1024 if device.graphs else 8
    inputs = gpu_measure.loss_sets(1, images, "float32", "float32")[0]
    gpu_loss.LossCall(device, gpu_loss.LossCase(images=images), *inputs)(device.stream())
    checks = Checks(device, 1)
    size = (1024,) if device.graphs else (40,)
    gpu_iou.make_call(checks, gpu_iou.IouCase(a=size, b=size))[0](device.stream())
    images = 64 if device.graphs else 1
    for case in (gpu_nms.NmsCase(images), gpu_nms.NmsCase(1, 300, 2, "ties", rule=3)):
        gpu_nms.NmsCall(device, case, *gpu_nms.inputs(checks, case))(device.stream())
    case = gpu_images.ImagesCase(images, 448 if device.graphs else 48, place="photos")
    gpu_images.ImagesCall(device, case, *gpu_images.inputs(checks, case))(device.stream())
    device.synchronize()


def measure(config) -> int:
    """Rows into the CSV, and the table; how many groups of rows could not be measured."""
    from benchmarks.gpu import device as gpu_device
    from benchmarks.gpu import measurements as gpu_measure
    from benchmarks.gpu import timing as gpu_timing

    device = gpu_device.make(config.cuda)
    where = environment(config.revision)
    rows = gpu_measure.Rows(where, config.output, config.repeats, config.budget)
    left_out = () if config.torch_compile else ("torch_compile",)
    try:
        return gpu_measure.measure(rows, device, gpu_timing.CudaClock(device), left_out=left_out)
    finally:
        report(rows.rows)


def report(rows):
    """Prints how the rows stand to what is aimed at."""
    from benchmarks.gpu import measurements as gpu_measure

    print()
    targets.show(gpu_measure.table(rows))


def main(_):
    config = flags.FLAGS
    # PyTorch and JAX share the GPU: JAX must not take most of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    folder = Path(config.build) if config.build else build(config.cuda)
    load(folder)
    if config.only == "hot":
        return hot()
    failed = check(config)
    if config.cuda == "HOST" and config.only != "bits":
        failed += compare_orders(config, folder)
    if config.sanitize:
        failed += sanitize(config, folder)
    if config.profile:
        profile(config, folder)
    if config.measure and config.cuda == "ON" and not config.only:
        failed += measure(config)
    return 1 if failed else 0
