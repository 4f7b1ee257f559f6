"""What the [net] section of a cfg says of training: the learning rate of each batch.

As ``get_current_rate`` of pjreddie/darknet (f6afaabc), to the float32: ``float`` and ``double``
stand where they stand there. The step t of a fresh run, counted from 1, uses batch number t.
"""

import numpy as np

from yolov1.darknet.cfg import Cfg, Section
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.plan import check_policy

_F = np.float32


def rate(net: Section, batch) -> np.ndarray:
    """The learning rate that a batch is trained with.

    Args:
        net: the section [net].
        batch: its number, images seen / images of an update, counted from 1; or an array of such.

    Returns:
        float32 of the shape of `batch`. (A poly rate rises again beyond ``max_batches``, where
        Darknet has stopped.)

    Raises:
        DarknetError: the policy ``random``, or ``step`` without a positive step.
    """
    batch = np.asarray(batch, np.int64)
    policy, burn_in = net.get("policy", "constant"), net.get("burn_in", 0)
    if policy not in _POLICIES:
        raise DarknetError(
            f"{net.at('policy')}: a rate that is drawn anew for every batch is not supported; "
            f"expected one of {', '.join(_POLICIES)}."
        )
    first = _F(net.get("learning_rate", 0.001))
    with np.errstate(all="ignore"):
        rates = _POLICIES[policy](net, first, batch)
        if burn_in:
            share = (batch.astype(_F) / _F(burn_in)).astype(np.float64)
            rates = np.where(batch < burn_in, first * share ** _power(net), rates)
    return np.asarray(rates, _F)


def rates(cfg: Cfg, steps: int, start: int = 0) -> np.ndarray:
    """The rates of a training, float32 ``[steps]``: of the batches ``start + 1`` and on.

    Args:
        cfg: of a file.
        steps: how many batches are trained, at least 1.
        start: batches that the network has seen already (Darknet: ``seen`` of the weights file /
            images of an update).

    Raises:
        DarknetError: as `rate`; lists that do not fit; a poly rate beyond its ``max_batches``; a
            rate that is not finite.
    """
    net = cfg.net
    check_policy(cfg, net)
    end, last = start + steps, net.get("max_batches", 0)
    if net.get("policy", "constant") == "poly" and end > last:
        raise DarknetError(
            f"{cfg.source}: {net.at('max_batches')}: the policy poly ends at batch {last}, and the "
            f"training would end at {end}. Train for fewer epochs, or raise max_batches."
        )
    found = rate(net, np.arange(start + 1, end + 1))
    if not np.isfinite(found).all():
        k = int(np.argmin(np.isfinite(found)))
        raise DarknetError(
            f"{cfg.source}: {net.at('policy')}: the rate of batch {start + 1 + k} is {found[k]}."
        )
    return found


def _power(net):
    return np.float64(_F(net.get("power", 4.0)))


def _constant(net, first, batch):
    return np.full(batch.shape, first)


def _steps(net, first, batch):
    found, reached = np.full(batch.shape, first), np.ones(batch.shape, bool)
    for step, scale in zip(net.ints("steps"), net.floats("scales"), strict=False):
        reached &= batch >= step  # Darknet stops at the first that is not, whatever follows
        first = first * _F(scale)
        found = np.where(reached, first, found)
    return found


def _step(net, first, batch):
    step = net.get("step", 1)
    if step < 1:
        raise DarknetError(f"{net.at('step')}: must be at least 1.")
    return first * np.float64(_F(net.get("scale", 1.0))) ** (batch // step)


def _exp(net, first, batch):
    return first * np.float64(_F(net.get("gamma", 1.0))) ** batch


def _poly(net, first, batch):
    left = _F(1) - batch.astype(_F) / _F(net.get("max_batches", 0))
    return first * left.astype(np.float64) ** _power(net)


def _sigmoid(net, first, batch):
    # The difference is unsigned in C: enormous before `step`, where the rate is therefore 0.
    beyond = (batch - net.get("step", 1)).astype(np.uint64).astype(_F)
    exponent = (_F(net.get("gamma", 1.0)) * beyond).astype(np.float64)
    return first * (1 / (1 + np.exp(exponent)))


_POLICIES = {
    "constant": _constant,
    "steps": _steps,
    "step": _step,
    "exp": _exp,
    "poly": _poly,
    "sigmoid": _sigmoid,
}
