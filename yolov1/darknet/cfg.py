"""A ``.cfg`` file: the text, its sections, and what Darknet reads in them.

Lines are read as ``read_cfg`` and ``read_option`` of pjreddie/darknet (f6afaabc) read them: all
spaces and tabs are deleted, inside too; a line that then starts with ``#`` or ``;`` is a comment
(nothing else is); the first of two equal keys counts; numbers are what ``atoi`` and ``atof`` make
of a value. Whatever is so read otherwise than it looks is a remark.
"""

import dataclasses
import difflib
import re
from pathlib import Path

from yolov1.darknet.errors import DarknetError
from yolov1.darknet.keys import ALIASES, CHOICES, INTEGER, KEYS, LIST, NUMBER, OLD_DETECTION
from yolov1.files import read_text

_INTEGER = re.compile(r"[\v\f\r]*([+-]?\d+)", re.ASCII)
_NUMBER = re.compile(
    r"[\v\f\r]*([+-]?(?:0x[\da-f]+(?:\.[\da-f]*)?(?:p[+-]?\d+)?"
    r"|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan))",
    re.ASCII | re.IGNORECASE,
)


def as_integer(text: str) -> int:
    """What C's ``atoi`` makes of a text: the whole number it starts with, else 0."""
    match = _INTEGER.match(text)
    if not match:
        return 0
    number = max(-(2**63), min(int(match[1][:1000]), 2**63 - 1))  # strtol stops there,
    return (number + 2**31) % 2**32 - 2**31  # and atoi keeps its low 32 bits


def as_number(text: str) -> float:
    """What C's ``atof`` makes of a text: the number it starts with, else 0."""
    match = _NUMBER.match(text)
    if not match:
        return 0.0
    number = match[1].lower()
    if "0x" not in number:
        return float(number)
    try:
        return float.fromhex(number)
    except OverflowError:
        return float("-inf" if number[0] == "-" else "inf")


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a cfg.

    Attributes:
        name: without brackets and by its long name (``convolutional`` for ``[conv]``); the whole
            line where Darknet knows no such section.
        options: ((key, value), ...) in order, all of them; the value of a line without ``=`` is
            None.
        line: of its name in the file, 0 where it is of no file.
        lines: the line of each option.
    """

    name: str
    options: tuple[tuple[str, str | None], ...] = ()
    line: int = dataclasses.field(default=0, compare=False)
    lines: tuple[int, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def __contains__(self, key):
        return any(key == name for name, _ in self.options)

    def text(self, key) -> str | None:
        """The value as it stands, spaces deleted; None without one. The first key counts."""
        return next((value for name, value in self.options if name == key), None)

    def get(self, key, default):
        """The value as Darknet reads it: by `as_integer` or `as_number` where the default is an
        integer or a float. An unknown activation is ``relu``, an unknown policy ``constant``."""
        value = self.text(key)
        if value is None:
            return default
        if isinstance(default, int):
            return as_integer(value)
        if isinstance(default, float):
            return as_number(value)
        names, other = CHOICES.get(key, ((value,), None))
        return value if value in names else other

    def ints(self, key) -> tuple[int, ...]:
        """The whole numbers of a list with commas; () without the key."""
        return tuple(as_integer(part) for part in self._parts(key))

    def floats(self, key) -> tuple[float, ...]:
        """The numbers of a list with commas; () without the key."""
        return tuple(as_number(part) for part in self._parts(key))

    def _parts(self, key):
        value = self.text(key)
        return () if value is None else value.split(",")

    def at(self, key=None) -> str:
        """Where the section, or a key of it, stands: ``line 12: [net] batch=64``."""
        name = self.name if self.name.startswith("[") else f"[{self.name}]"
        line = self.line
        if key in self:
            k = [name for name, _ in self.options].index(key)
            line = self.lines[k] if self.lines else 0
            name += f" {_written(*self.options[k])}"
        elif key:
            name += f" {key}"
        return f"line {line}: {name}" if line else name

    def written(self) -> str:
        """The section as lines of a cfg."""
        name = self.name if self.name.startswith("[") else f"[{self.name}]"
        return "".join(f"{line}\n" for line in (name, *(_written(*o) for o in self.options)))


def _written(key, value):
    return key if value is None else f"{key}={value}"


@dataclasses.dataclass(frozen=True)
class Cfg:
    """The sections of a cfg, in order. Equal where names, keys and values are.

    Attributes:
        sections: of `Section`.
        source: the name of the file, for messages.
        original: the text that was read; None where the sections were made here.
        remarks: "line 12: ..." of all that Darknet reads otherwise than it looks.
    """

    sections: tuple[Section, ...]
    source: str = dataclasses.field(default="cfg", compare=False)
    original: str | None = dataclasses.field(default=None, compare=False, repr=False)
    remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)

    @property
    def net(self) -> Section:
        """The first section.

        Raises:
            DarknetError: it is not [net].
        """
        if not self.sections or self.sections[0].name != "net":
            got = self.sections[0].at() if self.sections else "no section at all"
            raise DarknetError(
                f"{self.source}: the first section of a Darknet network must be [net], got {got}. "
                "Is this the .cfg of a network?"
            )
        return self.sections[0]

    def text(self) -> str:
        """The file's text: as it was read, comments too; else one line per key."""
        if self.original is not None:
            return self.original
        return "\n".join(section.written() for section in self.sections)


