"""A Ray cluster, joined or started, and the program that each of its workers runs (extra ``ray``).

Ray starts workers, watches them, and starts them again; what a worker does is an ordinary program
of `children`, with a log of its own.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from absl import flags

from yolov1 import interrupts
from yolov1.extras import needed
from yolov1.files import make_folder

from . import children

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

# No figures of use to anybody else; and the Train of today.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TRAIN_V2_ENABLED": "1"}
POLL = 0.2  # seconds
SHOWN_LINES = 12  # of the log of a worker that failed
ERROR = "error: "  # what a line begins with that says why a program refuses to go on


def define(places: bool = True):
    """Defines the flags of programs that Ray may run.

    Args:
        places: whether there is another place, and so ``--on=ray``.
    """
    of = "Of --on=ray: " if places else ""
    if places:
        flags.DEFINE_enum("on", None, ["ray"], "Where it runs: a Ray cluster; by default here.")
    flags.DEFINE_string(
        "address", "", f"{of}HOST:PORT of a Ray cluster, auto; empty: one is started here."
    )
    flags.DEFINE_integer("gpus_per_worker", 0, f"{of}GPUs of each.", 0)


class WorkerFailed(Exception):
    """A worker's program ended otherwise than it should have."""


@contextlib.contextmanager
def connected(address: str, what: str, cpus: int):
    """Inside, a Ray cluster is there; gives Ray.

    Args:
        address: of one to join (``auto``: that of this machine); empty: one of this machine alone
            is started, and ended afterwards.
        what: who needs it, for the error.
        cpus: so many at least are counted by one that is started, whatever the machine has.

    Raises:
        MissingExtra: Ray is not installed.
        ConnectionError: there is no cluster at that address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)  # which Ray reads as it is imported
    ray = needed("ray", "ray", what=what)
    path = os.pathsep.join(dict.fromkeys(filter(None, [os.getcwd(), *sys.path])))
    before = signal.getsignal(signal.SIGTERM)
    own = {"include_dashboard": False, "num_cpus": max(cpus, os.cpu_count())}
    ray.init(
        address=address or "local",
        logging_level="ERROR",
        log_to_driver=False,  # what is to be shown comes by a `Desk`
        runtime_env={"env_vars": {"PYTHONPATH": path} | QUIET},
        **{} if address else own,
    )
    signal.signal(signal.SIGTERM, before)  # Ray's own ends the program at once
    try:
        yield ray
    finally:
        ray.shutdown()


class Desk:
    """Of an actor beside the driver: what it and the programs on the workers tell each other.

    Attributes:
        stop: whether the programs shall save and end.
        refused: why there is no use in starting them again; empty.
    """

    def __init__(self):
        self.stop, self.refused, self._lines = False, "", []

    def tell_to_stop(self):
        self.stop = True

    def exchange(self, lines) -> bool:
        """Takes what a program has printed, and says whether it shall stop."""
        self._lines += lines
        return self.stop

    def refuse(self, why: str):
        """Takes the error of a program that would be the same the next time; all shall stop."""
        self.stop, self.refused = True, self.refused or why

    def take(self) -> list[str]:
        """The lines since the last call, for the driver."""
        lines, self._lines = self._lines, []
        return lines

    def why(self) -> str:
        return self.refused


def new_desk(ray):
    """The handle of a `Desk` on the driver's machine: it is lost with the driver alone."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote()


def run_program(ray, desk, command, log, *, cwd, name="", shown=False) -> int:
    """Runs a program on this worker to its end, and asks it to save and end, by SIGTERM, where the
    desk says so; one that does not within `children.PATIENCE` is killed.

    Args:
        desk: the handle of a `Desk`.
        command: words.
        log: path of what it prints.
        cwd: the folder that it runs in.
        name: of the worker, for people.
        shown: whether the driver shows what it prints.

    Returns:
        Its exit status; -N of one that the signal N ended.

    Raises:
        children.Busy: another program is at the log, and does not end.
    """
    child, ends = _begin(command, log, cwd, name), None
    with open(log, encoding="utf-8", errors="replace") as file:
        file.seek(child.begins)
        while True:
            code = child.ended()
            lines = [line.rstrip("\n") for line in file]
            stop = ray.get(desk.exchange.remote(lines if shown else []))
            if code is not None:
                return code
            if stop and not ends:
                ends = time.monotonic() + children.PATIENCE
                child.process.send_signal(signal.SIGTERM)
            if ends and time.monotonic() > ends:
                child.kill()
            time.sleep(POLL)


