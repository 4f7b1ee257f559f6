"""Which images `TrainConfig.watch` names."""

import csv
from typing import NamedTuple

TRAIN, HARD = "train:", "hard:"


class Watch(NamedTuple):
    """Images to be looked at whenever a run is measured."""

    evaluation: tuple[str, ...]  # ids of the evaluation set
    train: tuple[str, ...]  # ids of the training set
    hard: int  # how many of the evaluation set are chosen by their loss


def parse_watch(text: str) -> Watch:
    """``'a,b,train:c,hard:16'``; an id with a comma in it stands in double quotes.

    Raises:
        ValueError: ``hard:`` without a number of at least 1, or twice; the same image twice.
    """
    words = next(csv.reader([text], skipinitialspace=True)) if text else []
    words = [word.strip() for word in words]
    numbers = [word.removeprefix(HARD) for word in words if word.startswith(HARD)]
    if len(numbers) > 1 or not all(n.isascii() and n.isdigit() and int(n) for n in numbers):
        raise ValueError(
            "--watch: hard:N takes the N hardest images of the evaluation set: one whole number of "
            f"at least 1, got {text!r}."
        )
    ids = [word for word in words if not word.startswith(HARD)]
    if "" in ids or TRAIN in ids or len(set(words)) < len(words):
        raise ValueError(
            "--watch must be ids of images with commas between them, each once (train:ID for one "
            f"of the training set, hard:N for the N hardest ones), got {text!r}."
        )
    return Watch(
        tuple(word for word in ids if not word.startswith(TRAIN)),
        tuple(word.removeprefix(TRAIN) for word in ids if word.startswith(TRAIN)),
        sum(map(int, numbers)),
    )
