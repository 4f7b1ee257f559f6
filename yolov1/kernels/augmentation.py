"""What configures the draws of an augmentation, and the targets of what they show."""

import numbers

from yolov1.kernels.yolo_loss import check_collision

# The fields of an augmentation that are drawn from.
DRAWN = (
    *("scale", "translate", "exposure", "saturation", "hue"),
    *("flip", "vertical_flip", "transpose", "jitter"),
)


def draw_config(seed, augmentation) -> str:
    """The one text that the fused `draw_augmentation` is configured with.

    Args:
        augmentation: has the attributes `DRAWN`, in the ranges of `yolov1.data.Augmentation`.

    Raises:
        TypeError: the seed is no Python integer.
        ValueError: it takes more than 64 bits.
    """
    if not isinstance(seed, numbers.Integral):
        raise TypeError(
            f"draw_augmentation: seed must be a Python integer, got {type(seed).__name__}."
        )
    if not -(2**63) <= seed < 2**63:
        raise ValueError(f"draw_augmentation: seed must take 64 bits at most, got {seed}.")
    words = (f"{name}={float(getattr(augmentation, name))!r}" for name in DRAWN)
    return " ".join([f"seed={int(seed)}", *words])


def encode_targets_config(grid, on_collision, min_visible, neighbours=False) -> str:
    """The one text that the fused `encode_targets` is configured with.

    Raises:
        ValueError: an unknown rule, or a share that is not in [0, 1].
    """
    check_collision(on_collision, "encode_targets")
    if not 0 <= min_visible <= 1:
        raise ValueError(f"encode_targets: min_visible must be from 0 to 1, got {min_visible}.")
    words = f"on_collision={on_collision} min_visible={float(min_visible)!r}"
    return f"S={grid.S} C={grid.C} {words} neighbours={'yes' if neighbours else 'no'}"
