"""Packages that only some parts need: the extras of pyproject.toml, imported when they are used."""

import importlib


class MissingExtra(ImportError):
    """A package of an extra is not installed."""


def needed(extra: str, *modules: str, what: str):
    """The modules of an extra, imported; one, or a tuple.

    Args:
        extra: its name in pyproject.toml.
        modules: names to import.
        what: who needs them, for the error.

    Raises:
        MissingExtra: one is not installed.
    """
    try:
        found = tuple(importlib.import_module(name) for name in modules)
    except ImportError as error:
        raise MissingExtra(
            f"{what} needs {error.name or modules[0]}, which is not installed: "
            f"pip install 'yolov1[{extra}]'"
        ) from error
    return found if len(found) > 1 else found[0]
