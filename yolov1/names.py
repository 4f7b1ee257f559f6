"""Class names: from which line or key each comes, and what may not be."""

import unicodedata

from yolov1.files import read_lines

MOST_CLASSES = 10_000  # a mapping of names to higher ids is a mistake, not a network's output


def read_names(path) -> tuple[str, ...]:
    """A file with a name a line, whose number (from 0) is the class.

    Raises:
        ValueError: a line between others that is blank, a name that is there twice, or no name.
    """
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    for k, name in enumerate(lines, start=1):
        if not name:
            raise ValueError(
                f"{path}: line {k} is blank. A line's number is its class: write a name there, or "
                "take the line out if the labels do not count it."
            )
    return distinct(lines, path, "line {}", first=1)


def agreed(files) -> tuple[str, ...] | None:
    """What all of the names files say that are there; None where there is none.

    Raises:
        ValueError: two say different names; and as `read_names` does.
    """
    found = {file: read_names(file) for file in dict.fromkeys(files) if file.is_file()}
    for file, names in found.items():
        first = next(iter(found))
        if names != found[first]:
            raise ValueError(
                f"{first} says {_shown(found[first])}, {file} says {_shown(names)}: there is no "
                "telling which counts. Leave one."
            )
    return next(iter(found.values()), None)


def _shown(names):
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def require_writable(names, op):
    """Raises ValueError where a file with a name a line would not give the names back."""
    for name in names:
        if not name or name != name.strip().strip("\ufeff\u200b") or len(name.splitlines()) > 1:
            raise ValueError(
                f"{op}: the class name {name!r} is empty, begins or ends with a space, or has "
                "several lines: it would not be read as it is written. Rename the class."
            )
    distinct(names, op)


def distinct(names, source, place="class {}", first=0) -> tuple[str, ...]:
    """The names as a tuple.

    Raises:
        ValueError: there is none, an empty one, or one is there twice.
    """
    seen = {}
    for k, name in enumerate(names, start=first):
        if not name:
            raise ValueError(f"{source}: {place.format(k)} has no name.")
        if name in seen:
            raise ValueError(
                f"{source}: {place.format(k)} repeats the name {name!r} of "
                f"{place.format(seen[name])}; every class needs a name of its own."
            )
        seen[name] = k
    if not seen:
        raise ValueError(f"{source} names no class.")
    return tuple(seen)


def by_number(numbered, source) -> tuple[tuple[str, ...], list[str]]:
    """Names by their ids; ids between that have none are called ``class 3`` and the like.

    Args:
        numbered: {id: name}.
        source: what says so, for errors.

    Returns:
        (names, remarks).

    Raises:
        ValueError: an id below 0 or far beyond any network; and as `distinct` does.
    """
    if not numbered:
        raise ValueError(f"{source} names no class.")
    low, high = min(numbered), max(numbered)
    if low < 0 or high >= MOST_CLASSES:
        raise ValueError(
            f"{source}: class ids must be from 0 to {MOST_CLASSES - 1}, got {low} to {high}."
        )
    gaps = [k for k in range(high) if k not in numbered]
    names = distinct([numbered.get(k, f"class {k}") for k in range(high + 1)], source)
    if not gaps:
        return names, []
    listed = ", ".join(map(str, gaps[:10])) + (", ..." if len(gaps) > 10 else "")
    return names, [f"no name for class {listed}; called {names[gaps[0]]!r} and the like"]


def look_alikes(names) -> list[str]:
    """Remarks on names that differ by case, spaces or the encoding of their accents alone."""
    groups = {}
    for name in names:
        key = unicodedata.normalize("NFKC", " ".join(name.split())).casefold()
        groups.setdefault(key, []).append(name)
    return [
        f"the classes {' and '.join(map(repr, group))} differ by case or spacing alone: are they "
        "one? They are trained as different classes"
        for group in groups.values()
        if len(group) > 1
    ]
