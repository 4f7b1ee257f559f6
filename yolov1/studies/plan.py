"""What a study trains: variants of some flags, each with the same seeds."""

import dataclasses
import itertools
import math

from yolov1.files import safe_names

AS_GIVEN = "as given"  # the name of the variant that changes nothing


@dataclasses.dataclass(frozen=True)
class Variant:
    """One set of changed flags.

    Attributes:
        flags: (name, text) of each, as they are given to the training.
        folder: the name of its folder.
    """

    flags: tuple[tuple[str, str], ...]
    folder: str = ""

    @property
    def name(self) -> str:
        return ";".join(f"{name}={text}" for name, text in self.flags) or AS_GIVEN

    def words(self, seed: int) -> list[str]:
        """Its flags on the command line of one seed, see `of_seed`."""
        return of_seed([f"--{name}={text}" for name, text in self.flags], seed)


@dataclasses.dataclass(frozen=True)
class Range:
    """Values that a search may try.

    Attributes:
        low, high: both included.
        log: whether their logarithm is what is uniform.
    """

    low: float
    high: float
    log: bool = False


def of_seed(words, seed: int) -> list[str]:
    """Words of a command line in which ``{seed}`` is the seed's number."""
    return [word.replace("{seed}", str(seed)) for word in words]


def parse_seeds(text: str) -> list[int]:
    """``'0-4'``, ``'0,2,5'`` or ``'0-2,7'`` to the numbers.

    Raises:
        ValueError: something else, none, or one that is there twice.
    """
    try:
        ends = [tuple(map(int, part.split("-"))) for part in text.split(",")]
        seeds = [seed for end in ends for seed in range(end[0], end[-1] + 1)]
        valid = all(len(end) <= 2 and end[0] <= end[-1] for end in ends)
    except ValueError:
        seeds, valid = [], False
    if not valid or not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            "--seeds must be different whole numbers of at least 0, such as '0-4' or '0,2,5', got "
            f"{text!r}."
        )
    return seeds


def parse_vary(text: str) -> dict[str, list[str]]:
    """``'semantics=paper,darknet;epochs=5,10'`` to the texts of each flag's values.

    Flags stand between ``;``. Values stand between ``,``, or, where a flag's part has a ``|``,
    between ``|``, so that they can have commas: ``semantics_options=|box=ciou,weight_xy=2``.

    Raises:
        ValueError: a part that is not NAME=VALUES, a flag or a value that is there twice.
    """
    found = {}
    for name, values in _parts(text, "--vary", "'semantics=paper,darknet;epochs=5,10'"):
        values = [value.strip() for value in values.split("|" if "|" in values else ",")]
        if name in found or len(set(values)) < len(values):
            what = f"{name} is there twice" if name in found else f"{name} has a value twice"
            raise ValueError(f"--vary: {what} in {text!r}. Give every flag, and each value, once.")
        found[name] = values
    return found


def parse_variant(text: str) -> Variant:
    """``'semantics=paper;semantics_options=box=ciou,weight_xy=2'`` to one variant; the empty text
    is the one that changes nothing.

    Raises:
        ValueError: a part that is not NAME=VALUE, or a flag that is there twice.
    """
    flags = _parts(text, "--variant", "'semantics=paper;epochs=5'")
    if len(dict(flags)) < len(flags):
        raise ValueError(f"--variant: a flag is there twice in {text!r}.")
    return Variant(tuple(flags))


def _parts(text, flag, example) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    for name, separator, value in parts:
        if not separator or not name.strip().isidentifier():
            raise ValueError(
                f"{flag} must be NAME=... with ; between the flags, such as {example}, got "
                f"{name + separator + value!r}."
            )
    return [(name.strip(), value.strip()) for name, _, value in parts]


def grid(vary: dict[str, list[str]]) -> list[Variant]:
    """Every combination, the last flag's values next to each other."""
    combinations = itertools.product(*vary.values())
    return [Variant(tuple(zip(vary, values, strict=True))) for values in combinations]


def with_folders(variants) -> list[Variant]:
    """The variants with the names of their folders, which differ on every file system.

    Raises:
        ValueError: two are the same.
    """
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the variant {name!r} is there twice. Leave one out.")
    folders = safe_names(names)
    return [
        dataclasses.replace(variant, folder=folder)
        for variant, folder in zip(variants, folders, strict=True)
    ]


def baseline(variants, text: str | None) -> Variant | None:
    """The variant that a text as of `parse_variant` names, in any order of its flags; without one
    the first, where there is any.

    Raises:
        ValueError: there is none of that name.
    """
    if text is None:
        return variants[0] if variants else None
    wanted = dict(parse_variant("" if text == AS_GIVEN else text).flags)
    for variant in variants:
        if dict(variant.flags) == wanted:
            return variant
    names = ", ".join(repr(variant.name) for variant in variants)
    raise ValueError(f"--baseline must be one of the variants {names}, got {text!r}.")


# ------------------------------------------------------------------ of a search


def parse_range(name: str, values: list[str], kind: type) -> Range | list[str]:
    """What a search may try of a flag: ``A..B``, ``log:A..B``, or one of several values.

    Args:
        name: the flag.
        values: as of `parse_vary`.
        kind: of the flag's values: a range is one of int or float.

    Raises:
        ValueError: a range of something that has no order, or not from the lower to the higher end.
    """
    if len(values) != 1 or ".." not in values[0]:
        return values
    text = values[0].removeprefix("log:")
    log = text != values[0]
    try:
        low, high = map(kind, text.split("..")) if kind in (int, float) else (1, 0)
    except ValueError:
        low, high = 1, 0
    if not (low < high and math.isfinite(low) and math.isfinite(high)) or (log and low <= 0):
        raise ValueError(
            f"--vary: {name} must have values with , between them, or, where it is a number, a "
            f"range LOW..HIGH or log:LOW..HIGH (then above 0), got {values[0]!r}."
        )
    return Range(low, high, log)
