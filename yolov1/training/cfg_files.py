"""Darknet's cfg files that a run names: its network's, its schedule's, its augmentation's.

A choice ``darknet:PATH`` of a `TrainConfig` names one. A run keeps a copy of each, and its
``config.json`` names the copies, by paths relative to the run's folder: a run can be moved.
"""

import dataclasses
from pathlib import Path

from yolov1 import darknet
from yolov1.data import Augmentation
from yolov1.files import make_folder, replacing, user_path
from yolov1.option_text import changed
from yolov1.semantics import LossSemantics
from yolov1.training.config import DARKNET, TrainConfig

COPIES = {"model": "network.cfg", "schedule": "schedule.cfg", "augment": "augment.cfg"}


def path_of(choice: str, folder=None) -> Path | None:
    """The file that a choice names; None where it names none.

    Args:
        choice: such as ``darknet:yolov1.cfg``.
        folder: of the run: a relative path is one of a file there, where there is one, and else
            relative to the current folder.
    """
    if not choice.startswith(DARKNET):
        return None
    path = user_path(choice.removeprefix(DARKNET))
    kept = Path(folder or "") / path
    return (kept if kept.is_file() else path).absolute()


def read(choice: str, folder=None) -> darknet.Cfg | None:
    """The cfg that a choice names (see `path_of`); None where it names none.

    Raises:
        DarknetError, OSError: as `darknet.read_cfg`.
    """
    path = path_of(choice, folder)
    return path and darknet.read_cfg(path)


def texts(config: TrainConfig, folder=None) -> dict[str, str]:
    """Of the files that a run's configuration names, by the names of its copies."""
    files = {name: read(getattr(config, field), folder) for field, name in COPIES.items()}
    return {name: cfg.text() for name, cfg in files.items() if cfg}


def keep_copies(config: TrainConfig, folder) -> TrainConfig:
    """Copies the files that a new run's configuration names into the run's folder.

    Returns:
        The configuration that names the copies.
    """
    named = {field: path_of(getattr(config, field)) for field in COPIES}
    changes = {}
    for field, path in named.items():
        if path:
            make_folder(folder)
            with replacing(Path(folder) / COPIES[field]) as file:
                file.write(darknet.read_cfg(path).text())
            changes[field] = DARKNET + COPIES[field]
    return dataclasses.replace(config, **changes)


def same(mine: str, run: str, folder) -> bool:
    """Whether two choices are the same: that of a run, and one of the current folder."""
    if mine == run:
        return True
    paths = path_of(mine), path_of(run, folder)
    return all(paths) and darknet.read_cfg(paths[0]) == darknet.read_cfg(paths[1])


def fields(values: dict) -> tuple[dict, dict]:
    """What the files that a configuration names say of its other fields.

    Args:
        values: fields of a `TrainConfig`.

    Returns:
        ``(fixed, defaults)``, fields and values: those that cannot be other, and those that are so
        unless they are given.

    Raises:
        DarknetError, OSError: a file that is refused or cannot be read; a network that cannot be
            built, or has no detection layer.
        ValueError: ``augment_options`` that do not go with the file.
    """
    fixed, defaults = {}, {}
    network = read(values.get("model", ""))
    if network and values.get("task") == "classify":
        raise darknet.DarknetError(
            f"--model={values['model']}: a cfg file has no part that is pretrained here; take one "
            "of the other networks. Classifiers of Darknet are loaded with yolov1.darknet.load."
        )
    if network:
        plan = darknet.plan(network)
        if plan.unsupported:
            raise darknet.DarknetError(plan.unsupported[0])
        if plan.grid is None:
            raise darknet.DarknetError(
                f"{network.source} has no [detection] layer: it is no detector. Classifiers are "
                "loaded with yolov1.darknet.load."
            )
        if plan.input[0] != 3:
            raise darknet.DarknetError(
                f"{network.source}: {network.net.at('channels')}: images have 3 channels here."
            )
        grid = plan.grid
        fixed |= {"S": grid.S, "B": grid.B, "image_size": grid.image_size, "activations": "linear"}
        defaults |= {"semantics": "darknet", "semantics_options": _options(plan.semantics)}
        defaults |= {"resize": "darknet"}
    schedule = read(values.get("schedule", ""))
    if schedule:
        net = schedule.net
        fixed |= {"learning_rate": net.get("learning_rate", 0.001), "warmup_epochs": 0.0}
        fixed |= {"learning_rates": ""}
        if values.get("optimizer") != "adamw":
            defaults |= {"weight_decay": net.get("decay", 0.0001)}
    if path_of(values.get("augment", "")):
        _augmentation(values["augment"], values.get("augment_options", ""))
    return fixed, defaults


def require_classes(config: TrainConfig, classes):
    """Raises `DarknetError` where the network of a cfg file has another number of classes than the
    data, whose names are given."""
    cfg = read(config.model)
    grid = cfg and darknet.plan(cfg).grid
    if grid and grid.C != len(classes):
        numbers = dataclasses.replace(grid, C=len(classes)).flat_size
        raise darknet.DarknetError(
            f"{cfg.source} has classes={grid.C}, the data has {len(classes)}: "
            f"{', '.join(classes)}. Choose {grid.C} of them with --classes, or change a copy of "
            f"the file: classes={len(classes)}, and output={numbers} of the layer before "
            "[detection]. (With --init=RUN all other layers can start from weights of the old one.)"
        )


def _options(semantics: LossSemantics) -> str:
    """``--semantics_options`` that make the preset of Darknet this one."""
    preset = dataclasses.asdict(LossSemantics.preset("darknet"))
    own = dataclasses.asdict(semantics)
    return ",".join(f"{name}={value}" for name, value in own.items() if value != preset[name])


def augmentation(config: TrainConfig, folder=None) -> Augmentation:
    """The augmentation of a run: its preset, or a file's, with its options.

    Raises:
        DarknetError, OSError: as `Augmentation.preset`, of a file.
        ValueError: options that do not go with it.
    """
    return _augmentation(config.augment, config.augment_options, folder)


def _augmentation(choice: str, options: str, folder=None) -> Augmentation:
    path = path_of(choice, folder)
    preset = Augmentation.preset(f"{DARKNET}{path}" if path else choice)
    return changed(preset, options, "augment_options")
