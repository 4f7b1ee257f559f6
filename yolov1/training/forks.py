"""A run that goes on from a checkpoint of another one: the same state, the same random numbers."""

from yolov1.training import cfg_files
from yolov1.training.checkpoint_files import CheckpointFiles
from yolov1.training.config import TrainConfig
from yolov1.training.digests import read_digests, write_digests
from yolov1.training.run_directory import RunDirectory, WrongRun


def fork_files(config: TrainConfig) -> CheckpointFiles:
    """Where the run that ``config.fork`` names has the checkpoint of its step.

    Raises:
        FileNotFoundError: there is no run.
        WrongRun: it has no such checkpoint, or a damaged one; says which there are.
    """
    path, step = config.forked_from()
    run = RunDirectory(path)
    run.read_config()
    if (run / "darknet.json").exists():
        raise WrongRun(
            f"--fork={config.fork}: {run.path} was not trained here, so that there is nothing to "
            f"go on with. Start from its weights with --init={run.path}."
        )
    folders = [CheckpointFiles(run / "checkpoints" / name, keep=0) for name in ("kept", "last")]
    for files in folders:
        if step in files.steps():
            fault = files.damage(step)
            if fault:
                raise WrongRun(f"--fork={config.fork}: {fault}.")
            return files
    there = sorted({k for files in folders for k in files.steps()})
    raise WrongRun(
        f"--fork={config.fork}: {run.path} has no checkpoint of step {step}, expected one of "
        f"{', '.join(map(str, there)) or '(none)'}. --keep_every=STEPS keeps more of them."
    )


def take_fork(config: TrainConfig, directory: RunDirectory):
    """Puts what a fork starts with into its directory: the checkpoint, the figures up to it, and
    the best weights, where they are of before it.

    Raises:
        FileNotFoundError, WrongRun: as `fork_files`.
    """
    path, step = config.forked_from()
    files, run = fork_files(config), RunDirectory(path)
    rows = [row for row in run.read_metrics() if int(row["step"]) <= step]
    if rows:
        directory.write_metrics(rows)
    write_digests(directory, (row for row in read_digests(run) if int(row["step"]) < step))
    best = CheckpointFiles(run / "checkpoints" / "best", keep=1)
    if any(k <= step for k in best.steps()):
        mine = CheckpointFiles(directory / "checkpoints" / "best", keep=1)
        mine.take(best, max(best.steps()))
    for name in ("kept", "last"):  # the last one makes it a run that can be resumed
        CheckpointFiles(directory / "checkpoints" / name, keep=0).take(files, step)


def describe_fork(config: TrainConfig, folder) -> dict:
    """What ``config.json`` of a fork says of where it comes from: run, step and what was changed,
    field -> [before, now]."""
    path, step = config.forked_from()
    run = RunDirectory(path)
    values = run.config_at(step).to_dict(), config.to_dict()
    # Of cfg files the words: both runs call their copies by the same names.
    words = [dict(v) for v in values]
    for name in cfg_files.COPIES:
        for found, place in zip(words, (run.path, folder), strict=True):
            found[name] = cfg_files.read(found[name], place) or found[name]
    changed = {
        name: [values[0][name], values[1][name]]
        for name in words[0]
        if name not in ("fork", "output_dir", "resume") and words[0][name] != words[1][name]
    }
    return {"run": str(run.path), "step": step, "changed": changed}
