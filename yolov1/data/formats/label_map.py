"""What the classes of record files are called."""

import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from yolov1.data.example import BadExampleError
from yolov1.files import read_text
from yolov1.names import read_names, require_writable

LABEL_MAP = "label_map.pbtxt"


@functools.cache
def _message():
    """The message of a label map, as the Object Detection API of TensorFlow declares it; what else
    an item may hold (keypoints, hierarchies) is read over."""
    file = descriptor_pb2.FileDescriptorProto(name="yolov1/label_map.proto", package="yolov1")
    field = descriptor_pb2.FieldDescriptorProto
    item = file.message_type.add(name="Item")
    text, number = field.TYPE_STRING, field.TYPE_INT32
    for k, (name, kind) in enumerate((("name", text), ("id", number), ("display_name", text)), 1):
        item.field.add(name=name, number=k, type=kind, label=field.LABEL_OPTIONAL)
    file.message_type.add(name="LabelMap").field.add(
        **{"name": "item", "number": 1, "type": field.TYPE_MESSAGE},
        **{"label": field.LABEL_REPEATED, "type_name": ".yolov1.Item"},
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("yolov1.LabelMap"))


def parse_label_map(text) -> dict[int, tuple[str, ...]]:
    """Reads a ``label_map.pbtxt``: {id: (name to show, other name)}, by id.

    The name to show is ``display_name`` where there is one.

    Raises:
        ValueError: not a label map, an item without an id or a name, or two of one id or name.
    """
    try:
        found = text_format.Parse(text, _message()(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeError, RecursionError) as error:
        raise ValueError(f"not a label map (text format of a protocol buffer): {error}") from None
    names = {}
    for item in found.item:
        shown = tuple(name.strip() for name in (item.display_name, item.name) if name.strip())
        if not shown or not item.HasField("id"):
            said = " ".join(str(item).split())
            raise ValueError(f"every item of a label map needs an id and a name; got {said!r}")
        if item.id in names:
            raise ValueError(f"two items have the id {item.id}: {names[item.id][0]}, {shown[0]}")
        if any(shown[0] == other[0] for other in names.values()):
            raise ValueError(f"two items have the name {shown[0]!r}")
        names[item.id] = shown
    return dict(sorted(names.items()))


def label_map_text(classes) -> str:
    """A label map of these names; labels count from 1."""
    require_writable(classes, "write_records")
    label_map = _message()()
    for k, name in enumerate(classes, start=1):
        label_map.item.add(id=k, name=name)
    return text_format.MessageToString(label_map, as_utf8=True)


class ClassNames:
    """What the classes of a set of record files are called.

    Args:
        files: the record files; label maps are looked for in their folders.

    Attributes:
        own: tuple of names, or None where no file says them.
        remarks: list of (file, why it is not read).
    """

    def __init__(self, files):
        self.own, self.by_label, self.by_text, self.remarks = None, {}, {}, []
        found = {}
        for folder in dict.fromkeys(file.parent for file in files):
            for file in sorted(folder.glob("*.pbtxt")):
                names = self._label_map(file)
                if names:
                    found[file] = names
                else:
                    self.remarks.append((str(file), "not read: it is no label map"))
        if not found:
            classes = (folder / "classes.txt" for folder in dict.fromkeys(f.parent for f in files))
            found = {
                file: {k: (line,) for k, line in enumerate(read_names(file), start=1)}
                for file in classes
                if file.is_file()
            }
        self.file = next(iter(found), None)
        for file, names in found.items():
            if names != found[self.file]:
                raise ValueError(
                    f"records:{self.file} and {file} name different classes: there is no telling "
                    "which counts. Leave one, or open their folders one by one."
                )
        names = found.get(self.file, {})
        self.by_label = {label: shown[0] for label, shown in names.items()}
        # A name to show may be another class's name: it wins.
        self.by_text = {shown[-1]: shown[0] for shown in names.values()}
        self.by_text |= {shown[0]: shown[0] for shown in names.values()}
        self.own = tuple(dict.fromkeys(self.by_label.values())) or None

    @staticmethod
    def _label_map(file):
        text = read_text(file)
        if "item" not in text and file.name != LABEL_MAP:  # of a graph, or a pipeline
            return {}
        try:
            names = parse_label_map(text)
        except ValueError as error:
            raise ValueError(f"records:{file}: {error}") from None
        if not names:
            raise ValueError(f"records:{file} names no class.")
        return names

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
