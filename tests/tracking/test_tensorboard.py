"""What TensorBoard is given, read back with its own loader."""

import io
import json
import shutil
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.pr_curve import summary as pr_curve_summary

from tests.training.small_runs import assert_same_bits, final_state
from yolov1 import data, evaluation
from yolov1.evaluation.average_precision import Curve
from yolov1.inference import Detections
from yolov1.tracking import tensorboard
from yolov1.training import RunDirectory, TrainConfig
from yolov1.training.callbacks import MetricsFile, event_file
from yolov1.training.clocks import SPENT

KINDS = ("true", "false", "true_negatives", "missed", "precision", "recall")


def read(folder) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def values(events, tag) -> dict:
    """Step -> array of a tag."""
    return {e.step: tf.make_ndarray(e.tensor_proto) for e in events.Tensors(tag)}


def tags(events, prefix) -> list:
    return [tag for tag in events.Tags()["tensors"] if tag.startswith(prefix)]


@pytest.fixture
def path(tracked):
    return tracked[0] / "run [0]*"


@pytest.fixture
def events(path):
    return read(path / "tensorboard")


def test_the_scalars_have_their_names(path, events):
    rows = RunDirectory(path).read_metrics()
    for name in set(rows[0]) - {"epoch", "step", *SPENT}:  # to which the end adds
        found = {step: float(value) for step, value in values(events, name).items()}
        expected = {int(row["step"]): float(row[name]) for row in rows}
        assert found == pytest.approx(expected, rel=1e-6), name


def test_pictures_are_those_of_the_evaluation_set(events):
    found = tags(events, "pictures/")
    images = data.open("shapes:count=20", split="test", image_size=32)
    assert found == [f"pictures/{k:02d}-{images[k].image_id}" for k in range(tensorboard.PICTURES)]
    for tag in found:
        steps = values(events, tag)
        assert list(steps) == [2, 5]
        width, height, content = steps[2]
        assert Image.open(io.BytesIO(content)).size == (int(width), int(height)) == (240, 240)
    assert events.SummaryMetadata(found[0]).plugin_data.plugin_name == "images"


def test_histograms_count_every_weight(path, events):
    model = keras.models.load_model(path / "model.keras", compile=False)
    weights = {f"weights/{w.path}": keras.ops.convert_to_numpy(w) for w in model.weights}
    weights = {tag: w for tag, w in weights.items() if w.dtype == np.float32}
    assert sorted(tags(events, "weights/")) == sorted(weights)
    for tag, expected in weights.items():
        buckets = values(events, tag)[5]  # the averaged weights of the end, which were saved
        assert buckets[:, 2].sum() == expected.size
        assert buckets[0, 0] <= expected.min() and expected.max() <= buckets[-1, 1]
        inside = (expected >= buckets[3, 0]) & (expected < buckets[3, 1])
        assert buckets[3, 2] == inside.sum()


@pytest.mark.slow
def test_a_run_with_all_of_it_ends_with_the_same_bits(path, plain, tmp_path):
    # `latest_checkpoint` takes the run's name for a pattern.
    shutil.copytree(path / "checkpoints", tmp_path / "run" / "checkpoints")
    assert_same_bits(final_state(plain), final_state(tmp_path / "run"))


def test_flags_and_how_it_ended(path, events):
    plugin = events.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data
    start = hparams_metadata.parse_session_start_info_plugin_data(plugin.content)
    config = json.loads((path / "config.json").read_text())["config"]
    assert start.hparams["S"].number_value == 2 and start.hparams["histograms"].bool_value is True
    assert start.hparams["optimizer"].string_value == "adamw"
    assert set(start.hparams) == set(config) - {"output_dir", "resume"}
    assert start.group_name == str(path)
    plugin = events.SummaryMetadata(hparams_metadata.SESSION_END_INFO_TAG).plugin_data
    end = hparams_metadata.parse_session_end_info_plugin_data(plugin.content)
    assert end.status == 1  # success


def curve_of(scores, right, truth):
    hits = np.cumsum(right)
    return Curve(
        truth=truth,
        detections=len(scores),
        precision=hits / np.arange(1, len(hits) + 1),
        recall=hits / truth,
        scores=np.asarray(scores, np.float32),
    )


