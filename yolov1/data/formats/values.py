"""Values from files that strangers' tools wrote: the one conversion that every reader uses.

Tools write numbers as texts and flags as almost anything; ``bool("0")`` is true, and ``"10"`` sorts
before ``"9"``. What cannot be meant is refused.
"""

import json
import math

from yolov1.data.example import BadExampleError
from yolov1.files import read_text

NO = ("", "0", "0.0", "false", "no", "n", "f", "none", "null", "unspecified")
YES = ("1", "1.0", "true", "yes", "y", "t")


def number(value, what, kind="a number") -> float:
    """A finite number from a number or its text.

    Raises:
        BadExampleError: anything else; True is no number.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadExampleError(f"{what} must be {kind}, got {value!r}") from None
    if not math.isfinite(found):
        raise BadExampleError(f"{what} must be finite, got {value!r}: it is not a finite number")
    return found


def whole(value, what) -> int:
    """A whole number from a number or its text: 3, 3.0, "3".

    Raises:
        BadExampleError: anything else.
    """
    found = number(value, what, "a whole number")
    if found != int(found):
        raise BadExampleError(f"{what} must be a whole number, got {value!r}")
    return int(found)


def flag(value, what) -> bool:
    """Yes or no from a boolean, a number, a text or nothing.

    Raises:
        BadExampleError: what is neither.
    """
    text = "" if value is None else str(value).strip().lower()
    if text in NO or text in YES:
        return text in YES
    raise BadExampleError(f"{what} must be 0 or 1 (or true or false), got {value!r}")


def identifier(value, what):
    """An id as a file gives it: a text, or a number whatever it is written as ("10", 10.0).

    Raises:
        BadExampleError: neither a text nor a whole number.
    """
    if isinstance(value, str) and value.strip():
        text = value.strip()
        # 007 and 7 may be two ids; 7 and "7" are one.
        return int(text) if text.isascii() and text.isdigit() and str(int(text)) == text else text
    return whole(value, what)


def in_order(ids) -> list:
    """Ids sorted as numbers where they are some; texts come behind."""
    return sorted(ids, key=lambda value: (isinstance(value, str), value))


def read_json(path):
    """The content of a JSON file.

    Raises:
        ValueError: no JSON, not UTF-8, or an object that has a key twice: one of the two values
            would be lost.
    """

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"{path}: an object has the key {twice!r} twice")
        return found

    try:
        return json.loads(read_text(path), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is not JSON of a data set: it is nested too deeply") from None
