"""Trains both detectors of `bench_detectors` for so many CPU-seconds, and goes on where it was
stopped."""

import json
import shutil
import sys
from pathlib import Path

from absl import app

from benchmarks.detectors_programs import Failed, read_record, run
from experiments.lib import trials
from yolov1 import training
from yolov1.studies.results import FINISHED, Trial
from yolov1.training import write_json

MARGIN = 0.98  # of the CPU-seconds, which an epoch takes now more, now less of
CALIBRATED = (1, 4)  # epochs of the two trainings that say what one takes
DRIVER = Path(__file__).with_name("detectors_peer.py")
NETWORK = "yolov8n.yaml"  # from scratch
# What the others' defaults would do besides: load weights, draw, and measure after every epoch.
OPTIONS = {
    **{"batch": 16, "workers": 2, "device": "cpu", "cache": "ram"},
    **{"pretrained": False, "amp": False, "val": False, "plots": False, "verbose": False},
}

# Flags of `experiments.train` that are not to be given, and what there is in their place.
GIVEN = {name: trials.OWN[name] for name in ("seed", "resume")} | {
    "output_dir": "Give --output_dir before the --",
    "epochs": "Give --epochs or --cpu_seconds before the --",
}


class Ours:
    """How ours is trained.

    Args:
        words: flags of `experiments.train`, but for seed, epochs and place.
    """

    name = "ours"

    def __init__(self, words):
        # No evaluation while it trains; flags that are given win.
        self.words = ["--eval_every=0", *words]
        given = trials.parse(self.words)
        for name, instead in GIVEN.items():
            if given[name].present:
                raise app.UsageError(f"--{name} is given to each training. {instead}.")
        self._config = trials.config_of(self.words)

    def command(self, folder, seed, epochs):
        words = [*self.words, f"--seed={seed}", f"--epochs={epochs}"]
        words += [f"--output_dir={folder}", "--resume"]
        return [sys.executable, "-m", "experiments.train", *words]

    def finished(self, folder, seed, epochs) -> bool:
        """Whether the run is there; raises `Failed` where it is another one."""
        words = self.command(folder, seed, epochs)[3:]
        config, path = trials.config_of(words), training.RunDirectory(folder)
        own = path.read_config()[0] if path.has_checkpoint else config
        if own.epochs != epochs:
            raise _other(folder, f"{own.epochs} epochs", f"{epochs}")
        return trials.look(trials.Job(Trial(folder.name, seed, "", {}), path, config, words)) == (
            FINISHED
        )

    def result(self, folder):
        return folder

    def known(self, place):
        """Folder, seed and epochs of a finished training."""
        config = training.RunDirectory(place).read_config()[0]
        return place, config.seed, config.epochs

    def serve(self, place, image_size, threads):
        """The command of a process that answers with a detector."""
        return [sys.executable, "-m", "benchmarks.detectors_ours", place]

    def says(self) -> dict:
        """All that decides what an epoch takes."""
        return self._config.to_dict()


