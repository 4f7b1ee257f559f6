"""Flags that hold several values: options NAME=VALUE, and rates by epoch."""

import dataclasses
import numbers

# of an option's default -> the types that a value may have, in words
KINDS = {
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
}


def parse_options(text: str) -> dict:
    """``'width=1.5,depth=2,name=x'`` to a dict, numbers and true / false as what they are.

    Raises:
        ValueError: a part that is not NAME=VALUE, or a name that is there twice.
    """
    options = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ValueError(f"options must be NAME=VALUE,NAME=VALUE, got {part!r} in {text!r}.")
        if name.strip() in options:
            raise ValueError(f"options: {name.strip()!r} is there twice in {text!r}. Leave one.")
        options[name.strip()] = _parse_value(value.strip())
    return options


def wrong_kind(value, default) -> str:
    """What an option's value must be to be of its default's kind, in words; empty where it is."""
    types, kind = KINDS.get(type(default), (object, ""))
    right = isinstance(value, types) and not (isinstance(value, bool) and types is not bool)
    return "" if right or not kind else kind


def changed(preset, text: str, flag: str):
    """A preset with the options of a flag in place of its own values.

    Args:
        preset: of a dataclass whose fields have numbers or words as defaults.
        text: as of `parse_options`.
        flag: for the message.

    Raises:
        ValueError: an option that the dataclass has not, a value of another kind, or one that the
            dataclass refuses.
    """
    options = parse_options(text)
    known = {field.name: field.default for field in dataclasses.fields(preset)}
    for name, value in options.items():
        if name not in known:
            names = ", ".join(sorted(known))
            raise ValueError(f"--{flag}: no option {name!r}; there are {names}.")
        kind = wrong_kind(value, known[name])
        if kind:
            raise ValueError(f"--{flag}: {name} must be {kind}, got {value!r}.")
        if value is None:  # here 'none' is a word, not the absence of one
            options[name] = "none"
    return dataclasses.replace(preset, **options)


def parse_rates(text: str) -> list[tuple[int, float]]:
    """``'0:0.01,75:0.001'`` to ``[(0, 0.01), (75, 0.001)]``.

    Raises:
        ValueError: not EPOCH:RATE pairs with rising epochs from 0 and positive rates.
    """
    try:
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        rates = [(int(epoch), float(rate)) for epoch, rate in pairs]
    except ValueError:
        rates = [(-1, 0.0)]
    epochs = [epoch for epoch, _ in rates]
    if rates and (
        epochs[0] != 0
        or epochs != sorted(set(epochs))
        or not all(0 < rate < float("inf") for _, rate in rates)
    ):
        raise ValueError(
            "--learning_rates must be EPOCH:RATE,EPOCH:RATE with epochs rising from 0 and positive "
            f"rates, such as '0:0.01,75:0.001', got {text!r}."
        )
    return rates


def _parse_value(text: str):
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