def test_points_are_tensorboards_own_where_every_object_is_found():
    """Its summary makes them of scores and labels, but knows nothing of objects without a box."""
    rng = np.random.default_rng(0)
    scores = np.sort(np.append(rng.random(500), [0.0, 0.5, 1.0]))[::-1].astype(np.float32)
    right = rng.random(503) < 0.5
    ours = tensorboard.points(curve_of(scores, right, right.sum()))
    theirs = pr_curve_summary.pb("x", right, scores.astype(np.float64))
    theirs = tf.make_ndarray(theirs.value[0].tensor)
    for kind, mine, other in zip(KINDS, ours, theirs, strict=True):
        if kind != "true_negatives":
            np.testing.assert_allclose(mine, other, rtol=1e-6, err_msg=kind)


def test_points_by_hand():
    table = np.stack(tensorboard.points(curve_of([1.5, 0.9, 0.9, 0.3, -1.0], [1, 0, 1, 1, 0], 6)))
    for threshold, true, false in ((0, 3, 2), (1, 3, 1), (60, 3, 1), (61, 2, 1), (179, 2, 1)):
        expected = [true, false, 0, 6 - true, true / (true + false), true / 6]
        np.testing.assert_allclose(table[:, threshold], expected, err_msg=str(threshold))
    np.testing.assert_allclose(table[:, 200], [1, 0, 0, 5, 1, 1 / 6])
    nothing = dict(zip(KINDS, tensorboard.points(curve_of([], [], 2)), strict=True))
    assert not nothing["precision"].any() and (nothing["missed"] == 2).all()


def test_curves_of_classes_with_objects(tmp_path):
    images = data.open("shapes:count=4", image_size=32)
    perfect = [
        Detections(
            np.concatenate([e.boxes_cxcywh[:, :2] - e.boxes_cxcywh[:, 2:] / 2,
                            e.boxes_cxcywh[:, :2] + e.boxes_cxcywh[:, 2:] / 2], axis=1),
            np.full(len(e.labels), 0.75, np.float32), e.labels,
        )
        for e in images
    ]  # fmt: skip
    images.classes = (*images.classes, "never seen")
    curves = {}
    evaluation.evaluate(perfect, images, curves=curves)
    assert list(curves) == list(images.classes)
    curves["caf\udce9"] = curve_of([0.5], [True], 1)  # bytes of a file's name
    with event_file(tmp_path, 1):
        tensorboard.write_curves(curves, 7)
    events = read(tmp_path)
    labels = np.concatenate([e.labels for e in images])
    seen = [f"precision_recall/{images.classes[k]}" for k in np.unique(labels)]
    assert tags(events, "precision_recall/") == [*seen, "precision_recall/caf?"]
    for k, tag in zip(np.unique(labels), seen, strict=True):
        (table,) = values(events, tag).values()
        found = dict(zip(KINDS, table, strict=True))
        assert (found["true"][:151] == (labels == k).sum()).all() and not found["true"][151:].any()
        assert (found["precision"][:151] == 1).all() and (found["recall"][:151] == 1).all()
        assert not found["false"].any() and not found["missed"][:151].any()


def test_a_resumed_run_takes_back_what_it_writes_again(tmp_path):
    """Steps 4 and 6 were written after the last checkpoint, of step 2."""
    for first, steps in ((1, (2, 4, 6)), (3, (4,))):
        if first > 1:
            time.sleep(1)  # the files' names are in order by the second they were begun in
        with event_file(tmp_path, first):
            for step in steps:
                tf.summary.scalar("loss", 10 * first + step, step)
    assert {k: float(v) for k, v in values(read(tmp_path), "loss").items()} == {2: 12, 4: 34}


@pytest.mark.parametrize("closed", [True, False])
def test_a_row_is_there_once(tmp_path, closed):
    """Also that of an epoch which was interrupted between its row and its end."""
    run_directory = RunDirectory(tmp_path)
    MetricsFile(run_directory, 1, [3, 6]).on_epoch_end(0, {"step": 3, "loss": 1.0})
    again = MetricsFile(run_directory, 4 if closed else 3, [3, 6])
    if not closed:
        again.on_epoch_end(0, {"step": 3, "loss": 2.0})
    again.on_epoch_end(1, {"step": 6, "loss": 3.0})
    losses = [float(row["loss"]) for row in run_directory.read_metrics()]
    assert losses == ([1.0, 3.0] if closed else [2.0, 3.0])


