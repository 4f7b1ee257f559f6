"""Which values of a `TrainConfig` are refused."""

import dataclasses

from yolov1.activations import resolve_activations
from yolov1.data import Augmentation
from yolov1.grid import GridSpec
from yolov1.option_text import changed, parse_rates
from yolov1.training.watch import parse_watch

# What is measured of each task, and whether more (1) or less (-1) of it is better.
MONITORS = {
    "detect": {"map_voc07": 1, "map_area": 1, "map_coco": 1, "val_loss": -1},
    "classify": {"accuracy": 1, "val_loss": -1},
}
DARKNET = "darknet:"  # of a choice that is what a cfg file of Darknet says

# The least value of a field whose other bound, if it has one, is that it is finite.
LEAST = {
    **dict.fromkeys(("batch_size", "epochs", "keep_last"), 1),
    **dict.fromkeys(("seen", "cache_bytes", "eval_every", "patience", "keep_every", "digests"), 0),
    **dict.fromkeys(("weight_decay", "warmup_epochs", "clip_norm", "hours", "keep_hours"), 0),
    "checkpoint_minutes": 0,
}


def check_config(config):
    """Refuses values of a `TrainConfig` that cannot be, or do not go together.

    Raises:
        ValueError: names the flag, what is expected and what was got.
    """
    for field in dataclasses.fields(config):
        value, allowed = getattr(config, field.name), field.metadata.get("choices")
        prefix = field.metadata.get("prefix")
        if allowed and value not in allowed and not _names_a_file(value, prefix):
            others = f" or {prefix}CFG" if prefix else ""
            raise ValueError(
                f"--{field.name} must be one of {', '.join(allowed)}{others}, got {value!r}."
            )
    for name, least in LEAST.items():
        value = getattr(config, name)
        if not least <= value < float("inf"):
            finite = " and finite" if isinstance(value, float) else ""
            raise ValueError(f"--{name} must be at least {least}{finite}, got {value!r}.")
    for name, valid, expected in (
        (
            "subdivisions",
            config.subdivisions >= 1 and config.batch_size % config.subdivisions == 0,
            f"at least 1, and divide --batch_size={config.batch_size}",
        ),
        (
            "seen",
            not config.seen or config.schedule.startswith(DARKNET),
            f"0 with --schedule={config.schedule}: only --schedule=darknet:CFG goes on from it",
        ),
        ("learning_rate", 0 < config.learning_rate < float("inf"), "positive and finite"),
        ("ema", 0 <= config.ema < 1, "in [0, 1)"),
        ("S", config.task == "detect" or config.S == 1, "1 with --task=classify"),
        (
            "monitor",
            config.monitor in MONITORS[config.task],
            f"one of {', '.join(MONITORS[config.task])} with --task={config.task}",
        ),
        ("init", not (config.init and config.backbone), "empty with --backbone"),
        ("capture", config.task == "detect" or not config.capture, "empty with --task=classify"),
        ("watch", config.task == "detect" or not config.watch, "empty with --task=classify"),
        ("output_dir", config.output_dir or not config.resume, "given with --resume"),
    ):
        if not valid:
            raise ValueError(f"--{name} must be {expected}, got {getattr(config, name)!r}.")
    GridSpec(S=config.S, B=config.B, image_size=config.image_size)
    parse_rates(config.learning_rates)
    config.steps_to_capture()
    config.steps_to_profile()
    config.forked_from()
    parse_watch(config.watch)
    # Bad options are refused now, not after the data is read. What a file or another run says
    # is not known here: `cfg_files.augmentation` refuses what does not go with that, and
    # `require_activations` what does not go with another run.
    config.loss_semantics()
    if not config.fork:
        config.require_activations()
    unknown = config.fork or _names_a_file(config.augment, DARKNET)
    preset = Augmentation.preset("none" if unknown else config.augment)
    changed(preset, config.augment_options, "augment_options")


def check_activations(config, semantics):
    """As `TrainConfig.require_activations`."""
    try:
        activations = resolve_activations(config.activations)
    except ValueError as error:
        raise ValueError(f"--activations: {error}") from None
    if config.neighbours and activations["xy"] != "linear":
        raise ValueError(
            f"--neighbours needs centres outside of their cell, which "
            f"--activations={config.activations} keeps inside: give "
            f"--activations={config.activations},xy=linear."
        )
    # A cross-entropy is one of probabilities.
    for name, block, wanted in (
        ("confidence_loss", "confidences", "sigmoid"),
        ("class_loss", "classes", "softmax"),
    ):
        entropy = getattr(semantics, name) == "cross_entropy"
        if config.task == "detect" and entropy and activations[block] != wanted:
            raise ValueError(
                f"--activations must make probabilities by a {wanted} of {block} with "
                f"{name}=cross_entropy, got {config.activations!r}: give "
                f"softmax, or add {block}={wanted} to it."
            )


def _names_a_file(value: str, prefix) -> bool:
    return bool(prefix) and value.startswith(prefix) and len(value) > len(prefix)
