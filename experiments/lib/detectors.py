"""The flags of experiments that run a trained detector, and the detector that they say."""

from absl import app, flags

from yolov1 import inference
from yolov1.files import user_path
from yolov1.kernels import SUPPRESSIONS

from . import evaluators, subjects
from .flags import user_errors

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

CHECKPOINT = "Run directory, or a file (or folder) that experiments.export wrote."
# Beside ``--checkpoint``.
THRESHOLDS = ("score_threshold", "iou_threshold", "suppression", "sigma")
FLAGS = ("which", *THRESHOLDS, "tiles", "overlap", "augment")


def define(*, required=True, views=True, **defaults):
    """Defines the flags that say which detector is run, and how.

    Args:
        required: whether ``--checkpoint`` must be given.
        views: whether it may look at several views of a picture.
        defaults: other defaults than those of pictures; None leaves a threshold to the detector.
    """
    values = {"score_threshold": evaluators.PICTURE_THRESHOLD, "iou_threshold": 0.5} | defaults
    flags.DEFINE_string("checkpoint", None, CHECKPOINT, required=required)
    flags.DEFINE_enum(
        "which", "last", ("last", "best"), "Weights: the last ones, or the best by --monitor."
    )
    flags.DEFINE_float(
        "score_threshold", values["score_threshold"], "Boxes that score less are left out.", 0.0
    )
    flags.DEFINE_float(
        "iou_threshold",
        values["iou_threshold"],
        "Overlap above which the lower scored box goes.",
        0.0,
        1.0,
    )
    flags.DEFINE_enum(
        "suppression",
        None,
        SUPPRESSIONS,
        "hard: that box goes; linear: its score falls by that share; gaussian: those of all that "
        "overlap fall (Soft-NMS). Default: as the run or the file has it.",
    )
    flags.DEFINE_float("sigma", None, "Of gaussian: smaller, more falls (0.5).", 1e-30, 1e30)
    if views:
        _define_views()


def _define_views():
    flags.DEFINE_integer(
        "tiles",
        0,
        "For large pictures with small objects: look at square tiles of so many pixels; 0: at the "
        "whole picture.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "overlap",
        0.25,
        "Of neighbouring --tiles, as a fraction of a tile: objects should be no larger.",
        0.0,
        0.9,
    )
    flags.DEFINE_enum(
        "augment",
        "none",
        ("none", "flip"),
        "flip: look at the mirror image as well, in twice the time.",
    )


def load_detector(**options):
    """The detector that the flags say.

    Args:
        options: further ones of `inference.load`, such as `clip`.
    """
    path, which = flags.FLAGS.checkpoint, flags.FLAGS.which
    known = {name: flags.FLAGS[name] for name in THRESHOLDS}
    given = {name: flag.value for name, flag in known.items() if flag.present}
    others = {name: flag.value for name, flag in known.items() if not flag.present}
    with user_errors(str(path)):
        detector = inference.load(path, which=which, **given | options)
    detector = detector.with_other(**_as_far_as_it_goes(detector, others))
    return with_views(detector) if "tiles" in flags.FLAGS else detector


def load_named():
    """As `load_detector`; classes whose names nobody knew are numbered."""
    detector = load_detector()
    detector.classes = inference.class_names(detector)
    return detector


def _as_far_as_it_goes(detector, defaults) -> dict:
    """Of the defaults, what a detector can follow: a file that suppresses inside has its own."""
    defaults = {name: value for name, value in defaults.items() if value is not None}
    if getattr(detector, "metadata", None) is None or detector.metadata.nms == "outside":
        return defaults
    lowest = detector.metadata.score_threshold
    return {name: max(v, lowest) for name, v in defaults.items() if name == "score_threshold"}


def with_views(detector):
    """The detector, looking at as many views of a picture as the flags say.

    The experiment has a ``--batch_size`` as well.
    """
    if flags.FLAGS["overlap"].present and not flags.FLAGS.tiles:
        raise app.UsageError("--overlap is of tiles: give their size, --tiles=SIZE, as well.")
    with user_errors(str(flags.FLAGS.checkpoint)):
        if flags.FLAGS.augment == "flip":
            detector = inference.flipped(detector)
        if flags.FLAGS.tiles:
            size, overlap = flags.FLAGS.tiles, flags.FLAGS.overlap
            detector = inference.tiled(detector, size, overlap, flags.FLAGS.batch_size)
    return detector


def at_once() -> int:
    """How many pictures go to the detector at once: of a large one, tiles fill the batch."""
    return 1 if flags.FLAGS.tiles else flags.FLAGS.batch_size


def default_output(name) -> str:
    """Where results go: a folder in a run, or beside a file (which may be a folder of its own)."""
    path = user_path(flags.FLAGS.checkpoint)
    return str(path.absolute()) + f"-{name}" if subjects.is_file(path) else f"{path}/{name}"
