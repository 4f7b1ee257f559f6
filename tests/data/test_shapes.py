import numpy as np
import pytest

from yolov1 import data
from yolov1.data import shapes


def test_counts_options_and_classes():
    assert len(data.open("shapes", "val")) == 300
    small = data.open("shapes:count=5,classes=3", "train+val")
    assert len(small) == 10 and small.classes == ("circle", "square", "triangle")
    assert len({e.image_id for e in small}) == 10
    only = data.open("shapes:count=20", classes="star,ring")
    assert only.classes == ("star", "ring")
    assert {label for e in only for label in e.labels} == {0, 1}
    for spec in ("shapes:number=3", "shapes:count=0", "shapes:classes=x"):
        with pytest.raises(ValueError, match="options are count=N and classes=K"):
            data.open(spec)
    with pytest.raises(ValueError, match="classes must be at most 6, got 7"):
        data.open("shapes:classes=7")


def test_deterministic_by_seed_split_and_index():
    def pixels(split="train", seed=0, index=3):
        return data.open("shapes:count=4", split, seed=seed, image_size=48)[index].image

    np.testing.assert_array_equal(pixels(), pixels())
    for other in ({"split": "val"}, {"seed": 1}, {"index": 2}):
        assert (pixels(**other) != pixels()).any()
    more = data.open("shapes:count=9", image_size=48)
    np.testing.assert_array_equal(more[3].image, pixels())


def test_same_scenes_at_another_size():
    small, large = (data.open("shapes:count=3", image_size=s) for s in (64, 128))
    for one, other in zip(small, large, strict=True):
        np.testing.assert_array_equal(one.boxes_cxcywh, other.boxes_cxcywh)
        assert one.size == (64, 64) and other.image.shape == (128, 128, 3)
        halved = other.image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved.mean((0, 1)) - one.image.mean((0, 1))).max() < 12


@pytest.mark.parametrize("label", range(len(shapes.CLASSES)))
def test_boxes_fit_the_drawn_pixels(label):
    rng = np.random.default_rng(label)
    for _ in range(20):
        outline, hole = shapes._outline(
            shapes.CLASSES[label], rng.uniform(0.1, 0.25), rng.uniform(0, 7)
        )
        shape = shapes.Shape(
            label, outline + 0.5, None if hole is None else hole + 0.5, np.zeros(3)
        )
        mask, rows, columns = shapes._mask(shape, 200)
        covered = np.zeros((200, 200))
        covered[rows, columns] = mask
        y, x = np.nonzero(covered > 0.02)
        drawn = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        # A box ends within its outermost pixels; a quarter more is one step of the fine raster.
        assert np.abs(drawn - shape.box_xyxy * 200).max() <= 1.25
        centre = covered[95:105, 95:105].mean()
        assert centre == (0 if hole is not None else 1)


def test_objects_can_be_seen():
    """Small overlaps only, inside the image, and unlike the ground they lie on."""
    dataset = data.open("shapes:count=150", "val")
    for example in dataset:
        boxes = example.boxes_cxcywh.astype(np.float64)
        low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
        assert 1 <= len(boxes) <= shapes.MOST_OBJECTS and low.min() > 0 and high.max() < 1
        assert 0.08 <= boxes[:, 2:].min() and boxes[:, 2:].max() <= 0.45
        for i in range(len(boxes)):
            for j in range(i):
                sides = np.clip(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]), 0, None)
                smaller = min(boxes[i, 2:].prod(), boxes[j, 2:].prod())
                assert sides.prod() <= shapes.MOST_COVERED * smaller + 1e-6
    counts = np.bincount(np.concatenate([e.labels for e in dataset]), minlength=6)
    assert counts.min() > 0.5 * counts.mean()


def test_splits_share_no_image():
    train, val = (data.open("shapes:count=60", split) for split in ("train", "val"))
    seen = {e.boxes_cxcywh.tobytes() for e in train}
    assert not seen & {e.boxes_cxcywh.tobytes() for e in val}


def test_pixels_are_kept():
    example = data.open("shapes:count=1")[0]
    assert example.path is None and example.image is example.image
