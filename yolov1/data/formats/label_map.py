"""What the classes of record files are called."""

import re

from yolov1.data.example import BadExampleError
from yolov1.files import read_names

LABEL_MAP = "label_map.pbtxt"
TOKEN = re.compile(r"""#.*|(item)\s*\{|(\w+)\s*:\s*(-?\d+|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')""")


def parse_label_map(text) -> dict[int, tuple[str, ...]]:
    """Reads a ``label_map.pbtxt``: {id: (name to show, other name)}, by id.

    The name to show is ``display_name`` where there is one.

    Raises:
        ValueError: an item without an id or a name.
    """
    items = []
    for begin, key, value in TOKEN.findall(text):
        if begin:
            items.append({})
        elif key and items:
            plain = value if value[-1] not in "'\"" else re.sub(r"\\(.)", r"\1", value[1:-1])
            items[-1].setdefault(key, plain)  # keypoints inside an item have an id of their own
    names = {}
    for item in items:
        shown = [item[key] for key in ("display_name", "name") if item.get(key)]
        if not shown or not item.get("id", "").lstrip("-").isdigit():
            raise ValueError(f"every item of a label map needs an id and a name; got {item}")
        names[int(item["id"])] = tuple(shown)
    return dict(sorted(names.items()))


def label_map_text(classes) -> str:
    """A label map of these names; labels count from 1."""
    quoted = [name.replace("\\", "\\\\").replace('"', '\\"') for name in classes]
    return "".join(
        f'item {{\n  id: {k}\n  name: "{name}"\n}}\n' for k, name in enumerate(quoted, start=1)
    )


class ClassNames:
    """What the classes of a set of record files are called.

    Args:
        files: the record files; label maps are looked for in their folders.

    Attributes:
        own: tuple of names, or None where no file says them.
    """

    def __init__(self, files):
        self.own, self.by_label, self.by_text = None, {}, {}
        folders = dict.fromkeys(file.parent for file in files)
        tries = [f for d in folders for f in (d / LABEL_MAP, *sorted(d.glob("*.pbtxt")))]
        tries += [folder / "classes.txt" for folder in folders]
        self.file = next((file for file in tries if file.is_file()), None)
        if self.file is None:
            return
        if self.file.suffix == ".pbtxt":
            try:
                names = parse_label_map(self.file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ValueError(f"records:{self.file}: {error}") from None
        else:
            names = {k: (line,) for k, line in enumerate(read_names(self.file), start=1)}
        if not names:
            raise ValueError(f"records:{self.file} names no class.")
        self.by_label = {label: shown[0] for label, shown in names.items()}
        self.by_text = {name: shown[0] for shown in names.values() for name in shown}
        self.own = tuple(dict.fromkeys(self.by_label.values()))

    def __call__(self, text, label):
        """The name of an object's class. A text that is no class's name leaves it to the label.

        Raises:
            BadExampleError: a label that the label map does not have.
        """
        name = self.by_text.get(text) or self.by_label.get(label) or text
        if name:
            return name
        if self.file is None:
            return f"class {label}"
        raise BadExampleError(
            f"unknown label {label}; {self.file} has {min(self.by_label)} to {max(self.by_label)}"
        )

    def learn(self, found):
        """Sets `own` to the names that occur: `found` is a set of (text, label) of objects."""
        numbers = {label for text, label in found if not text}
        texts = {text for text, _ in found if text}
        if numbers and texts:
            raise ValueError(
                f"records: some objects have texts ({', '.join(sorted(texts)[:3])}, ...), others "
                f"numbers only ({', '.join(map(str, sorted(numbers)[:3]))}, ...); write a "
                "label_map.pbtxt beside the files."
            )
        self.own = tuple(sorted(texts) or [f"class {label}" for label in sorted(numbers)])
