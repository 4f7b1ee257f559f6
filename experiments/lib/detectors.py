"""The flags of experiments that run a trained detector, and the detector that they say."""

from absl import flags

from yolov1 import inference

from . import evaluators

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

FLAGS = ("which", "score_threshold", "iou_threshold")  # beside ``--checkpoint``


def define(*, required=True, **defaults):
    """Defines the flags that say which detector is run, and how.

    Args:
        required: whether ``--checkpoint`` must be given.
        defaults: other defaults than those of pictures; None leaves a threshold to the detector.
    """
    values = {"score_threshold": evaluators.PICTURE_THRESHOLD, "iou_threshold": 0.5} | defaults
    flags.DEFINE_string("checkpoint", None, "Run directory.", required=required)
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
    return inference.load(path, which=which, **thresholds() | options)
