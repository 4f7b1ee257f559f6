"""A Ray cluster, joined or started, and the program that each of its workers runs (extra ``ray``).

Ray starts workers, watches them, and starts them again; what a worker does is an ordinary program
of `children`, with a log of its own.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from yolov1.extras import needed
from yolov1.files import make_folder
from yolov1.training import interrupts

from . import children

# No figures of use to anybody else, and every line of every worker as it is.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_TRAIN_V2_ENABLED": "1"}
POLL = 0.2  # seconds
SHOWN_LINES = 12  # of the log of a worker that failed


class WorkerFailed(Exception):
    """A worker's program ended otherwise than it should have."""


@contextlib.contextmanager
def connected(address: str, what: str, **resources):
    """Inside, a Ray cluster is there; gives Ray.

    Args:
        address: of one to join (``auto``: that of this machine); empty: one of this machine alone
            is started, and ended afterwards.
        what: who needs it, for the error.
        resources: ``num_cpus`` and the like, of one that is started.

    Raises:
        MissingExtra: Ray is not installed.
        ConnectionError: there is no cluster at that address.
    """
    ray = needed("ray", "ray", what=what)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    path = os.pathsep.join(dict.fromkeys(filter(None, [os.getcwd(), *sys.path])))
    before = signal.getsignal(signal.SIGTERM)
    ray.init(
        address=address or "local",
        include_dashboard=None if address else False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": path} | QUIET},
        **{} if address else resources,
    )
    signal.signal(signal.SIGTERM, before)  # Ray's own ends the program at once
    try:
        yield ray
    finally:
        ray.shutdown()


class Notice:
    """Of an actor that says whether programs shall stop."""

    def __init__(self):
        self.stop = False

    def tell(self, stop: bool):
        self.stop = stop

    def asked(self) -> bool:
        return self.stop


def run_program(ray, notice, command, log, *, cwd, name="", say=None) -> int:
    """Runs a program on this worker to its end, and tells it of a notice by SIGTERM.

    Args:
        notice: the handle of a `Notice`.
        command: words.
        log: path of what it prints.
        cwd: the folder that it runs in.
        name: of the worker, for people.
        say: function of each line that it prints; None: of none.

    Returns:
        Its exit status; -N of one that the signal N ended.

    Raises:
        children.Busy: another program is at the log, and does not end.
    """
    child, told = _begin(command, log, cwd, name), False
    with open(log, encoding="utf-8", errors="replace") as lines:
        lines.seek(child.begins)
        while True:
            code = child.ended()
            for line in lines:
                if say:
                    say(line.rstrip("\n"))
            if code is not None:
                return code
            if not told and ray.get(notice.asked.remote()):
                told = True
                child.process.send_signal(signal.SIGTERM)
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


def train_worker(job: dict):
    """What each worker of experiments.launch does: it runs experiments.train beside the others, as
    the TF_CONFIG says that Ray has set.

    Args:
        job: ``command``, the words of the training; ``folder``, the run's; ``cwd``; ``notice``.
    """
    import ray
    from ray import train

    context = train.get_context()
    rank, host = context.get_world_rank(), ray.util.get_node_ip_address()
    name, folder = f"worker {rank} of {context.get_world_size()} ({host})", Path(job["folder"])
    command = [*job["command"], f"--output_dir={folder}", "--resume", "--strategy=multi_worker"]
    log = folder / "workers" / f"worker-{rank}.log"
    say = None if rank else lambda line: print(line, flush=True)
    code = run_program(ray, job["notice"], command, log, cwd=job["cwd"], name=name, say=say)
    stopped = code == interrupts.STATUS[signal.SIGTERM] and ray.get(job["notice"].asked.remote())
    if code and not stopped:
        ended = f"signal {-code}" if code < 0 else f"exit status {code}"
        said = "\n".join(f"    {line}" for line in children.last_lines(log, SHOWN_LINES))
        raise WorkerFailed(f"{name} ended with {ended} ({log}):\n{said}")


class Pool(children.Pool):
    """A pool on a Ray cluster: a child is a task, with as many CPUs and GPUs.

    A task that is lost with its machine is done again, up to three times: what it runs must go on
    with what is there.
    """

    def __init__(self, at_once: int, cores: int = 0, *, address="", gpus=0):
        super().__init__(at_once)
        self._at_once, self._address = at_once, address
        self._resources = {"num_cpus": cores or 1, "num_gpus": gpus}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        cpus = max(self._at_once * self._resources["num_cpus"], os.cpu_count())
        self._ray = self._stack.enter_context(connected(self._address, "--on=ray", num_cpus=cpus))
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
        self._notice = ray.remote(num_cpus=0)(Notice).remote()
        task = ray.remote(max_retries=3, **resources)(_run_task)
        self._result = task.remote(command, Path(log).absolute(), os.getcwd(), self._notice)

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
        self._notice.tell.remote(True)

    def kill(self):
        self._ray.cancel(self._result, force=True)


def _run_task(command, log, cwd, notice) -> int:
    import ray

    return run_program(ray, notice, command, log, cwd=cwd)
