"""What a file of a detector says of itself: one text in JSON, in the file, whatever its format."""

import dataclasses
import json

from yolov1.grid import GridSpec

VERSION = 1
KEY = "yolov1"  # the entry's name, where a format has entries with names
FILE = "yolov1.json"  # the name of the text, where a format holds files
_LOWEST = -3.4e38  # in place of -inf, which JSON does not have


class WrongFile(ValueError):
    """A file that does not hold, or cannot become, what it is asked for."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """All that is needed to run a file of a detector, and where it came from.

    Attributes:
        classes: names by label, or None where nobody knew them.
        grid: the `GridSpec`.
        wh: a mode of `LossSemantics.wh`; for whoever decodes `predictions` once more.
        resize: how images come to the network's size; see `yolov1.inference.prepare`.
        nms: ``"inside"`` or ``"outside"``: where suppression takes place.
        score_threshold, iou_threshold, max_detections, clip, suppression, sigma: of
            `non_max_suppression`; what the file does with suppression inside, what it is meant to
            be used with otherwise. Of a file from before there were others suppression is hard.
        input_dtype: ``"float32"``, images in [0, 1]; or ``"uint8"``.
        precision: of the network's weights or all of its arithmetic; see `yolov1.inference.export`.
        revision: of the source that it was written by, or None.
        source: the name of the run, or None.
    """

    classes: tuple[str, ...] | None
    grid: GridSpec
    wh: str
    resize: str
    nms: str
    score_threshold: float
    iou_threshold: float
    max_detections: int
    clip: bool
    input_dtype: str = "float32"
    precision: str = "float32"
    revision: str | None = None
    source: str | None = None
    suppression: str = "hard"
    sigma: float = 0.5

    @property
    def options(self) -> dict:
        """Those of `Detector`'s attribute of that name."""
        names = ("score_threshold", "iou_threshold", "max_detections", "clip")
        names += ("suppression", "sigma")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """In ASCII, so that it passes through any format unharmed."""
        values = dataclasses.asdict(self)
        values["score_threshold"] = max(float(self.score_threshold), _LOWEST)
        return json.dumps({"version": VERSION} | values, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text, path) -> "Metadata":
        """Of the text that the file at `path` holds.

        Raises:
            WrongFile: another text, or one of a later version.
        """
        try:
            values = dict(json.loads(text))
            version = int(values.pop("version"))
        except (ValueError, TypeError, KeyError) as error:
            raise WrongFile(f"{path}: its metadata is no {FILE}: {error!r}.") from error
        if version > VERSION:
            raise WrongFile(
                f"{path}: its metadata is of version {version}, expected at most {VERSION}: it was "
                "written by a later yolov1. Update this one, or export the run with this one."
            )
        fields = {field.name for field in dataclasses.fields(cls)}
        try:
            values["grid"] = GridSpec(**values["grid"])
            if values["classes"] is not None:
                values["classes"] = tuple(map(str, values["classes"]))
                if len(values["classes"]) != values["grid"].C:
                    raise ValueError(f"{len(values['classes'])} classes, C={values['grid'].C}")
            return cls(**{name: value for name, value in values.items() if name in fields})
        except (ValueError, TypeError, KeyError) as error:
            raise WrongFile(
                f"{path}: its metadata is not as it was written: {error!r}. Export it again."
            ) from error


def missing(path) -> WrongFile:
    """The error of a file that does not say what it is."""
    return WrongFile(
        f"{path} holds no metadata of a detector ({FILE}: classes, grid, thresholds): it is cut, "
        "or comes from elsewhere. Give the run, or a file that inference.export or "
        "experiments.export wrote."
    )
