import dataclasses

import pytest

from yolov1.data import Augmentation
from yolov1.data.augmentation import PRESETS as PRESETS_OF_AUGMENT
from yolov1.data.cache import CACHE_BYTES, CACHES
from yolov1.semantics import CHOICES, PRESETS, LossSemantics
from yolov1.training import TrainConfig, cfg_files, parse_options


def test_round_trip_and_unknown_names_are_ignored():
    config = TrainConfig(S=14, epochs=3, warmup_epochs=1.0, model_options="width=2")
    assert TrainConfig.from_dict(config.to_dict() | {"dropped_later": 1}) == config


def test_a_cache_that_was_a_switch():
    """``config.json`` of runs before it became a choice."""
    for switch, choice in ((True, "auto"), (False, "off")):
        config = TrainConfig.from_dict(TrainConfig().to_dict() | {"cache": switch})
        assert config == TrainConfig(cache=choice)
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    assert fields["cache"].metadata["choices"] == CACHES
    assert fields["cache_bytes"].default == CACHE_BYTES
    with pytest.raises(ValueError, match="--cache must be one of auto, .*, off, got 'disk'"):
        TrainConfig(cache="disk")
    with pytest.raises(ValueError, match="--cache_bytes must be at least 0, got -1"):
        TrainConfig(cache_bytes=-1)


def test_runs_from_before_a_field_have_its_default():
    """``config.json`` of runs that knew no Darknet; a choice may name a file."""
    later = ("resize", "init", "subdivisions", "augment_options", "suppression")
    before = {name: v for name, v in TrainConfig().to_dict().items() if name not in later}
    assert TrainConfig.from_dict(before) == TrainConfig(
        resize="half_pixel", init="", subdivisions=1, augment_options="", suppression="hard"
    )
    for name in ("augment", "schedule"):
        config = TrainConfig(**{name: "darknet:some folder/yolo.cfg"})
        assert TrainConfig.from_dict(config.to_dict()) == config


def test_what_is_best_is_something_of_the_task():
    with pytest.raises(ValueError, match="--monitor must be one of map_voc07, .*got 'accuracy'"):
        TrainConfig(monitor="accuracy")
    with pytest.raises(ValueError, match="one of accuracy, val_loss with --task=classify"):
        TrainConfig(task="classify", S=1)
    with pytest.raises(ValueError, match="--S must be 1 with --task=classify, got 7"):
        TrainConfig(task="classify", monitor="accuracy")


def test_images_seen_are_of_a_schedule_that_goes_on_from_them():
    with pytest.raises(ValueError, match="--seen must be 0 with --schedule=cosine: .*got 64"):
        TrainConfig(seen=64)
    with pytest.raises(ValueError, match="--seen must be at least 0, got -1"):
        TrainConfig(seen=-1)
    assert TrainConfig(seen=64, schedule="darknet:yolo.cfg").seen == 64


@pytest.mark.parametrize("text", ["x", "1,x", "-1", "-1,3", "5,4", "1,2,3", "3,", "1.5"])
def test_steps_that_cannot_be_profiled(text):
    with pytest.raises(ValueError, match=f"--profile must be FIRST,LAST, .*got '{text}'"):
        TrainConfig(profile=text)


def test_steps_to_profile_are_both_included():
    for text, steps in (("", []), ("0", [0]), ("3,3", [3]), ("10, 12", [10, 11, 12])):
        assert list(TrainConfig(profile=text).steps_to_profile()) == steps


@pytest.mark.parametrize("text", ["0.01", "1:0.1", "0:0.1,0:0.2", "0:0.1,5:-1", "0:1,5", "0:nan"])
def test_learning_rates_that_are_no_table(text):
    with pytest.raises(ValueError, match="--learning_rates must be EPOCH:RATE"):
        TrainConfig(learning_rates=text)


def test_every_field_has_help():
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainConfig))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("width=1.5, depth=2", {"width": 1.5, "depth": 2}),
        ("a=true,b=False,c=none,d=x:y", {"a": True, "b": False, "c": None, "d": "x:y"}),
    ],
)
def test_parse_options(text, expected):
    assert parse_options(text) == expected


