"""Trains on several processes and machines, by Ray, and goes on where one of them is lost.

    python -m experiments.launch --workers=4 --output_dir=runs/mine -- --dataset=voc:PATH
    python -m experiments.launch --workers=8 --min_workers=4 --gpus_per_worker=1 --address=auto \\
        --output_dir=/shared/runs/mine -- --dataset=voc:/shared/voc --batch_size=256

What stands after ``--`` are flags of experiments.train, which runs on every worker with
``--strategy=multi_worker``. Without --address a Ray of this machine alone is started, and ended
with the launch. OUTPUT_DIR is an ordinary run, in a folder that all machines see; or each has one
of its own, and --storage is a place that all reach. Where a worker or a machine is lost, all start
again from the last checkpoint, with as many workers as there is room for (at least --min_workers),
--max_failures times at most. Ctrl-C and SIGTERM let the workers save after the same step; the same
command with --resume goes on. What worker K prints is in OUTPUT_DIR/workers/worker-K.log, the lines
of worker 0 are shown. See docs/scale.md.
"""

import concurrent.futures
import os
import shlex
import sys
import time

from absl import app, flags

from yolov1 import interrupts, training
from yolov1.extras import needed
from yolov1.files import make_folder

from .lib import children, cluster, trials
from .lib import flags as experiment_flags

WORKERS = flags.DEFINE_integer("workers", 2, "Processes that train together.", 1)
MIN_WORKERS = flags.DEFINE_integer(
    "min_workers", 0, "As few of them may go on after a loss; 0: as many as --workers.", 0
)
CPUS = flags.DEFINE_integer(
    "cpus_per_worker", 1, "CPUs that Ray counts for each; it does not bind it to them.", 1
)
cluster.define(places=False)
MAX_FAILURES = flags.DEFINE_integer(
    "max_failures", 3, "Losses of a worker after which it is given up; -1: none.", -1
)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Run directory, which every machine sees, or has for itself with --storage."
)
STORAGE = flags.DEFINE_string(
    "storage", "", "A path or URI, such as s3://BUCKET/RUN, that the run is copied to as well."
)
RESUME = flags.DEFINE_boolean("resume", False, "Go on with what is in --output_dir.")
DEBUG = flags.DEFINE_boolean("debug", False, "A tiny training, on two workers.")

# Of the command that goes on.
GIVEN_AGAIN = (
    *("workers", "min_workers", "gpus_per_worker", "cpus_per_worker", "address", "max_failures"),
    "storage",
)
# Flags of experiments.train that are not to be given after the --, and what there is instead.
GIVEN = {
    "output_dir": "Give --output_dir before the --",
    "resume": "Give --resume before the --",
    "strategy": "It is multi_worker",
    "storage": "Give --storage before the --",
}


def main(argv):
    words = argv[1:] + ["--debug"] * DEBUG.value
    config = config_of(words)
    run = training.RunDirectory.for_config(config)
    if OUTPUT_DIR.value:
        run = training.RunDirectory(OUTPUT_DIR.value)
    with experiment_flags.user_errors():
        storage = training.Storage(STORAGE.value) if STORAGE.value else None
    run.require_free(RESUME.value)
    if storage:
        storage.require_free(RESUME.value)
    words += [f"--storage={STORAGE.value}"] * bool(storage)
    folder = make_folder(run.path.absolute())
    with (folder / "launch.lock").open("a") as file:
        try:
            children.lock(file)
        except children.Busy:
            raise experiment_flags.UserError(
                f"{folder} is being trained by another launch. Wait for its end, or give another "
                "--output_dir."
            ) from None
        if storage:
            storage.fetch(run)  # here, before several workers would
        if run.has_checkpoint:
            config, _, _ = run.read_config()  # whose flags a run goes on with
        stop = launch(config, words, folder)
    if storage:
        storage.fetch(run)
    again = [flags.FLAGS[name] for name in GIVEN_AGAIN]
    given = [f"--{flag.name}={flag.value}" for flag in again if flag.present]
    where = shlex.join([*given, f"--output_dir={run.path}", "--resume"])
    if not run.has_checkpoint:  # what the workers train is known by their flags alone
        where += " --debug" * DEBUG.value + f" -- {shlex.join(argv[1:])}" * bool(argv[1:])
    if stop:
        print(f"\n{interrupts.said(stop)}. Go on with: python -m experiments.launch {where}")
        return interrupts.exit_status(stop)
    if not (run / "summary.json").exists():
        print(f"\nNot at its end. Go on with: python -m experiments.launch {where}")
        return 0
    print(f"results:  {run / 'summary.json'}")
    return 0


