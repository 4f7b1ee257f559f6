"""A TensorBoard profile of some steps of a run: what every op took, and when."""

import contextlib
import os

import tensorflow as tf

from yolov1.training.run_directory import WrongRun


class Profile:
    """Records the steps of ``--profile``. Nothing that the run computes depends on it.

    TensorFlow writes ``plugins/profile/<time>/<machine>.xplane.pb``; a failure of that is a
    warning.

    Args:
        config: the run's `TrainConfig`.
        folder: the run's ``tensorboard/``.
        start: the step that the run begins with.
        end: the number of steps of the whole run.
        writes: whether this process is the one that writes files.

    Raises:
        WrongRun: the run has none of the steps.
    """

    def __init__(self, config, folder, start: int, end: int, writes=True):
        self._steps = config.steps_to_profile() if writes else range(0)
        self._folder, self._taken, self._running = folder, [], False
        self._flag = f"--profile={config.profile}"
        if self._steps and self._steps[0] >= end:
            raise WrongRun(
                f"{self._flag}: the run has the steps 0 to {end - 1}; give some of them."
            )
        if self._steps and self._steps[-1] < start:
            print(f"{self._flag}: the run goes on at step {start}; they are done already.")
            self._steps = range(0)

    @contextlib.contextmanager
    def step(self, number: int):
        """Inside, step `number` is taken."""
        if number not in self._steps:
            yield
            return
        if not self._taken:
            start = tf.profiler.experimental.start
            self._running = self._tried(start, os.fsencode(self._folder))
        self._taken.append(number)
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if number == self._steps[-1]:
            self._stop()

    def close(self):
        """Ends what is still being recorded; says so where the run ended before all the steps."""
        self._stop()
        if self._steps and not self._taken:
            print(f"{self._flag}: the run ended before them; there is no profile.")

    def _stop(self):
        if self._running and self._tried(tf.profiler.experimental.stop):
            first, last = self._taken[0], self._taken[-1]
            print(f"profile of the steps {first} to {last}: {self._folder}")
        self._running = False

    def _tried(self, call, *arguments) -> bool:
        try:
            call(*arguments)
        except (tf.errors.OpError, OSError) as error:
            reason = str(error).splitlines()[0]
            print(f"warning: {self._flag}: no profile could be written to {self._folder}: {reason}")
            return False
        return True