def read_cfg(path) -> Cfg:
    """Reads a cfg file.

    Raises:
        DarknetError: not text, or what makes Darknet itself crash; and as `parse_cfg` does.
        OSError: the file cannot be read.
    """
    remarks = []
    try:
        text = read_text(path)
    except ValueError as error:
        content = Path(path).read_bytes()
        if b"\0" in content:
            raise DarknetError(f"{path} is no cfg: {error}") from None
        text = content.decode("latin-1")  # Darknet compares bytes; those beyond ASCII are comments'
        remarks.append("the text is not in UTF-8; it is read byte by byte, as Latin-1")
    with open(path, "rb") as file:
        if file.read(3) == b"\xef\xbb\xbf":
            remarks.append("line 1: starts with a byte order mark, at which Darknet crashes")
    cfg = parse_cfg(text, str(path))
    return dataclasses.replace(cfg, remarks=(*remarks, *cfg.remarks))


def parse_cfg(text: str, source: str = "cfg") -> Cfg:
    """The sections of a cfg's text.

    Args:
        text: of the file.
        source: its name, for messages.

    Raises:
        DarknetError: a key before the first section (Darknet crashes there).
    """
    found, remarks = [], []
    lines = text.split("\n")
    if "\r" in text:
        remarks.append(
            "the lines end in CR LF, with which Darknet itself finds no section (AlexeyAB's does)"
        )
    for number, whole in enumerate(lines, start=1):
        line = re.sub("[ \t\r]", "", whole)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            found.append((_named(line), number, []))
            continue
        if not found:
            raise DarknetError(
                f"{source}: line {number}: {whole.strip()!r} stands before the first section; "
                "expected [net] first (Darknet crashes here). Is this the .cfg of a network?"
            )
        key, equals, value = line.partition("=")
        if equals and not value:
            remarks.append(f"line {number}: {line} has no value and is left out")
            continue
        found[-1][2].append((key, value if equals else None, number))
        remarks += [f"line {number}: {r}" for r in _line_remarks(whole.strip(), key, equals)]
    sections = tuple(
        Section(name, tuple(o[:2] for o in options), line, tuple(o[2] for o in options))
        for name, line, options in found
    )
    for section in sections:
        remarks += _section_remarks(section)
    return Cfg(sections, source, text, tuple(sorted(remarks, key=_line_of)))


def _named(line):
    name = line[1:-1]
    return ALIASES.get(name, name) if line == f"[{name}]" and "]" not in name else line


def _line_of(remark):
    match = re.match(r"line (\d+)", remark)
    return int(match[1]) if match else 0


def _line_remarks(whole, key, equals):
    """Of a line whose spaces mean something to its reader, but not to Darknet."""
    if not equals:
        yield f"{whole!r} has no '=': {key} stands without a value, and its default is used"
        return
    left, _, right = whole.partition("=")
    if re.search(r"\S\s+\S", left.strip()):
        yield f"{left.strip()!r} is read as {key!r}: spaces are deleted, inside too"
    if re.search(r"[^\s,]\s+[^\s,]", right.strip()) and not re.search("[#;]", right):
        value = re.sub(r"\s", "", right)
        yield f"{key}: {right.strip()!r} is read as {value!r}: spaces are deleted, inside too"


def _section_remarks(section):
    known = KEYS.get(section.name)
    first = {}
    for (key, value), line in zip(section.options, section.lines, strict=True):
        written = _written(key, value)
        if key in first:
            kept = _written(key, section.text(key))
            yield (
                f"line {line}: [{section.name}] {written} is not used: {kept} in line {first[key]} "
                "comes first"
            )
            continue
        first[key] = line
        if known is None:
            continue
        if known.get(key) is None:
            near = difflib.get_close_matches(key.lower(), known, 1, 0.85)
            meant = f" (was {near[0]} meant?)" if near and near[0] != key else ""
            # Without num it is the detection layer that had these keys, and refused for them.
            if section.name != "detection" or key not in OLD_DETECTION or "num" in section:
                yield f"line {line}: [{section.name}] {written} is a key Darknet ignores{meant}"
        elif value is not None:
            got = _misread(known[key], key, value)
            if got is not None:
                hint = " (a comment needs a line of its own)" if re.search("[#;]", value) else ""
                yield f"line {line}: [{section.name}] {written} is read as {key}={got}{hint}"
    if section.name == "net":
        yield from _net_remarks(section)


def _misread(kind, key, value):
    """What a value is read as, where that is not what stands there; else None."""
    if kind == LIST:
        parts = value.split(",")
        reads = [_misread(INTEGER if key == "steps" else NUMBER, key, part) for part in parts]
        if all(read is None for read in reads):
            return None
        return ",".join(p if r is None else r for p, r in zip(parts, reads, strict=True))
    if kind in (INTEGER, NUMBER):
        pattern, read = (_INTEGER, as_integer) if kind == INTEGER else (_NUMBER, as_number)
        return None if pattern.fullmatch(value) else str(read(value))
    names, other = CHOICES.get(key, ((value,), None))
    return None if value in names else other


def _net_remarks(net):
    steps, scales = net.ints("steps"), net.floats("scales")
    if len(scales) > len(steps):
        yield f"{net.at('scales')} has {len(scales)} values, of which the first {len(steps)} count"
    batch, parts = net.get("batch", 1), net.get("subdivisions", 1)
    if parts > 0 and batch % parts:
        yield (
            f"{net.at('subdivisions')} does not divide batch={batch}: {batch // parts} images are "
            f"taken {parts} times, {batch // parts * parts} an update"
        )
