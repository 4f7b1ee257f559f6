import colorsys
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.shared import shared
from yolov1.data.augmentation import PRESETS, Augmentation, Draw, change_colours, draw, move_boxes


def drawn(window=(0, 0, 1, 1), flip_x=False, flip_y=False, transpose=False):
    return Draw(
        tf.constant([window], tf.float32),
        tf.constant([[flip_x, flip_y]]),
        tf.constant([transpose]),
        tf.constant([[0.0, 1.0, 1.0]]),
    )


def moved(boxes, view, min_visible=0.25):
    """(the boxes that are kept, their indices)"""
    boxes = tf.constant(boxes, tf.float32)[None]
    boxes, valid = move_boxes(boxes, tf.ones(boxes.shape[:2], bool), view, min_visible)
    kept = np.nonzero(valid.numpy()[0])[0]
    return boxes.numpy()[0, kept], kept.tolist()


def test_window_by_hand():
    # The window is the left half of the image: x doubles.
    boxes, kept = moved([[0.25, 0.5, 0.1, 0.2]], drawn((0, 0, 0.5, 1)))
    np.testing.assert_allclose(boxes, [[0.5, 0.5, 0.2, 0.2]], rtol=1e-6)
    assert kept == [0]


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({"flip_x": True}, [0.8, 0.3, 0.1, 0.2]),
        ({"flip_y": True}, [0.2, 0.7, 0.1, 0.2]),
        ({"transpose": True}, [0.3, 0.2, 0.2, 0.1]),
        ({"flip_x": True, "transpose": True}, [0.3, 0.8, 0.2, 0.1]),
    ],
)
def test_flips(flags, expected):
    boxes, _ = moved([[0.2, 0.3, 0.1, 0.2]], drawn(**flags))
    np.testing.assert_allclose(boxes, [expected], rtol=1e-6)


def test_boxes_are_clipped_and_dropped():
    window = (0.5, 0, 1.5, 1)
    # Half visible, a fifth visible, outside, and beyond the image's edge but in the window.
    sources = [
        [0.5, 0.5, 0.2, 0.2],
        [0.47, 0.5, 0.1, 0.2],
        [0.2, 0.5, 0.1, 0.1],
        [0.9, 0.5, 0.2, 1],
    ]
    boxes, kept = moved(sources, drawn(window))
    assert kept == [0, 3]
    np.testing.assert_allclose(boxes[0], [0.05, 0.5, 0.1, 0.2], rtol=1e-5)
    assert moved(sources, drawn(window), min_visible=0.1)[1] == [0, 1, 3]
    assert moved(sources, drawn(window), min_visible=1.0)[1] == [3]
    assert moved(sources, drawn(), min_visible=1.0)[1] == [0, 1, 2, 3]


def test_slivers_are_dropped():
    assert moved([[0.5, 0.5, 0.004, 0.5]], drawn())[1] == []


def test_no_box():
    boxes, kept = moved(np.zeros((0, 4)), drawn(flip_x=True))
    assert boxes.shape == (0, 4) and kept == []


def test_what_is_no_object_stays_none():
    boxes = tf.constant([[[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]]])
    _, valid = move_boxes(boxes, tf.constant([[True, False]]), drawn(), 0.25)
    assert valid.numpy().tolist() == [[True, False]]


def test_draw_is_a_function_of_seed_and_position():
    def values(seed, positions):
        drawn = draw(PRESETS["dihedral"], seed, tf.constant(positions, tf.int64))
        return np.concatenate(
            [np.reshape(tf.cast(v, tf.float32), (len(positions), -1)) for v in drawn], 1
        )

    together = values(1, [5, 6, 7])
    np.testing.assert_array_equal(together[:1], values(1, [5]))
    np.testing.assert_array_equal(together[1:], values(1, [6, 7]))
    assert (together[0] != together[1]).any() and (together[:1] != values(2, [5])).any()
    traced = tf.function(lambda p: draw(PRESETS["dihedral"], 1, p))(tf.constant([5], tf.int64))
    np.testing.assert_array_equal(together[:1, :4], traced.window)


def test_draws_fill_their_ranges():
    augmentation = Augmentation(hue=0.1, vertical_flip=0.25, transpose=1.0)
    many = tf.function(lambda: draw(augmentation, 3, tf.range(600)))()
    windows = many.window.numpy()
    sides = windows[:, 2:] - windows[:, :2]
    shift = (windows[:, 2:] + windows[:, :2]) / 2 - 0.5
    for values, limit in ((sides - 1, 0.2), (shift, 0.2)):
        assert np.abs(values).max() <= limit + 1e-6
        assert values.min() < -0.9 * limit and values.max() > 0.9 * limit
    hue, saturation, exposure = many.colour.numpy().T
    assert np.abs(hue).max() <= 0.1 and np.abs(hue).max() > 0.09
    for factor in (saturation, exposure):
        assert factor.min() >= 1 / 1.5 - 1e-6 and factor.max() <= 1.5 + 1e-6
        assert 0.4 < (factor > 1).mean() < 0.6
    shares = [*many.flips.numpy().mean(axis=0), many.transpose.numpy().mean()]
    np.testing.assert_allclose(shares, [0.5, 0.25, 1], atol=0.07)