def test_parse_options_refuses_what_is_no_option():
    with pytest.raises(ValueError, match="NAME=VALUE.*got 'width'"):
        parse_options("depth=1,width")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"augment": "mixup"},
            "--augment must be one of none, paper, dihedral, darknet or darknet:CFG, got 'mixup'",
        ),
        ({"schedule": "darknet:"}, "--schedule must be one of .* or darknet:CFG, got 'darknet:'"),
        ({"optimizer": "darknet:x"}, "--optimizer must be one of .*darknet, got 'darknet:x'"),
        (
            {"suppression": "soft"},
            "--suppression must be one of hard, .*, got 'soft'",
        ),
        ({"resize": "nearest"}, "--resize must be one of half_pixel, darknet, darknet_black_row"),
        ({"activations": "relu"}, "--activations: activations must be one of linear, softmax, "),
        ({"neighbours": True}, "centres outside of their cell, .*--activations=softmax,xy=linear"),
        ({"subdivisions": 0}, "--subdivisions must be at least 1, and divide --batch_size=16"),
        ({"subdivisions": 3}, "--subdivisions must be at least 1, and divide .*=16, got 3"),
        ({"init": "a", "backbone": "b"}, "--init must be empty with --backbone, got 'a'"),
        ({"batch_size": 0}, "--batch_size must be at least 1, got 0"),
        ({"learning_rate": float("nan")}, "--learning_rate must be positive and finite"),
        ({"ema": 1.0}, r"--ema must be in \[0, 1\), got 1.0"),
        ({"warmup_epochs": -1.0}, "--warmup_epochs must be at least 0"),
        ({"warmup_epochs": float("inf")}, "--warmup_epochs must be at least 0 and finite, got inf"),
        ({"clip_norm": float("inf")}, "--clip_norm must be at least 0 and finite, got inf"),
        ({"clip_norm": float("nan")}, "--clip_norm must be at least 0 and finite, got nan"),
        ({"resume": True}, "--output_dir must be given with --resume, got ''"),
        ({"S": 0}, "S must be an integer of at least 1, got 0"),
        ({"semantics_options": "weigth_xy=1"}, "no option 'weigth_xy'; there are .*weight_xy"),
        ({"semantics_options": "weight_xy=high"}, "weight_xy must be a number, got 'high'"),
        ({"semantics_options": "weight_xy=none"}, "weight_xy must be a number, got None"),
        ({"augment_options": "scal=1"}, "--augment_options: no option 'scal'; there are .*scale"),
        ({"augment_options": "scale"}, "options must be NAME=VALUE,NAME=VALUE, got 'scale'"),
        ({"augment_options": "scale=big"}, "--augment_options: scale must be a number, got 'big'"),
        ({"augment_options": "flip=true"}, "--augment_options: flip must be a number, got True"),
        ({"augment_options": "scale=none"}, "scale must be a number, got None"),
        ({"augment_options": "scale=1"}, r"Augmentation: scale must be in \[0, 1\), got 1"),
        ({"augment_options": "min_visible=nan"}, r"min_visible must be in \[0, 1\], got nan"),
        ({"augment_options": "jitter=.1"}, "jitter must be 0 beside scale=0.2 and translate=0.2"),
        ({"augment_options": "sampling=none"}, "sampling must be one of half_pixel, .*got 'none'"),
        ({"augment": "darknet:x", "augment_options": "hue=2"}, r"hue must be in \[0, 1\], got 2"),
        ({"fork": "run@3", "augment_options": "hue=red"}, "hue must be a number, got 'red'"),
        (
            {"semantics_options": "confidence_loss=cross_entropy", "activations": "linear"},
            "--activations must make .* a sigmoid of confidences with confidence_loss",
        ),
        (
            {"semantics_options": "class_loss=cross_entropy", "activations": "sigmoid"},
            "a softmax of classes with class_loss=.*'sigmoid': give .*classes=softmax",
        ),
        ({"semantics_options": "ties=both"}, "ties must be one of 'first', 'last', 'all'"),
    ],
)
def test_refused_values(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_of_a_loss_is_a_word_of_the_options(name):
    for preset in PRESETS:
        for value in CHOICES[name]:
            config = TrainConfig(semantics=preset, semantics_options=f"{name}={value}")
            assert getattr(config.loss_semantics(), name) == value


def test_semantics_options_change_the_preset():
    config = TrainConfig(semantics_options="box=ciou")
    assert config.loss_semantics() == LossSemantics(box="ciou")
    config = TrainConfig(semantics="darknet", semantics_options="weight_no_object=1,ties=last")
    expected = dataclasses.replace(
        LossSemantics.preset("darknet"), weight_no_object=1.0, ties="last"
    )
    assert config.loss_semantics() == expected


def test_augment_options_change_the_preset():
    for preset in PRESETS_OF_AUGMENT:
        config = TrainConfig(augment=preset)
        assert cfg_files.augmentation(config) == Augmentation.preset(preset)
        config = TrainConfig(augment=preset, augment_options="min_visible=0.6, exposure=2")
        expected = dataclasses.replace(Augmentation.preset(preset), min_visible=0.6, exposure=2.0)
        assert cfg_files.augmentation(config) == expected
    config = TrainConfig(
        augment="darknet", augment_options="jitter=0,scale=0.3,sampling=half_pixel"
    )
    moved = Augmentation(hue=0.1, min_visible=0.0, scale=0.3, translate=0.0)
    assert cfg_files.augmentation(config) == moved


def test_augment_options_change_what_a_file_says(tmp_path):
    (tmp_path / "a.cfg").write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\nhue=.05\n[detection]\njitter=.3\n"
    )
    values = {"augment": f"darknet:{tmp_path / 'a.cfg'}", "augment_options": "hue=1,min_visible=.6"}
    got = cfg_files.augmentation(TrainConfig(**values))
    assert got == dataclasses.replace(
        Augmentation.preset(values["augment"]), hue=1.0, min_visible=0.6
    )
    assert (got.jitter, got.sampling) == (0.3, "darknet")
    assert cfg_files.fields(values) == ({}, {})
    # Only the file tells that these do not go together: it is asked before anything starts.
    values["augment_options"] = "scale=0.3"
    TrainConfig(**values)
    with pytest.raises(ValueError, match="jitter must be 0 beside scale=0.3"):
        cfg_files.fields(values)


def test_options_that_another_run_decides_on():
    """A fork has its preset from there: `experiments.train` asks that."""
    assert TrainConfig(fork="run@3", augment_options="jitter=0.1").augment == "paper"


def test_a_cross_entropy_asks_for_the_activations_of_its_own_blocks():
    entropies = "confidence_loss=cross_entropy,class_loss=cross_entropy"
    config = TrainConfig(semantics_options=entropies, activations="softmax,xy=linear")
    assert config.loss_semantics().class_loss == "cross_entropy"
    with pytest.raises(ValueError, match="a sigmoid of confidences with confidence_loss"):
        TrainConfig(semantics_options=entropies, activations="softmax,confidences=linear")
    TrainConfig(semantics_options="class_loss=cross_entropy", activations="linear,classes=softmax")


def test_of_a_fork_the_other_run_says_the_activations():
    config = TrainConfig(fork="runs/a@3", neighbours=True)
    with pytest.raises(ValueError, match="--activations=softmax,xy=linear"):
        config.require_activations()
