"""Paths that a file of a data set names, and ids for what they lead to.

Such files travel: their paths may be those of Windows or of another machine. A path means what it
says where that exists; else its leading parts may go, but only where this can be done in one way
for all paths together.
"""

import collections
import os
import re
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

DRIVE = re.compile(r"^[A-Za-z]:[/\\]")


def spellings(text) -> list[Path]:
    """What a text may mean as a path here: as it is, then with the slashes of Windows turned."""
    text = os.path.expanduser(text.strip())
    turned = DRIVE.sub("/", text).replace("\\", "/")
    return [Path(t) for t in dict.fromkeys((text, turned))]


def is_there(path, files=True) -> bool:
    """Whether there is such a file (or, without `files`, folder); False for what is no path."""
    try:
        return path.is_file() if files else path.exists()
    except (OSError, ValueError):  # too long a name, a zero in it
        return False


def _of_elsewhere(text) -> bool:
    """Whether a path that is not there may be one of another machine."""
    return spellings(text)[-1].is_absolute() or text.startswith("..")


def _direct(text, anchors, files):
    for path in spellings(text):
        for place in [path] if path.is_absolute() else [anchor / path for anchor in anchors]:
            if is_there(place, files):
                return place
    return None


class Located(NamedTuple):
    """What the paths of a file lead to.

    Attributes:
        places: one for each path; None for what is not there.
        moved: {path: place} of those that are of another machine.
    """

    places: list[Path | None]
    moved: dict[str, Path]

    def remark(self) -> str:
        """On what was moved; empty where nothing was."""
        if not self.moved:
            return ""
        text, place = next(iter(self.moved.items()))
        more = f" (and so for {len(self.moved) - 1} more)" if len(self.moved) > 1 else ""
        return f"{text} is not here; {place} is taken{more}"


def locate(texts, anchors, *, files=False) -> Located:
    """What paths lead to, for all paths of a file together.

    Args:
        texts: the paths as they are written.
        anchors: folders that they may be relative to, the likeliest first. The one under which the
            most of them are there is taken.
        files: whether only files count, no folders.

    Leading parts of those that are not there (``/home/me/set/images/a.jpg``) are dropped where one
    choice of anchor and number of parts finds more of them than any other, and leads no two of
    them to one place, nor to a folder around or inside what another leads to. Where some paths mean
    what they say, a relative one that is not there is just that, and all others must be found.
    """
    texts, anchors = list(texts), list(dict.fromkeys(map(Path, anchors)))
    counts = [sum(_direct(text, [a], files) is not None for text in texts) for a in anchors]
    anchors = [anchors[k] for k in sorted(range(len(anchors)), key=lambda k: -counts[k])]
    found = {text: _direct(text, anchors, files) for text in dict.fromkeys(texts)}
    there = [place for place in found.values() if place is not None]
    missing = [text for text, place in found.items() if place is None]
    missing = [text for text in missing if _of_elsewhere(text) or not there]
    missing = {text: PurePosixPath(spellings(text)[-1]).parts for text in missing}
    choices = {}
    for anchor in anchors:
        for k in range(1, max(map(len, missing.values()), default=0)):
            mapped = {t: anchor.joinpath(*p[k:]) for t, p in missing.items() if len(p) > k}
            mapped = {text: place for text, place in mapped.items() if is_there(place, files)}
            if mapped and _apart([*there, *mapped.values()]):
                choices.setdefault(tuple(sorted(mapped.items())), None)
    most = max(map(len, choices), default=0)
    best = [choice for choice in choices if len(choice) == most]
    moved = dict(best[0]) if len(best) == 1 and (not there or most == len(missing)) else {}
    found |= moved
    return Located([found[text] for text in texts], moved)


def _apart(places) -> bool:
    """Whether no two places are one, or one inside the other."""
    places = [Path(os.path.abspath(place)) for place in places]
    every = set(places)
    inside = any(parent in every for place in places for parent in place.parents)
    return len(every) == len(places) and not inside


def unique_ids(paths) -> list[str]:
    """An id for each image, no two the same, which does not depend on where the data set lies.

    It is the stem where no other image has it, else the path from the folder that all share, with
    its suffix where that is needed. An image that is there again (lists weigh images so) gets
    ``#2``, ``#3``.

    Args:
        paths: relative, or all absolute.
    """
    paths = [PurePath(path) for path in paths]
    parents = {path.parent for path in paths}
    shared = os.path.commonpath(parents) if parents else ""
    within = [path.relative_to(shared) if shared else path for path in paths]
    forms = [
        (p.stem, p.with_suffix("").as_posix(), p.as_posix()) if p.name else 3 * (p.as_posix(),)
        for p in within
    ]
    counts = collections.Counter(form for three in set(forms) for form in set(three))
    ids = [next((form for form in three if counts[form] == 1), three[-1]) for three in forms]
    return numbered(ids)


def repeats(file, entries) -> list[tuple[str, str]]:
    """Remarks on lines of a list that name what one before names.

    Args:
        entries: (number of the line, what it names).
    """
    first, remarks = {}, []
    for number, named in entries:
        if first.setdefault(named, number) != number:
            remark = f"line {number} repeats line {first[named]}: the image counts again"
            remarks.append((str(file), remark))
    return remarks


def numbered(ids) -> list[str]:
    """The ids, with ``#2``, ``#3`` behind what was there before."""
    taken, seen, last, found = set(ids), set(), {}, []
    for one in ids:
        name, k = one, last.get(one, 1)
        while name in seen or k > 1 and name in taken:
            k += 1
            name = f"{one}#{k}"
        last[one] = k
        seen.add(name)
        found.append(name)
    return found