def test_none_changes_nothing():
    view = draw(PRESETS["none"], 0, [0])
    np.testing.assert_array_equal(view.window, [[0, 0, 1, 1]])
    np.testing.assert_array_equal(view.colour, [[0, 1, 1]])
    assert not (view.flips.numpy().any() or view.transpose.numpy().any())
    assert not PRESETS["none"].changes_colours and PRESETS["paper"].changes_colours


@pytest.mark.parametrize("hue", [0.0, 0.07, -0.2])
def test_colours_against_a_conversion_to_hsv(hue):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(2, 5, 6, 3)).astype(np.float32)
    images[0, 0, 0] = 0.4  # grey has no hue
    images[0, 0, 1] = 0.0
    factors = np.array([[hue, 1.4, 0.8], [hue, 0.7, 1.3]], np.float32)
    changed = tf.function(change_colours, jit_compile=True)(images, factors, hue=bool(hue)).numpy()
    for n, (turn, saturation, exposure) in enumerate(factors):
        for pixel, result in zip(images[n].reshape(-1, 3), changed[n].reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
            rgb = colorsys.hsv_to_rgb((h + turn) % 1, s * saturation, v * exposure)
            np.testing.assert_allclose(result, np.clip(rgb, 0, 1), atol=2e-6)


def test_presets_and_errors():
    assert Augmentation.preset("paper") == Augmentation()
    dihedral = dataclasses.replace(Augmentation(), vertical_flip=0.5, transpose=0.5)
    assert Augmentation.preset("dihedral") == dihedral
    with pytest.raises(ValueError, match="'dihedral', 'darknet', 'darknet:PATH.cfg', got 'strong'"):
        Augmentation.preset("strong")
    wrong = {"scale": 1.0, "translate": 0.6, "exposure": 0.9, "flip": 1.1, "hue": -0.1}
    wrong |= {"saturation": float("nan"), "jitter": 0.5}
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=f"Augmentation: {name} must be .*, got {value}"):
            Augmentation(**{name: value})
    with pytest.raises(ValueError, match="jitter must be 0 beside scale=0.2 and translate=0.2"):
        Augmentation(jitter=0.1)
    with pytest.raises(ValueError, match="Augmentation: sampling must be one of half_pixel, dark"):
        Augmentation(sampling="nearest")


def test_a_jitter_moves_each_side_by_its_own_draw():
    many = tf.function(lambda: draw(PRESETS["darknet"], 3, tf.range(600)))()
    moves = many.window.numpy() - [0, 0, 1, 1]
    assert np.abs(moves).max() <= 0.2 + 1e-6
    assert (moves.min(axis=0) < -0.19).all() and (moves.max(axis=0) > 0.19).all()
    assert np.abs(np.corrcoef(moves.T) - np.eye(4)).max() < 0.15
    assert np.abs(many.colour.numpy()[:, 0]).max() == pytest.approx(0.1, rel=0.02)


CFG = """[net]
{net}
[convolutional]
filters=1
{more}[detection]
{detection}
"""


@pytest.mark.parametrize(
    "net, more, detection, want",
    [
        ("", "", "", (0.2, 0, 1, 1)),
        ("saturation=.75 \nexposure = .5\nhue=.1", "", "jitter=.3", (0.3, 0.1, 4 / 3, 2)),
        ("hue=.1", "[crop]\nsaturation=2\nexposure=1.5\n", "jitter=0", (0, 0, 2, 1.5)),
    ],
)
def test_the_numbers_of_a_cfg(tmp_path, net, more, detection, want):
    path = tmp_path / "a.cfg"
    path.write_text(CFG.format(net=net, more=more, detection=detection))
    jitter, hue, saturation, exposure = want
    assert Augmentation.preset(f"darknet:{path}") == dataclasses.replace(
        PRESETS["darknet"], jitter=jitter, hue=hue, saturation=saturation, exposure=exposure
    )


def test_what_a_cfg_cannot_say(tmp_path):
    path = tmp_path / "a.cfg"
    path.write_text(CFG.format(net="", more="", detection="jitter=.5"))
    with pytest.raises(ValueError, match=r"a\.cfg: Augmentation: jitter must be in .*, got 0.5"):
        Augmentation.preset(f"darknet:{path}")
    path.write_text(CFG.format(net="exposure=0", more="", detection=""))
    with pytest.raises(ValueError, match=r"a\.cfg: Augmentation: exposure must be a finite factor"):
        Augmentation.preset(f"darknet:{path}")
    path.write_text("[net]\n[softmax]\n")
    with pytest.raises(ValueError, match=r"a\.cfg has no \[detection\] section"):
        Augmentation.preset(f"darknet:{path}")


def test_the_cfg_files_of_the_family():
    folder = shared("golden", "darknet_full", "cfg")
    tiny = Augmentation.preset(f"darknet:{folder / 'yolov1-tiny@e84933b.cfg'}")
    assert (tiny.jitter, tiny.hue, tiny.saturation, tiny.exposure) == (0.2, 0.1, 4 / 3, 4 / 3)
    assert Augmentation.preset(f"darknet:{folder / 'yolov1@e84933b.cfg'}") == PRESETS["darknet"]
    crop = Augmentation.preset(f"darknet:{folder / 'yolo@8c5364f.cfg'}")
    assert crop == dataclasses.replace(PRESETS["darknet"], hue=0.0)