def _begin(command, log: Path, cwd, name) -> children.Child:
    """Starts a program; one of an earlier group, which is still saving, is waited for."""
    make_folder(log.parent)
    ends = time.monotonic() + children.PATIENCE + 10
    while True:
        try:
            return children.Child(name, command, log, children.Place(0, 1, []), cwd)
        except children.Busy:
            if time.monotonic() > ends:
                raise
            time.sleep(POLL)


def most_workers(there: int, batch_size: int, parts: int) -> int:
    """How many of the workers that are there can share a batch, each its share in `parts`; all
    where none could: the training then says why."""
    fit = [n for n in range(1, there + 1) if batch_size % (n * parts) == 0]
    return max(fit, default=there)


def train_worker(job: dict):
    """What each worker of experiments.launch does: it runs experiments.train beside the others, as
    the TF_CONFIG says that Ray has set, where the batch divides by so many; else the last wait.

    Args:
        job: ``command``, the words of the training; ``folder``, the run's; ``cwd``; ``desk``;
            ``parts``, into how many one worker cuts its share of the batch, of ``batch_size``.

    Raises:
        WorkerFailed: so, and starting it again may help.
    """
    import ray
    from ray import train

    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray sets it, for Keras 2
    context, desk = train.get_context(), job["desk"]
    rank, there = context.get_world_rank(), context.get_world_size()
    size = most_workers(there, job["batch_size"], job["parts"])
    if rank >= size or ray.get(desk.exchange.remote([])):
        return
    if size < there:
        cluster = json.loads(os.environ["TF_CONFIG"])
        cluster["cluster"]["worker"] = cluster["cluster"]["worker"][:size]
        os.environ["TF_CONFIG"] = json.dumps(cluster)
    name, folder = f"worker {rank} of {size} ({ray.util.get_node_ip_address()})", job["folder"]
    command = [*job["command"], f"--output_dir={folder}", "--resume", "--strategy=multi_worker"]
    log = Path(folder) / "workers" / f"worker-{rank}.log"
    desk.exchange.remote([f"{name} begins: {log}"])
    code = run_program(ray, desk, command, log, cwd=job["cwd"], name=name, shown=not rank)
    asked = ray.get(desk.exchange.remote([]))
    if not code or (asked and (code < 0 or code in interrupts.STATUS.values())):
        return
    ended = f"signal {-code}" if code < 0 else f"exit status {code}"
    lines = children.last_lines(log, SHOWN_LINES)
    said = "\n".join([f"{name} ended with {ended} ({log}):", *(f"    {line}" for line in lines)])
    ray.get(desk.exchange.remote(said.splitlines()))
    errors = [line for line in lines if line.startswith(ERROR)]
    if not errors:
        raise WorkerFailed(said)
    ray.get(desk.refuse.remote(f"{name}: {errors[-1].removeprefix(ERROR)}"))


class Pool(children.Pool):
    """A pool on a Ray cluster: a child is a task, with as many CPUs and GPUs.

    A task that is lost with its machine is done again, up to three times: what it runs must go on
    with what is there.
    """

    def __init__(self, at_once: int, cores: int = 0, *, address="", gpus=0):
        super().__init__(at_once)
        self._address = address
        self._resources = {"num_cpus": cores or 1, "num_gpus": gpus}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        cpus = len(self._free) * self._resources["num_cpus"]
        self._ray = self._stack.enter_context(connected(self._address, "--on=ray", cpus))
        return super().__enter__()

    def __exit__(self, *error):
        with self._stack:
            super().__exit__(*error)

    def child(self, job, command, log, place):
        return Task(self._ray, job, command, log, place, self._resources)


class Task:
    """One program of a `Pool`: see `children.Child`."""

    def __init__(self, ray, job, command, log, place, resources):
        self.job, self.log, self.place, self._ray = job, log, place, ray
        self._desk = new_desk(ray)
        task = ray.remote(max_retries=3, **resources)(_run_task)
        self._result = task.remote(command, Path(log).absolute(), os.getcwd(), self._desk)

    def ended(self) -> int | None:
        if not self._ray.wait([self._result], timeout=0)[0]:
            return None
        try:
            return self._ray.get(self._result)
        except self._ray.exceptions.RayError as error:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{error}\n")
            return 1

    def stop(self):
        self._desk.tell_to_stop.remote()

    def kill(self):
        self._ray.cancel(self._result, force=True)


def _run_task(command, log, cwd, desk) -> int:
    import ray

    return run_program(ray, desk, command, log, cwd=cwd)
