"""The file that describes a YOLO data set: a ``data.yaml``, or Darknet's ``*.data``."""

from pathlib import Path

import yaml

from yolov1.darknet.results import read_data
from yolov1.data.formats import values
from yolov1.data.formats.paths import locate, spellings
from yolov1.files import read_text
from yolov1.names import by_number, distinct, read_names

NOTHING = ("", "~", "null", "none")  # how a YAML says that a key has no value
SPLITS = ("train", "val", "valid", "validation", "test")


class _Texts(yaml.BaseLoader):
    """YAML with every scalar as it is written: a class may be called ``no``, ``1.0`` or ``007``."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in (str(self.construct_object(key)) for key, _ in node.value):
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_settings(file, remarks=None) -> dict:
    """{key: text, list of texts or dict of texts}; a key without a value is left out.

    Args:
        file: a YAML or ``*.data`` file.
        remarks: a list that takes (file, what should be known).

    Raises:
        ValueError: not readable, or no mapping of keys to values; names the file.
    """
    if Path(file).suffix.lower() == ".data":
        found, said = read_data(file)
        if remarks is not None:
            remarks += [(str(file), remark) for remark in said]
    else:
        text = read_text(file)
        try:
            found = yaml.load(text, _Texts)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{file} must have lines 'key: value', got {str(found)[:80]!r}.")
    return {k: v for k, v in found.items() if str(v).strip().lower() not in NOTHING}


class Settings:
    """What a settings file says of classes and splits.

    Args:
        file: a YAML or ``*.data`` file.

    Attributes:
        base: its folder.
        anchors: folders that its paths may be relative to.
        root: the folder of its key ``path``, if it is there (`says_root`), else `base`.
        names: tuple of class names, or None where it does not say.
        remarks: list of (file, what should be known).
    """

    def __init__(self, file):
        self.file, self.base = Path(file), Path(file).parent
        self.remarks = []
        self.settings = read_settings(file, self.remarks)
        self._path = self.settings.get("path", "")
        self.anchors = (self.base, self.base.parent)
        (root,) = locate([self._path], self.anchors).places if self._path else (self.base,)
        self.says_root = root is not None and root.is_dir() and bool(self._path)
        self.root = root if self.says_root else self.base
        self.names = self._names()

    def splits(self) -> list[str]:
        return [name for name in SPLITS if name in self.settings]

    def places(self, split) -> list[Path]:
        """The folders and lists of one of `splits`.

        Raises:
            FileNotFoundError: one is not there, nor can its path be understood as one of another
                machine; says where it was looked for.
        """
        texts = {name: self._texts(name) for name in self.splits()}
        every = [text for found in texts.values() for text in found]
        found = dict(zip(every, locate(every, self.anchors).places, strict=True))
        moved = {t for t, place in found.items() if place and place not in self._direct(t)}
        # Data sets are often handed on without their test images.
        needed = [text for name in texts if name != "test" for text in texts[name]]
        if moved and any(found[text] is None for text in needed):
            found |= dict.fromkeys(moved)
        for text in texts[split]:
            if found[text] is None:
                raise FileNotFoundError(
                    f"yolo:{self.file}: {split}: {text} does not exist; looked for "
                    f"{', '.join(map(str, self._direct(text)))}. Nor can its leading parts be left "
                    "out in one way that leads every split to a place of its own. Correct the path "
                    "(and path:, where it is given)."
                )
            if text in moved:
                remark = f"{split}: {text} is not here; {found[text]} is taken"
                self.remarks.append((str(self.file), remark))
        places = list(dict.fromkeys(found[text] for text in texts[split]))
        others = {p: name for name in texts if name != split for p in map(found.get, texts[name])}
        for place in places:
            for above in place.parents:
                if above in others:
                    remark = f"{split}: {place} lies in {above}, which is {others[above]}"
                    self.remarks.append((str(self.file), remark))
        return places

    def _direct(self, text):
        # Darknet runs above the folder of its settings; a YAML's paths are relative to the YAML.
        anchors = self.anchors if self.file.suffix == ".data" else self.anchors[:1]
        tries = [anchor / path for path in spellings(text) for anchor in anchors]
        return list(dict.fromkeys(tries))  # one, where the path is absolute

    def _texts(self, split):
        stated = self.settings[split]
        texts = stated if isinstance(stated, list) else [stated]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"yolo:{self.file}: {split} must be a path or a list of paths, got {stated!r}."
            )
        # Joined as texts: locate drops leading parts of the whole, those of `path` first.
        return [_joined(self._path, text.strip()) for text in texts]

    def _names(self):
        stated = self.settings.get("names")
        if stated is None:
            return None
        if isinstance(stated, str):
            (file,) = locate([stated], self.anchors, files=True).places
            if file is None:
                raise FileNotFoundError(
                    f"yolo:{self.file}: the file of names {stated} does not exist; looked for "
                    f"{', '.join(map(str, self._direct(stated)))}."
                )
            names = read_names(file)
        elif isinstance(stated, dict):
            numbered = {
                values.whole(key, f"yolo:{self.file}: a key of names"): _name(name, self.file)
                for key, name in stated.items()
            }
            if len(numbered) != len(stated):
                raise ValueError(f"yolo:{self.file}: names: a class id is there twice.")
            names, remarks = by_number(numbered, f"yolo:{self.file}: names")
            self.remarks += [(str(self.file), remark) for remark in remarks]
        else:
            names = distinct([_name(n, self.file) for n in stated], f"yolo:{self.file}: names")
        for key in ("nc", "classes"):
            said = self.settings.get(key)
            if isinstance(said, str) and values.whole(said, f"{self.file}: {key}") != len(names):
                remark = f"{key} is {said}, but there are {len(names)} names; the names count"
                self.remarks.append((str(self.file), remark))
        return names


def _name(name, file):
    if not isinstance(name, str):
        raise ValueError(f"yolo:{file}: names must be texts, got {name!r}.")
    return "" if name.strip() in ("~", "null") else name.strip()  # refused as no name


def _joined(path, text):
    whole = text.startswith(("/", "~", "\\")) or text[1:2] == ":"
    return text if whole or not path else f"{path.rstrip('/')}/{text}"