def test_what_cannot_be_written_is_a_warning_once(tmp_path, monkeypatch, capsys):
    def refuse(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(tensorboard, "write_pictures", refuse)

    class measure:
        class evaluator:
            dataset = data.open("shapes:count=1", image_size=32)
            detections = ()
            curves = {"ring": curve_of([0.5], [True], 1)}

    config = TrainConfig()
    callback = tensorboard.TensorBoard(config, RunDirectory(tmp_path), measure)
    with event_file(tmp_path, 1):
        for step in (1, 2):
            callback.on_epoch_end(0, {"step": step, "map_area": 0.5})
        callback.on_epoch_end(0, {"step": 3})  # nothing was measured
    said = capsys.readouterr().out
    assert said.count("pictures could not be written: OSError: no space left on device") == 1
    assert list(values(read(tmp_path), "precision_recall/ring")) == [1, 2]


@pytest.mark.parametrize("flags", [{}, {"histograms": True}])
def test_a_classifier_has_no_pictures_and_a_second_worker_no_file(flags, tmp_path, capsys):
    class measure:
        evaluator = object()

    callback = tensorboard.TensorBoard(
        TrainConfig(**flags), RunDirectory(tmp_path / "run"), measure
    )
    callback.set_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")]))

    def train():
        callback.on_train_begin()
        callback.on_epoch_end(0, {"step": 3, "accuracy": 0.5})
        callback.on_train_end()

    train()  # as on a worker without an event file
    assert not list(tmp_path.iterdir())
    with event_file(tmp_path, 1):
        train()
    assert "warning" not in capsys.readouterr().out
    found = [tag for tag in tags(read(tmp_path), "") if not tag.startswith("_hparams_")]
    weights = [f"weights/{weight.path}" for weight in callback.model.weights]
    assert weights and found == (weights if flags else [])


def test_large_pictures_are_made_smaller():
    assert tensorboard._reduced(np.zeros((3000, 1000, 3), np.uint8)).shape == (480, 160, 3)
    assert tensorboard._reduced(np.zeros((40, 1, 3), np.uint8)).shape == (40, 1, 3)


def test_a_study_is_a_table(tmp_path):
    def trial(rate, seed, state, **figures):
        variant = f"learning_rate={rate}"
        path = f"{variant}/seed-{seed}"
        flags = {"learning_rate": rate, "semantics": "paper"}
        return {"variant": variant, "path": path, "state": state, "flags": flags,
                "figures": figures}  # fmt: skip

    study = {
        "varied": ["learning_rate", "semantics"],
        "measure": "map_area",
        "trials": [
            trial("1e-3", 0, "finished", map_area=0.5, **{"ap_per_class.ring": 0.1}),
            trial("1e-3", 1, "finished", map_area=0.7),
            trial("2e-3", 0, "failed"),
        ],
    }
    for _ in range(2):  # what was there is replaced
        tensorboard.write_study(tmp_path, study)
    folder = tmp_path / "hparams"
    assert len(list(folder.rglob("*tfevents*"))) == 1 + len(study["trials"])
    plugin = read(folder).SummaryMetadata(hparams_metadata.EXPERIMENT_TAG).plugin_data
    experiment = hparams_metadata.parse_experiment_plugin_data(plugin.content)
    assert [info.name for info in experiment.hparam_infos] == study["varied"]
    assert [info.name.tag for info in experiment.metric_infos] == ["map_area"]
    groups = []
    for one, status in zip(study["trials"], (1, 1, 2), strict=True):
        events = read(folder / one["path"])
        plugin = events.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data
        start = hparams_metadata.parse_session_start_info_plugin_data(plugin.content)
        assert start.hparams["learning_rate"].number_value == float(one["flags"]["learning_rate"])
        assert start.hparams["semantics"].string_value == "paper"
        groups.append(start.group_name)
        plugin = events.SummaryMetadata(hparams_metadata.SESSION_END_INFO_TAG).plugin_data
        end = hparams_metadata.parse_session_end_info_plugin_data(plugin.content)
        assert end.status == status
        found = [float(v) for tag in tags(events, "map_area") for v in values(events, tag).values()]
        assert found == pytest.approx(list(one["figures"].values())[:1])
    assert groups[0] == groups[1] != groups[2]
