"""What is said of the weights that a run starts from."""

import pytest

from tests import programs

SMALL = {"image_size": 32, "S": 4, "batch_size": 4, "epochs": 1, "eval_every": 0, "augment": "none"}
SMALL |= {"model_options": "width=0.25,depth=0", "dataset": "shapes:count=4,classes=2"}


def trained(folder, **values):
    flags = SMALL | values
    return programs.call(
        "experiments.train", f"--output_dir={folder}", *(f"--{n}={v}" for n, v in flags.items())
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "run"
    done = trained(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({}, []),
        ({"activations": "linear"}, ["activations were softmax, and are linear"]),
        (
            {"classes": "square,circle", "S": 2, "semantics": "keras_voc"},
            [
                "classes were circle, square, and are square, circle",
                "w and h were predict_sqrt, and are sqrt_in_loss",
            ],
        ),
    ],
)
def test_outputs_that_mean_something_else(values, changes, start, tmp_path):
    """Whether or not all other layers fit."""
    done = trained(tmp_path / "run", init=start, **values)
    assert done.returncode == 0, done.stderr
    for text in changes:
        assert f"  its {text}" in done.stdout, done.stdout
    assert done.stdout.count("the last layer starts with") == len(changes)


@pytest.mark.slow
def test_as_many_outputs_of_other_boxes(tmp_path):
    """One class and two boxes of a cell are eleven outputs, six classes and one box as well."""
    one, other = "shapes:count=4,classes=1", "shapes:count=4,classes=6"
    done = trained(tmp_path / "start", dataset=one)
    assert done.returncode == 0, done.stderr
    done = trained(tmp_path / "run", dataset=other, B=1, init=tmp_path / "start")
    assert done.returncode == 0, done.stderr
    assert "  its boxes of a cell were 2, and are 1: the last layer" in done.stdout, done.stdout


def test_a_cfg_file_has_nothing_to_pretrain(tmp_path):
    (tmp_path / "some.cfg").write_text("[net]\n")
    done = programs.call(
        "experiments.pretrain",
        *("--dataset=folders:none", f"--model=darknet:{tmp_path}/some.cfg"),
        f"--output_dir={tmp_path / 'run'}",
    )
    assert done.returncode != 0
    assert "some.cfg: a cfg file has no part that is pretrained here" in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()
