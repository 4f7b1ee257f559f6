"""The trials of a study: what each is given, what of it is there already, and how they are run."""

import collections
import dataclasses
import difflib
import shlex
import sys
import time

from absl import app, flags

from yolov1 import models, training
from yolov1.files import make_folder
from yolov1.studies import plan
from yolov1.studies.results import BEGUN, FAILED, FINISHED, Trial, read_trial

from . import children, common, recipes
from . import flags as experiment_flags
from .flags import UserError

TRAIN, STUDY = (f"{__package__.rpartition('.')[0]}.{name}" for name in ("train", "study"))
# What the study gives, and what there is to say in its place.
OWN = {
    "seed": "Give --seeds before the --",
    "output_dir": "Give the study's --output_dir before the --",
    "resume": "Leave it out: what is there is always gone on with",
}
SHOWN_LINES = 5  # of the log of one that failed


def parse(words) -> flags.FlagValues:
    """The flags of ``python -m experiments.train WORDS``.

    Raises:
        app.UsageError: it would refuse one.
    """
    values = flags.FlagValues()
    experiment_flags.define(flag_values=values)
    recipes.define(values)
    try:
        rest = values(["train", *words])
    except flags.Error as error:
        raise app.UsageError(f"of experiments.train: {error}") from error
    if len(rest) > 1:
        raise app.UsageError(f"unknown argument {rest[1]!r}; a flag is --NAME=VALUE.")
    return values


def config_of(words) -> training.TrainConfig:
    """The configuration that ``python -m experiments.train WORDS`` would train.

    Raises:
        app.UsageError: it would refuse it.
    """
    values = parse(words)
    config = experiment_flags.config_from_flags(flag_values=values)
    with experiment_flags.user_errors():
        models.check_options(config.model, training.parse_options(config.model_options))
    if not config.fork:
        return config
    given = {name: name for name in values if values[name].present}
    given |= recipes.given(config, values)
    return experiment_flags.forked_config(config, given, say=lambda line: None)


def default_measure(words, seed: int) -> str:
    """The figure that decides where none is named; the seed is one of the study's, of which alone
    there need be what ``{seed}`` names."""
    config = config_of(plan.of_seed(words, seed))
    return {"detect": "map_area", "classify": "accuracy"}[config.task]


def kinds() -> dict[str, type]:
    """Flag of experiments.train -> the type of its values."""
    found = {field.name: type(field.default) for field in dataclasses.fields(training.TrainConfig)}
    return found | {"recipe": str}


def recipes_of(rows, words) -> dict[str, str]:
    """The recipes of trials with the flags `words`, by name, as the flags that they stand for."""
    names = [recipes.named(parse(plan.of_seed(words, 0))), *(t.flags.get("recipe") for t in rows)]
    return {name: recipes.text(name) for name in dict.fromkeys(filter(None, names))}


def require_varied(names, words):
    """Refuses flags that a study cannot vary, and those that are given for all trials, too.

    Raises:
        app.UsageError: so.
    """
    given = parse(plan.of_seed(words, 0))
    for name, instead in OWN.items():
        if given[name].present or name in names:
            raise app.UsageError(f"--{name} is the study's to give to each trial. {instead}.")
    for name in names:
        if name not in kinds():
            close = difflib.get_close_matches(name, kinds())
            meant = f" Did you mean {' or '.join(close)}?" if close else ""
            raise app.UsageError(f"{name!r} is no flag of experiments.train.{meant}")
        if given[name].present:
            raise app.UsageError(f"--{name} is varied, and given after the -- too: leave one out.")


@dataclasses.dataclass
class Job:
    """A trial and how it is trained.

    Attributes:
        trial: what the study's results say of it.
        run: its `RunDirectory`.
        config: what it is trained with.
        words: the flags that say so.
        log: what it prints.
    """

    trial: Trial
    run: training.RunDirectory
    config: training.TrainConfig
    words: list[str]

    @property
    def log(self):
        return self.run.path.with_name(f"{self.run.path.name}.log")

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", TRAIN, *self.words]

    @property
    def name(self) -> str:
        return f"{self.trial.variant} seed {self.trial.seed}"


def make_job(output, variant: plan.Variant, seed: int, words) -> Job:
    """The job of one variant and one seed.

    Args:
        output: the study's folder.
        words: the flags of every trial.

    Raises:
        app.UsageError: `experiments.train` would refuse it.
    """
    run = training.RunDirectory(output / variant.folder / f"seed-{seed}")
    words = [*plan.of_seed(words, seed), *variant.words(seed)]
    words += [f"--seed={seed}", f"--output_dir={run.path}", "--resume"]
    config = config_of(words)
    if not config.dataset:
        raise app.UsageError("--dataset is missing; see python -m experiments.train --help.")
    return Job(
        Trial(
            variant.name,
            seed,
            str(run.path.relative_to(output)),
            dict(variant.flags),
            command=f"python -m {TRAIN} {shlex.join(words)}",
        ),
        run,
        config,
        words,
    )