def config_of(words):
    """What the workers train.

    Raises:
        app.UsageError: they would refuse a flag; or it is the launch's to give.
    """
    given = trials.parse(words)
    for name, instead in GIVEN.items():
        if given[name].present:
            raise app.UsageError(f"--{name} is given to each worker. {instead}.")
    return trials.config_of(words)


def launch(config, words, folder):
    """Trains to the end; gives what stopped it before, a KeyboardInterrupt, or None.

    Raises:
        UserError: workers failed more often than they may; they cannot share the batch.
    """
    workers, gpus = WORKERS.value, flags.FLAGS.gpus_per_worker
    parts = max(1, gpus) * config.subdivisions
    if config.batch_size % (workers * parts):
        raise experiment_flags.UserError(
            f"--batch_size={config.batch_size} must be a multiple of {workers * parts}: "
            f"{workers} workers, times their GPUs, times --subdivisions."
        )
    resources = {"CPU": CPUS.value} | ({"GPU": gpus} if gpus else {})
    cpus = workers * CPUS.value
    with cluster.connected(flags.FLAGS.address, "experiments.launch", cpus) as ray:
        train, tensorflow = needed(
            "ray", "ray.train", "ray.train.tensorflow", what="experiments.launch"
        )
        desk = cluster.new_desk(ray)
        few = MIN_WORKERS.value or workers
        trainer = tensorflow.TensorflowTrainer(
            cluster.train_worker,
            train_loop_config={
                "command": [sys.executable, "-m", trials.TRAIN, *words],
                "folder": str(folder),
                "cwd": os.getcwd(),
                "desk": desk,
                "batch_size": config.batch_size,
                "parts": parts,
            },
            scaling_config=train.ScalingConfig(
                num_workers=workers if few >= workers else (few, workers),
                use_gpu=bool(gpus),
                resources_per_worker=resources,
            ),
            run_config=train.RunConfig(
                name="ray",
                storage_path=str(folder / "workers"),
                failure_config=train.FailureConfig(max_failures=MAX_FAILURES.value),
            ),
        )
        return fit(ray, train, trainer, desk)


def fit(ray, train, trainer, desk):
    """Waits for the end of the workers, shows what they say, and passes signals on to them."""
    told = False
    # In a thread, because in the main one it would take Ctrl-C for itself.
    pool = concurrent.futures.ThreadPoolExecutor(1)
    with interrupts.Interrupts() as signals:
        fitted = pool.submit(trainer.fit)
        pool.shutdown(wait=False)  # a second Ctrl-C does not wait for it
        while not fitted.done():
            time.sleep(cluster.POLL)
            show(ray, desk)
            if signals.came and not told:
                told = True
                print(f"\n{interrupts.said(signals.came)}: the workers save.", flush=True)
                ray.get(desk.tell_to_stop.remote())
        show(ray, desk)
        if refused := ray.get(desk.why.remote()):
            raise experiment_flags.UserError(refused)
        try:
            fitted.result()
        except train.TrainingFailedError as error:
            raise experiment_flags.UserError(f"the workers failed: {error}") from error
    return signals.came


def show(ray, desk):
    for line in ray.get(desk.take.remote()):
        print(line, flush=True)


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
