"""``--search=optuna``: the values of a study's flags are looked for, instead of all being tried.

Everything that is decided stands in ``optuna.journal`` in the study's folder, and every trial is
a run of its own, so that a search can be stopped anywhere. A value is drawn by a generator that
knows the trial's number and what the trials before it gave, nothing else: one after another
(--parallel=1) the same search always tries the same.
"""

import dataclasses
import math
import statistics as means
import warnings
from collections import deque

from yolov1 import extras
from yolov1.interrupts import Interrupts
from yolov1.studies import plan
from yolov1.studies.results import BEGUN, FAILED, FINISHED, LESS, PRUNED, read_curve

from . import children, common, trials
from .flags import UserError

JOURNAL = "optuna.journal"


def space_of(vary: dict) -> dict:
    """Flag -> `plan.Range`, or the texts to choose from.

    Raises:
        ValueError: a range of what is no number, or no range.
    """
    kinds = trials.kinds()
    return {name: plan.parse_range(name, values, kinds[name]) for name, values in vary.items()}


def jobs_of_values(output, space, seeds, words) -> list:
    """A job for each value of each flag, and the ends of its range, taken alone.

    Raises:
        app.UsageError: `experiments.train` would refuse one.
    """
    ends = {n: [v.low, v.high] if isinstance(v, plan.Range) else v for n, v in space.items()}
    alone = [((name, _text(value)),) for name, values in ends.items() for value in values]
    return [
        trials.make_job(output, plan.Variant(flags, "trial"), seeds[0], words) for flags in alone
    ]


def _text(value) -> str:
    return value if isinstance(value, str) else repr(value)


@dataclasses.dataclass
class Attempt:
    """One point of the space.

    Attributes:
        number: of Optuna's trial.
        trial: the latter.
        flags: what is tried.
        jobs: one for each seed; none where `experiments.train` refuses the combination.
        state, value: as of `results.Trial`, and the mean of the measure.
        error: why there are no jobs.
    """

    number: int
    trial: object
    flags: dict
    jobs: list
    state: str = BEGUN
    value: float | None = None
    error: str = ""

    @property
    def name(self) -> str:
        return f"trial-{self.number:03d}"