def require_different(jobs):
    """Refuses two variants that train the same.

    Raises:
        app.UsageError: so.
    """
    seen = {}
    for job in jobs:
        values = job.config.to_dict() | {"output_dir": ""}
        # Whatever words say so.
        values |= {"semantics": job.config.loss_semantics(), "semantics_options": ""}
        augmentation = training.cfg_files.augmentation(job.config)
        values |= {"augment": augmentation, "augment_options": ""}
        values["model_options"] = training.parse_options(job.config.model_options)
        key = repr(sorted(values.items()))
        if key in seen:
            raise app.UsageError(
                f"the variants {seen[key]!r} and {job.trial.variant!r} are the same configuration: "
                "leave one out."
            )
        seen[key] = job.trial.variant


def require_data(jobs):
    """Opens each data set that the jobs name once, before hours of training on others.

    Raises:
        UserError: one cannot be opened.
    """
    seen = set()
    for job in jobs:
        config = job.config
        splits = (config.train_split, config.eval_split)
        for split in splits:
            key = (config.dataset, split, config.classes, config.bad_examples)
            if key not in seen:
                seen.add(key)
                common.open_split(config, split)
        if not (config.fork or job.run.has_checkpoint):
            training.require_start(config)


# ------------------------------------------------------------------ what is there already


def look(job: Job) -> str:
    """Whether a job's run is ``finished``, or ``begun``: not there, or not all of it.

    Raises:
        UserError: a run of another configuration is there.
    """
    run = job.run
    if not (run.has_checkpoint or (run / "summary.json").exists()):
        return BEGUN
    own, _, _ = run.read_config()
    for name in compared(job.trial.flags):
        here, wanted = getattr(own, name), getattr(job.config, name)
        if here == wanted or (
            name in training.cfg_files.COPIES and training.cfg_files.same(wanted, here, run.path)
        ):
            continue
        raise UserError(
            f"{run.path} holds a run of another configuration: --{name} is {here!r} there, and "
            f"{wanted!r} in this study. Give another --output_dir, or move that run away; nothing "
            "is overwritten."
        )
    done = run.read_json("summary.json").get("epochs") == job.config.epochs
    return FINISHED if done else BEGUN


def read_all(jobs):
    """Fills in what is there of them already.

    Raises:
        UserError: as `look`.
    """
    for job in jobs:
        job.trial.state = look(job)
        if job.trial.state == FINISHED:
            read_trial(job.trial, job.run)


def compared(varied) -> list[str]:
    """The fields by which a run is the one that a study wants: all that its numbers depend on, and
    those that are varied."""
    free = {*experiment_flags.MAY_CHANGE} - {*experiment_flags.DATA, "epochs", *varied}
    fields = dataclasses.fields(training.TrainConfig)
    return [field.name for field in fields if field.name not in free]


# ------------------------------------------------------------------ running


def train_all(jobs, at_once: int, cores: int, measure: str, pool_of=children.Pool):
    """Trains what is not finished, so many at once, each on so many cores (0: all); fills the
    trials' states, and figures.

    Args:
        pool_of: class of where: `children.Pool`, or what has its methods.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came; those that ran have saved what they had.
    """
    waiting = collections.deque(job for job in jobs if job.trial.state != FINISHED)
    counter = Counter(len(waiting), measure)
    if not waiting:
        return
    with pool_of(min(at_once, len(waiting)), cores) as pool:
        while waiting or pool.running:
            for _ in range(len(waiting)):
                if not pool.free:
                    break
                job = waiting.popleft()
                if not start(pool, job, counter):
                    waiting.append(job)
            for child, code in pool.ended():
                finish(child, code)
                counter.ended(child.job)
            pool.pause()


def start(pool, job: Job, counter) -> bool:
    """Starts a job, where it is nobody else's at present."""
    make_folder(job.run.path.parent)
    try:
        pool.start(job, job.command, job.log)
    except children.Busy:
        counter.waits(job)
        return False
    counter.started(job)
    return True


def finish(child, code: int):
    """Reads what a job that has ended left."""
    job = child.job
    job.trial.state = look(job) if code == 0 else FAILED
    if job.trial.state == FINISHED:
        job.trial.error = []
        read_trial(job.trial, job.run)
        return
    job.trial.state = FAILED
    ended = f"signal {-code}" if code < 0 else f"exit status {code}"
    job.trial.error = [*children.last_lines(job.log, SHOWN_LINES), f"({ended}; {job.log})"]


class Counter:
    """A line on the terminal for each job that begins, and that ends."""

    def __init__(self, jobs: int, measure: str):
        self._jobs, self._measure, self._begun, self._waiting = jobs, measure, 0, set()
        self._since = {}

    def started(self, job):
        self._begun += 1
        self._since[job.name] = time.monotonic()
        on = " (goes on)" if job.run.has_checkpoint else ""
        print(f"[{self._begun}/{self._jobs}] {job.name}{on}: {job.log}", flush=True)

    def waits(self, job):
        if job.name not in self._waiting:
            self._waiting.add(job.name)
            print(f"{job.name}: another program is at it; waiting for its end.", flush=True)

    def ended(self, job):
        trial, seconds = job.trial, time.monotonic() - self._since[job.name]
        said = f"{trial.state} after {seconds:.0f} s"
        if self._measure in trial.figures:
            said += f", {self._measure} {trial.figures[self._measure]:.4f}"
        print(f"{job.name}: {said}", *trial.error, sep="\n    ", flush=True)
