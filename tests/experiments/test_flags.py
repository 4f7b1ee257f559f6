"""What the command lines have in common."""

import errno
import re
import sys
from unittest import mock

import pytest
from absl import app as absl_app
from absl import flags as absl_flags

from experiments.lib import flags as experiment_flags
from tests import programs
from tests.shared import ROOT
from yolov1.training import TrainConfig

FLAGS = {
    "train": {*TrainConfig.__dataclass_fields__, "recipe", "accumulate"},
    "evaluate": {"checkpoint", "which", "dataset", "eval_split", "pictures", "output_dir"},
    "export": {"checkpoint", "format", "precision", "nms", "input", "calibration", "tolerance"},
    "prepare_voc": {"root", "years", "splits", "base_url", "tar_dir"},
    "explain": {"checkpoint", "which", "image", "dataset", "score_threshold", "output_dir"},
    "detect": {"checkpoint", "images", "score_threshold", "output_dir", "save", "tiles", "video"},
    "overfit_one_batch": {"dataset", "S", "learning_rate", "images", "steps", "recipe"},
    "pretrain": {
        "dataset",
        "model",
        "image_size",
        "epochs",
        "output_dir",
        "histograms",
        "augment_options",
    },
    "reproduce_keras_voc": {"root", "as_published", "defects", "epochs", "model_options"},
    "reproduce_tf2_person": {"root", "as_published", "defects", "dataset", "classes"},
    "inspect_dataset": {"dataset", "split", "sides", "pictures", "output_dir"},
    "convert": {"dataset", "split", "to", "copy", "difficult", "upright", "output_dir"},
    "crop_objects": {"dataset", "split", "margin", "min_side", "image_side", "output_dir"},
}


@pytest.mark.parametrize("name", FLAGS)
def test_help_has_the_command_and_each_flag(call_experiment, name):
    text = call_experiment(name, "--help").stdout
    assert f"python -m experiments.{name}" in text
    for flag in FLAGS[name] | {"debug"}:
        assert re.search(rf"--(\[no\])?{flag}:\s", text), flag


def test_a_word_that_is_no_flag_is_refused(call_experiment):
    done = call_experiment("train", "dataset=shapes")
    assert done.returncode != 0
    assert "unknown argument 'dataset=shapes'; a flag is --NAME=VALUE" in done.stdout + done.stderr


def test_an_error_of_the_system_says_from_where_to_where():
    full = OSError(errno.ENOSPC, "No space left on device", "in.jpg", None, "out.jpg")
    assert experiment_flags._sentence(full) == "in.jpg to out.jpg: No space left on device."


# ------------------------------------------------------------------------------------- the family

PROGRAMS = sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))
TRAINS = {"train", "pretrain", "reproduce_keras_voc", "reproduce_tf2_person"}
OWN_SIZES = "what is reproduced, or pretrained, is of this size"
MEASURES = "of a run: it has its own, which is the default"
# Flags of the same meaning whose default is not the same everywhere, and why.
OTHER_DEFAULTS = {
    **dict.fromkeys(("B", "S", "epochs", "image_size", "model", "task", "semantics"), OWN_SIZES),
    **dict.fromkeys(("dataset", "train_split", "eval_split", "eval_every", "monitor"), OWN_SIZES),
    "bad_examples": "a look at a data set, and a download, list what cannot be used and go on",
    "batch_size": "no gradient is kept where nothing is trained; one post has batches of 4",
    "iou_threshold": MEASURES,
    "score_threshold": MEASURES + "; a review, and whoever asks a server, look at weak ones too",
    "pictures": "small ones by the hundred on a page, or a few that are looked at cell by cell",
    "output_dir": "a folder of the program's name, or in the run that it is about",
    "checkpoint": "None where it is a file too",
    "classes": "the post's choice for a download",
    "root": "a download has a place; the posts need one, or --dataset",
    "split": "one, or a list of which each stays one",
    "splits": "of the archives that there are",
    "images": "of one batch, of a legend, of files: each its own",
    "measure": "of curves, or of results, by the task",
    "seed": "the post's",
    "save": "formats; or whether",
    "precision": "of a training, or a list for files",
    "augment": "of a training, or of detection",
    "resize": MEASURES,
    "suppression": MEASURES,
}
# Flags whose text is not the same everywhere, and why.
OTHER_TEXTS = {
    **dict.fromkeys(
        ("images", "measure", "pictures", "root", "save", "seed", "split", "splits", "step", "to"),
        "each its own",
    ),
    **dict.fromkeys(("augment", "precision"), "of a training, or of a file"),
    **dict.fromkeys(("dataset", "eval_split", "resize", "suppression"), MEASURES),
    **dict.fromkeys(("address", "gpus_per_worker", "workers"), "some run elsewhere than on Ray"),
    "batch_size": "of a step, or at once, of which tiles are a part or requests the most",
    "checkpoint": "a run; or a file as well",
    "classes": "of an export in its order",
    "debug": "each has its own size",
    "defects": "of each post",
    "output_dir": "says what is written, and where by default",
    "resume": "of a training, or of all its workers",
    "storage": "of a training, or of all its workers",
}


@pytest.fixture(scope="module")
def flags_of():
    """Program -> its flags by name."""

    def of_program(name):
        found = {}

        def look(main, **_):
            own = absl_flags.FLAGS.get_key_flags_for_module(sys.argv[0])
            found.update((flag.name, flag) for flag in own)

        with mock.patch.object(absl_app, "run", look):
            done = programs.call(f"experiments.{name}")
        assert done.returncode == 0, done.stderr
        return found

    return {name: of_program(name) for name in PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_a_debug_size(flags_of, name):
    flag = flags_of[name]["debug"]
    assert flag.boolean and flag.default is False and flag.help.endswith(".")


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_flag_says_what_it_is(flags_of, name):
    for flag in flags_of[name].values():
        text = flag.help.partition(";\n    repeat this option")[0]  # of absl
        assert text.endswith((".", ")")), flag.name


def test_flags_of_one_name_are_one_flag(flags_of):
    """The same default and text in every program, but for what is listed with a reason."""
    defaults, texts = {}, {}
    for found in flags_of.values():
        for name, flag in found.items():
            defaults.setdefault(name, set()).add(repr(flag.default))
            texts.setdefault(name, set()).add(flag.help)
    for what, of_name, listed in (
        ("default", defaults, OTHER_DEFAULTS),
        ("text", texts, OTHER_TEXTS),
    ):
        differ = {name for name, values in of_name.items() if len(values) > 1}
        assert differ == set(listed), f"flags with more than one {what}"


def test_flags_of_trainings_have_the_words_of_the_dataclass(flags_of):
    fields = TrainConfig.__dataclass_fields__
    for name in TRAINS:
        for flag in flags_of[name].values():
            if flag.name in fields:
                assert flag.help.endswith(fields[flag.name].metadata["help"]), (name, flag.name)
