"""The flags of experiments that run a trained detector, and the detector that they say."""

from absl import app, flags

from yolov1 import inference

from . import evaluators
from .flags import user_errors

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

CHECKPOINT = "Run directory, or a file (or folder) that experiments.export wrote."
# Beside ``--checkpoint``.
FLAGS = ("which", "score_threshold", "iou_threshold", "tiles", "overlap", "augment")


def define(*, required=True, **defaults):
    """Defines the flags that say which detector is run, and how.

    Args:
        required: whether ``--checkpoint`` must be given.
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


def thresholds() -> dict:
    """Those that the flags say, as options of `inference.Detector`."""
    names = ("score_threshold", "iou_threshold")
    return {n: flags.FLAGS[n].value for n in names if flags.FLAGS[n].value is not None}


def load_detector(**options):
    """The detector that the flags say.

    Args:
        options: further ones of `inference.load`, such as `clip`.
    """
    path, which = flags.FLAGS.checkpoint, flags.FLAGS.which
    with user_errors(str(path)):
        return with_views(inference.load(path, which=which, **thresholds() | options))


def with_views(detector):
    """The detector, looking at as many views of a picture as the flags say.

    The experiment has a ``--batch_size`` as well.
    """
    if flags.FLAGS["overlap"].present and not flags.FLAGS.tiles:
        raise app.UsageError("--overlap is of tiles: give their size, --tiles=SIZE, as well.")
    if flags.FLAGS.augment == "flip":
        detector = inference.flipped(detector)
    if flags.FLAGS.tiles:
        size, overlap = flags.FLAGS.tiles, flags.FLAGS.overlap
        detector = inference.tiled(detector, size, overlap, flags.FLAGS.batch_size)
    return detector


def at_once() -> int:
    """How many pictures go to the detector at once: of a large one, tiles fill the batch."""
    return 1 if flags.FLAGS.tiles else flags.FLAGS.batch_size