class Peer:
    """How the other one is trained; see `benchmarks.detectors_peer`."""

    name = "peer"

    def __init__(self, python, files, image_size, options):
        self.python, self._settings = python, files.folder.with_name("peer_settings")
        self._options = OPTIONS | {"data": str(files.folder / "data.yaml"), "imgsz": image_size}
        self._options |= options

    def _job(self, folder, seed, epochs) -> dict:
        own = {"seed": seed, "epochs": epochs}
        places = {"folder": str(folder), "settings": str(self._settings)}
        return {"network": NETWORK, "options": self._options | own, **places}

    def command(self, folder, seed, epochs):
        job = folder.with_name(f"{folder.name}.job.json")
        job.parent.mkdir(parents=True, exist_ok=True)
        self._settings.mkdir(parents=True, exist_ok=True)
        write_json(job, self._job(folder, seed, epochs))
        return [self.python, "-I", DRIVER, "train", job]

    def finished(self, folder, seed, epochs) -> bool:
        """Whether its weights are there; raises `Failed` where they are of another training."""
        job, wanted = folder.with_name(f"{folder.name}.job.json"), self._job(folder, seed, epochs)
        if job.exists() and folder.exists():
            both = [options["options"] for options in (json.loads(job.read_text()), wanted)]
            changed = [k for k in both[0] | both[1] if both[0].get(k) != both[1].get(k)]
            if changed:
                raise _other(folder, *({k: options.get(k) for k in changed} for options in both))
        return (folder / "summary.json").exists()

    def result(self, folder):
        return folder / "weights" / "last.pt"

    def known(self, place):
        folder = place.parents[1]
        done = folder / "summary.json"  # not of weights from elsewhere
        options = json.loads(done.read_text())["job"]["options"] if done.exists() else {}
        return folder, options.get("seed"), options.get("epochs")

    def serve(self, weights, image_size, threads):
        self._settings.mkdir(parents=True, exist_ok=True)
        return [self.python, "-I", DRIVER, "serve", weights, image_size, threads, self._settings]

    def says(self) -> dict:
        return self._options


def _other(folder, there, wanted) -> Failed:
    return Failed(
        f"{folder} holds another training: {there}, expected {wanted}. Give another --output_dir, "
        "or move it away; nothing is overwritten."
    )


def train(trainer, place: Path, seed: int, epochs: int):
    """The place of a finished detector, as `serve` takes it, trained where it is not there."""
    folder = place / trainer.name / f"seed-{seed}"
    if trainer.finished(folder, seed, epochs):
        print(f"{folder}: is there")
    else:
        print(f"{folder}: {epochs} epochs, log {folder}.log", flush=True)
        command = trainer.command(folder, seed, epochs)
        run(command, folder.with_name(f"{folder.name}.log"), record_of(folder))
    return trainer.result(folder)


def record_of(folder: Path) -> Path:
    """Where the CPU-seconds of a training are, of each try."""
    return folder.with_name(f"{folder.name}.cpu.json")


def epochs_within(trainer, place: Path, cpu_seconds: float) -> int:
    """The epochs of a training that takes at most so many CPU-seconds in all: its start and its
    end too, as two short trainings say it, which are kept."""
    file = place / "calibration" / f"{trainer.name}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if known.get("of") != trainer.says():
        taken = [_short(trainer, file.parent / trainer.name, epochs) for epochs in CALIBRATED]
        epoch = (taken[1] - taken[0]) / (CALIBRATED[1] - CALIBRATED[0])
        known = {"of": trainer.says(), "epoch": epoch, "fixed": taken[0] - CALIBRATED[0] * epoch}
        write_json(file, known)
    return epochs_of(known["epoch"], known["fixed"], cpu_seconds, trainer.name)


def epochs_of(epoch: float, fixed: float, cpu_seconds: float, name="a training") -> int:
    """How many epochs fit, with a margin.

    Raises:
        Failed: none does.
    """
    fixed = max(0.0, fixed)
    if epoch <= 0 or MARGIN * cpu_seconds < fixed + epoch:
        raise Failed(
            f"{name} takes {fixed:.0f} CPU-seconds and {epoch:.1f} an epoch, expected less than "
            f"--cpu_seconds={cpu_seconds:g}. Give more, or a number of epochs."
        )
    epochs = int((MARGIN * cpu_seconds - fixed) / epoch)
    print(
        f"{name}: {fixed:.0f} CPU-seconds and {epoch:.2f} an epoch: {epochs} epochs in "
        f"{cpu_seconds:g}"
    )
    return epochs


def _short(trainer, place, epochs) -> float:
    shutil.rmtree(place, ignore_errors=True)  # what was interrupted says nothing
    folder = place / f"epochs-{epochs}"
    record = folder.with_name("cpu.json")
    run(trainer.command(folder, 0, epochs), folder.with_name("log"), record)
    return sum(read_record(record))
