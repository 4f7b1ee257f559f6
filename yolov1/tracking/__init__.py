"""Where a run is written to beside its directory: ``--track=KIND:URI``.

A kind is a module that has

- ``address(uri)``: the URI in full; ValueError where it is none of the kind's;
- ``Store(address)``, which needs the kind's extra, with ``begin(previous, name, flags, tags)``,
  ``metrics(values, step)``, ``file(path, folder)``, ``end(status)`` and ``place``; see
  `yolov1.tracking.mlflow`.
"""

import contextlib

from yolov1.tracking import mlflow
from yolov1.tracking.tracker import Tracker

KINDS = {"mlflow": mlflow}


def check(track: str):
    """What ``--track`` says: (module of the kind, address in full); None for the empty text.

    Raises:
        ValueError: an unknown kind, or a URI that is none of its.
    """
    if not track:
        return None
    name, separator, uri = track.partition(":")
    if not separator or name not in KINDS:
        raise ValueError(
            f"--track must be KIND:URI with one of the kinds {', '.join(KINDS)}, such as "
            f"mlflow:FOLDER, got {track!r}."
        )
    try:
        return KINDS[name], KINDS[name].address(uri)
    except ValueError as error:
        raise ValueError(f"--track={track}: {error}") from error


def start(track: str, run):
    """A context manager in which a run is trained, or goes on: gives a `Tracker`, which is a Keras
    callback, or None without ``--track``.

    Args:
        track: KIND:URI, or empty.
        run: the `RunDirectory`, with its ``config.json``.

    Raises:
        ValueError: see `check`.
        MissingExtra: the kind's extra is not installed.
    """
    return Tracker(track, *check(track), run) if track else contextlib.nullcontext()
