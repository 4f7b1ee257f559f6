"""Learning rate as a function of the step: nothing to store, so resuming is exact."""

import keras
from keras import ops

# The paper, section 2.2: 75 epochs at the peak rate, 30 at a tenth, 30 at a hundredth of it.
PAPER_EPOCHS = (75, 30, 30)
PAPER_WARMUP_START = 0.1  # 1e-3 to 1e-2
COSINE_END = 0.01


@keras.saving.register_keras_serializable(package="yolov1")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then one of three shapes.

    Args:
        shape: ``paper`` (three constant pieces in the ratio 75 : 30 : 30, the warm-up counted in
            the first), ``cosine`` (half a period down to a hundredth) or ``constant``.
        peak: learning rate after the warm-up.
        steps: steps of the whole training, at least 1.
        warmup_steps: steps of the warm-up, below `steps`; it starts at a tenth of the peak.
    """

    def __init__(self, shape: str, peak: float, steps: int, warmup_steps: int = 0):
        if shape not in _SHAPES:
            raise ValueError(f"schedule must be one of {', '.join(_SHAPES)}, got {shape!r}.")
        if not 0 <= warmup_steps < max(steps, 1):
            raise ValueError(f"warmup_steps must be in [0, {steps}), got {warmup_steps}.")
        self.shape, self.peak = shape, float(peak)
        self.steps, self.warmup_steps = int(steps), int(warmup_steps)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        progress = step / self.steps
        after = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        rate = _SHAPES[self.shape](progress, ops.clip(after, 0.0, 1.0))
        warming = PAPER_WARMUP_START + (1 - PAPER_WARMUP_START) * step / max(1, self.warmup_steps)
        return self.peak * ops.where(step < self.warmup_steps, warming, rate)

    def get_config(self):
        return {
            "shape": self.shape,
            "peak": self.peak,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
        }


def epoch_table(rates, steps_per_epoch: float):
    """A schedule of constant pieces, as an epoch callback with a table sets them.

    Args:
        rates: ``[(epoch, rate)]``, epochs rising from 0: the rate once so many epochs are done.
        steps_per_epoch: may be a fraction; epoch e then begins at the step next to e times it.
    """
    if len(rates) == 1:  # of which Keras' pieces can make nothing
        return WarmupSchedule("constant", rates[0][1], 1)
    # Keras keeps a value up to and including its boundary; a step counts from 0.
    boundaries = [max(0, round(epoch * steps_per_epoch) - 1) for epoch, _ in rates[1:]]
    values = [rate for _, rate in rates]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def _paper(progress, after):
    total = sum(PAPER_EPOCHS)
    first, second = PAPER_EPOCHS[0] / total, (PAPER_EPOCHS[0] + PAPER_EPOCHS[1]) / total
    return ops.where(progress < first, 1.0, ops.where(progress < second, 0.1, 0.01))


def _cosine(progress, after):
    return COSINE_END + (1 - COSINE_END) * 0.5 * (1 + ops.cos(after * 3.141592653589793))


def _constant(progress, after):
    return ops.ones_like(progress)


_SHAPES = {"paper": _paper, "cosine": _cosine, "constant": _constant}