class Search:
    """A search, and where it stands.

    Args:
        output: the study's folder.
        space, seeds, words, measure: what is tried, and what decides.

    Raises:
        MissingExtra: Optuna is not installed.
        UserError: the folder holds another search.
    """

    def __init__(self, output, space, seeds, words, measure):
        self.optuna = extras.needed("search", "optuna", what="--search=optuna")
        self.output, self.space, self.seeds = output, space, seeds
        self.words, self.measure = words, measure
        optuna = self.optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        common.results_folder(output)
        journal = optuna.storages.journal.JournalFileBackend(str(output / JOURNAL))
        with Interrupts() as interrupts:  # see `children.Pool`
            self.study = optuna.create_study(
                study_name="study",
                storage=optuna.storages.JournalStorage(journal),
                direction="minimize" if measure in LESS else "maximize",
                pruner=optuna.pruners.MedianPruner(),
                load_if_exists=True,
            )
            self._require_the_same()
        interrupts.check()
        self.attempts = [self._attempt(found) for found in self.study.get_trials(deepcopy=False)]

    def _require_the_same(self):
        settings = {
            "space": repr(self.space),
            "seeds": self.seeds,
            "flags": self.words,
            "measure": self.measure,
        }
        before = self.study.user_attrs.get("settings", settings)
        for name, value in settings.items():
            if before[name] != value:
                raise UserError(
                    f"{self.output} holds a search with other {name}: {before[name]}, got {value}. "
                    "Give another --output_dir."
                )
        self.study.set_user_attr("settings", settings)

    # -------------------------------------------------------------- what is tried

    def _attempt(self, frozen) -> Attempt:
        """A trial of the journal: what is known of it, or what is to be done yet."""
        states = self.optuna.trial.TrialState
        trial = self.optuna.trial.Trial(self.study, frozen._trial_id)
        attempt = self._of_values(frozen.number, trial)
        known = {states.COMPLETE: FINISHED, states.PRUNED: PRUNED}
        attempt.state = known.get(frozen.state, attempt.state)
        attempt.value = frozen.value if attempt.state == FINISHED else None
        for job in attempt.jobs:
            trials.read_all([job])
            if attempt.state == PRUNED and job.trial.state == BEGUN:
                job.trial.state = PRUNED
        return attempt

    def ask(self, at_once: int) -> Attempt:
        """The next point."""
        number = len(self.attempts)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=number, constant_liar=at_once > 1)
        attempt = self._of_values(number, self.study.ask())
        self.attempts.append(attempt)
        return attempt

    def _of_values(self, number, trial) -> Attempt:
        values = {name: self._suggested(trial, name, own) for name, own in self.space.items()}
        flags = {name: _text(value) for name, value in values.items()}
        variant = plan.Variant(tuple(flags.items()), f"trial-{number:03d}")
        attempt = Attempt(number, trial, flags, [])
        try:
            for seed in self.seeds:
                attempt.jobs.append(trials.make_job(self.output, variant, seed, self.words))
        except trials.app.UsageError as error:
            return dataclasses.replace(attempt, jobs=[], state=FAILED, error=str(error))
        for job in attempt.jobs:
            job.trial.variant = attempt.name
        return attempt

    def _suggested(self, trial, name, own):
        if not isinstance(own, plan.Range):
            return trial.suggest_categorical(name, own)
        suggest = trial.suggest_int if isinstance(own.low, int) else trial.suggest_float
        return suggest(name, own.low, own.high, log=own.log)

    # -------------------------------------------------------------- what came of it

    def hopeless(self, attempt, job) -> bool:
        """Tells Optuna the evaluations of a run so far, and asks whether to go on.

        Those of the second seed come after those of the first: a seed is held against itself.
        """
        done = self.study.get_trials(deepcopy=False)[attempt.number].intermediate_values
        before = job.config.epochs * attempt.jobs.index(job)
        for epoch, value in read_curve(job.run.read_metrics(), self.measure):
            if before + epoch in done:
                continue
            attempt.trial.report(value, before + epoch)
            if attempt.trial.should_prune():
                return True
        return False

    def prune(self, attempt):
        for job in attempt.jobs:
            if job.trial.state != FINISHED:
                job.trial.state = PRUNED
        attempt.state = PRUNED
        self.study.tell(attempt.trial, state=self.optuna.trial.TrialState.PRUNED)

    def complete(self, attempt):
        figures = [job.trial.figures.get(self.measure, math.nan) for job in attempt.jobs]
        value = means.fmean(figures)
        if not math.isfinite(value):  # not told: the next call looks at it again
            attempt.state, attempt.error = FAILED, f"it has no {self.measure}"
            return
        attempt.state, attempt.value = FINISHED, value
        self.study.tell(attempt.trial, value)

    def best(self) -> Attempt | None:
        done = [attempt for attempt in self.attempts if attempt.state == FINISHED]
        sign = -1 if self.measure in LESS else 1
        return max(done, key=lambda attempt: sign * attempt.value, default=None)

    def importance(self) -> dict[str, float]:
        """How much of the figure each flag decides, as shares of 1, by PED-ANOVA (Watanabe et al.,
        2023): how far the values of the better trials differ from those of all. Nothing with fewer
        than four finished trials."""
        done = [attempt for attempt in self.attempts if attempt.state == FINISHED]
        if len(done) < 4:
            return {}
        evaluator = self.optuna.importance.PedAnovaImportanceEvaluator()
        try:
            found = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # all have the same figure, or the same values
            return {}
        return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def train_all(search: Search, count: int, at_once: int, cores: int, pool_of=children.Pool):
    """Tries points until there are so many, so many at once, each on so many cores (0: all).

    One that failed stays open in the journal: the next call tries it again.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came; those that ran have saved what they had.
    """
    waiting = deque(attempt for attempt in search.attempts if attempt.state == BEGUN)
    of_job, stopped = {}, set()
    counter = trials.Counter(
        (max(0, count - len(search.attempts)) + len(waiting)) * len(search.seeds), search.measure
    )
    with pool_of(at_once, cores) as pool:
        while True:
            while pool.free and (waiting or len(search.attempts) < count):
                attempt = waiting.popleft() if waiting else search.ask(at_once)
                job = _next(search, attempt)
                if job is None:
                    continue
                if trials.start(pool, job, counter):
                    of_job[job.name] = attempt
                else:
                    waiting.append(attempt)
                    break
            if not (pool.running or waiting):
                return
            for child in pool.running:
                attempt = of_job[child.job.name]
                if attempt.number not in stopped and search.hopeless(attempt, child.job):
                    stopped.add(attempt.number)
                    child.stop()
            for child, code in pool.ended():
                attempt = of_job[child.job.name]
                if attempt.number in stopped or search.hopeless(attempt, child.job):
                    search.prune(attempt)
                    counter.ended(child.job)
                    continue
                trials.finish(child, code)
                counter.ended(child.job)
                if child.job.trial.state == FAILED:
                    attempt.state, attempt.error = FAILED, child.job.trial.error[-1]
                else:
                    waiting.appendleft(attempt)  # its next seed, before others begin
            pool.pause()


def _next(search, attempt):
    """The first job of an attempt that is not done; None where there is none, and says so."""
    if attempt.state == FAILED:
        print(f"{attempt.name}: {attempt.error}", flush=True)
        return None
    for job in attempt.jobs:
        if job.trial.state != FINISHED:
            return job
        if search.hopeless(attempt, job):
            search.prune(attempt)
            return None
    search.complete(attempt)
    return None


# ------------------------------------------------------------------ results


def summarise(search: Search) -> dict:
    """What a study's summary.json has of a search."""
    best = search.best()
    return {
        "measure": search.measure,
        "search": "optuna",
        "varied": list(search.space),
        "seeds": search.seeds,
        "best": best and {"trial": best.name, "flags": best.flags, "value": best.value},
        "importance": search.importance(),
        "attempts": [
            {
                "trial": a.name,
                "flags": a.flags,
                "state": a.state,
                "value": a.value,
                "error": a.error,
            }
            for a in search.attempts
        ],
    }


def rows(search: Search) -> list:
    """The runs, as `results.Trial`s."""
    return [job.trial for attempt in search.attempts for job in attempt.jobs]
