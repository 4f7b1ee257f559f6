"""Tiles and mirror images: with a detector of known answers, and with a trained one on a mosaic."""

import numpy as np
import pytest

from tests import programs
from tests.shared import shared
from yolov1 import data, evaluation, inference, ops
from yolov1.boxes import cxcywh_to_xyxy
from yolov1.evaluation import GroundTruth
from yolov1.grid import GridSpec
from yolov1.inference import Detections, tiles
from yolov1.inference.detect import prepare

OPTIONS = {"score_threshold": 0.1, "iou_threshold": 0.5, "max_detections": 300, "clip": True}
OPTIONS |= {"suppression": "hard", "sigma": 0.5}


class Sure:
    """Has the face of a detector that sees the same in every view, before what it suppresses."""

    grid, wh, resize, classes = GridSpec(S=2, B=1, C=2, image_size=8), "plain", "half_pixel", "ab"

    def __init__(self, boxes, scores, **options):
        self.seen, self.options = (boxes, scores), OPTIONS | options

    def with_other(self, **options):
        return Sure(*self.seen, **self.options | options)

    def detect(self, images, batch_size=32):
        found = ops.non_max_suppression(*self.seen, **self.options)
        boxes, scores, labels, count = (np.asarray(part)[0] for part in found)
        return [Detections(boxes[:count], scores[:count], labels[:count])] * len(images)


@pytest.mark.parametrize("suppression", ["linear", "gaussian"])
def test_views_are_suppressed_softly_once(suppression):
    """All that two views see goes together through one suppression, as if one detector had seen it;
    what a view holds does not fall twice."""
    rng = np.random.default_rng(0)
    corners, sides = rng.uniform(0, 0.6, (1, 4, 2)), rng.uniform(0.2, 0.4, (1, 4, 2))
    boxes = np.concatenate([corners, corners + sides], axis=-1).astype(np.float32)
    scores = rng.uniform(0.5, 1, (1, 4, 2)).astype(np.float32)
    detector = Sure(boxes, scores, suppression=suppression, iou_threshold=0.1, clip=False)
    moved = boxes + np.float32(0.05)

    def aside(found):
        return Detections(found.boxes_xyxy + np.float32(0.05), found.scores, found.labels)

    picture = [np.zeros((8, 8, 3), np.uint8)]
    views = [tiles.View(lambda: picture[0], back) for back in (lambda found: found, aside)]
    for some, seen in (
        (views[:1], (boxes, scores)),
        (views, (np.concatenate([boxes, moved], 1), np.concatenate([scores, scores], 1))),
    ):
        (found,) = tiles.ManyViews(detector, lambda image, some=some: some).detect(picture)
        (want,) = Sure(*seen, **detector.options).detect(picture)
        for name in ("boxes_xyxy", "scores", "labels"):
            np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    assert (found.scores < np.sort(scores.ravel())[0]).sum() > 3  # something fell


class Finder:
    """Has the face of a detector, and finds what is painted in one red that occurs nowhere else.

    Of an object that the edge cuts it finds the part that it sees, as sure as of a whole one.
    """

    grid, wh, resize, classes = GridSpec(S=2, B=1, C=2, image_size=8), "plain", "half_pixel", "ab"

    def __init__(self, **options):
        self.options = OPTIONS | options
        self.shapes, self.batches = [], []

    def detect(self, images, batch_size=32):
        found = []
        for start in range(0, len(images), batch_size):
            batch = [images[i] for i in range(start, min(start + batch_size, len(images)))]
            self.batches.append(len(batch))
            found += [self.look(np.asarray(getattr(image, "image", image))) for image in batch]
        return found

    def look(self, image):
        prepare(image, self.grid)  # refuses what is no image
        self.shapes.append(image.shape)
        height, width = image.shape[:2]
        boxes = []
        reds = [red for red in np.unique(image[..., 0]) if red not in (0, tiles.GREY)]
        for red in reds:
            y, x = np.nonzero(image[..., 0] == red)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        boxes = np.reshape(boxes, (-1, 4)) / (width, height, width, height)
        return Detections(boxes, np.array([0.5 + red / 512 for red in reds]), [0] * len(reds))


def painted(shape, boxes):
    image = np.zeros((*shape, 3), np.uint8)
    for red, (x0, y0, x1, y1) in enumerate(boxes, 1):
        image[y0:y1, x0:x1, 0] = red
    return image


def apart(rng, shape, side, count):
    """Boxes of sides up to `side` that do not touch."""
    taken, boxes = np.zeros(shape, bool), []
    for _ in range(count):
        h, w = rng.integers(1, side + 1, 2)
        y, x = rng.integers(0, [max(1, shape[0] - h), max(1, shape[1] - w)])
        place = np.s_[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1]
        if y + h <= shape[0] and x + w <= shape[1] and not taken[place].any():
            taken[place] = True
            boxes.append((x, y, x + w, y + h))
    return boxes


def in_pixels(found, shape):
    boxes = found.boxes_xyxy * (shape[1], shape[0], shape[1], shape[0])
    return sorted(map(tuple, np.round(boxes, 3).tolist()))


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(k, marks=pytest.mark.slow) for k in range(8, 40))]
)
def test_every_object_is_found_once_and_whole(seed):
    """As long as the overlap, less what counts for both tiles, is as large as the object."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(20, 400, 2))
    size = int(rng.integers(16, 120))
    overlap = rng.choice([0.25, 0.4, 0.6])
    side = max(1, int(size * overlap * (1 - 2 * tiles.BOTH)) - 1)
    boxes = apart(rng, shape, side, 60)
    finder = Finder()
    detector = inference.tiled(finder, size, overlap)
    (found,) = detector.detect([painted(shape, boxes)], batch_size=5)
    assert in_pixels(found, shape) == sorted(map(tuple, np.asarray(boxes, float).tolist()))
    if max(shape) > size:
        assert set(finder.shapes) == {(size, size, 3)}  # never stretched, none is smaller
    assert max(finder.batches) <= 5


def test_a_cut_object_is_left_to_the_tile_that_sees_it_whole():
    boxes = [(90, 40, 110, 60)]  # the tiles are 0..100 and 80..180
    image = painted((100, 180), boxes)
    halves = [view.image for view in inference.tiled(Finder(), 100, 0.2).views(image)]
    assert [len(found) for found in Finder().detect(halves)] == [1, 1]  # and both see of it
    (found,) = inference.tiled(Finder(), 100, 0.2).detect([image])
    assert in_pixels(found, (100, 180)) == [(90, 40, 110, 60)]


@pytest.mark.parametrize("shape", [(60, 60), (64, 64), (10, 64)])
def test_a_picture_no_larger_than_a_tile_is_looked_at_as_it_is(shape):
    image = painted(shape, [(1, 2, 9, 8), (30, 3, 40, 9)])
    finder = Finder()
    (plain,), (found,) = finder.detect([image]), inference.tiled(finder, 64).detect([image])
    assert finder.shapes == [(*shape, 3)] * 2
    for name in ("boxes_xyxy", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))


def test_what_lies_in_the_grey_beside_a_narrow_picture_is_nothing():
    class Grey(Finder):
        def look(self, image):
            assert image.shape == (64, 64, 3) and (image[20:] == tiles.GREY).all()
            return Detections([[0, 0.5, 0.2, 0.9], [0.1, 0.1, 0.3, 0.4]], [0.9, 0.8], [0, 1])

    image = np.zeros((20, 100, 3), np.uint8)
    (found,) = inference.tiled(Grey(), 64).detect([image])
    assert found.labels.tolist() == [1, 1] and (found.boxes_xyxy[:, 3] == 1).all()  # clipped
    tile = inference.tiled(Grey(), 64).views(np.zeros((20, 100, 3), np.float32))[0].image
    assert tile.dtype == np.float32 and tile[-1].max() == np.float32(127 / 255)


@pytest.mark.parametrize("length, size, overlap", [(65, 64, 0.0), (1000, 64, 0.25), (999, 7, 0.9)])
def test_tiles_cover_all_and_overlap_as_much_as_asked(length, size, overlap):
    places = tiles._places(length, size, overlap)
    starts = [start for start, *_ in places]
    assert starts[0] == 0 and starts[-1] == length - size
    assert max(np.diff(starts)) <= max(1, size * (1 - overlap))
    assert len(starts) == 1 + -(-(length - size) // max(1, int(size * (1 - overlap))))
    for (_, _, high), (_, low, _) in zip(places, places[1:], strict=False):
        assert low <= high  # no centre between two tiles is nobody's


def test_small_pictures_share_batches_and_a_large_one_has_its_own():
    finder = Finder()
    small, large = painted((30, 30), [(2, 2, 5, 5)]), painted((64, 300), [(2, 2, 5, 5)])
    found = inference.tiled(finder, 64, 0).detect([small] * 5 + [large] + [small] * 3, 4)
    assert [len(one) for one in found] == [1] * 9
    # 4 small ones; one and the 5 tiles of the large one; the rest
    assert finder.batches == [4, 4, 2, 3]


def test_tiles_fill_batches_of_their_own_where_pictures_come_one_at_a_time():
    finder, image = Finder(), painted((64, 300), [(2, 2, 5, 5)])
    assert len(inference.tiled(finder, 64, 0, batch_size=4).detect([image], 1)[0]) == 1
    assert finder.batches == [4, 1]


def test_pictures_are_asked_for_one_after_another():
    asked = []

    class Lazy:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            asked.append(index)
            return painted((40, 40), [(1, 1, 4, 4)])

    class Watching(Finder):
        def detect(self, images, batch_size=32):
            seen.append(list(asked))
            return super().detect(images, batch_size)

    seen = []
    assert len(inference.tiled(Watching(), 20).detect(Lazy(), 4)) == 3
    assert seen == [[0], [0, 1], [0, 1, 2]]
    assert inference.tiled(Finder(), 20).detect([]) == []


def test_more_boxes_than_a_detector_gives_for_one_image():
    shape, boxes = (100, 400), [(x, y, x + 5, y + 5) for x in range(0, 400, 20) for y in (10, 60)]
    (found,) = inference.tiled(Finder(max_detections=9), 100).detect([painted(shape, boxes)])
    assert len(found) == len(boxes)


def test_flipping_finds_what_either_sees():
    class LeftEyed(Finder):
        def look(self, image):
            return super().look(np.where(np.arange(image.shape[1])[:, None] < 60, image, 0))

    shape, boxes = (50, 100), [(5, 5, 20, 20), (80, 30, 95, 45), (45, 20, 55, 30)]
    image = painted(shape, boxes)
    assert len(LeftEyed().detect([image])[0]) == 2
    (found,) = inference.flipped(LeftEyed()).detect([image])
    assert in_pixels(found, shape) == sorted(map(tuple, np.asarray(boxes, float).tolist()))


@pytest.mark.parametrize("build", [
    lambda finder: inference.flipped(inference.tiled(finder, 64)),
    lambda finder: inference.tiled(inference.flipped(finder), 64),
])  # fmt: skip
def test_they_combine_in_either_order(build):
    shape, boxes = (90, 200), [(5, 5, 15, 15), (60, 40, 70, 50), (190, 80, 199, 89)]
    finder = Finder()
    detector = build(finder)
    examples = [
        data.Example("a", [], [], [], shape, draw=lambda: painted(shape, boxes)),
        data.Example("b", [], [], [], (64, 64), draw=lambda: painted((64, 64), boxes[:1])),
    ]
    found = detector.detect(examples)
    assert in_pixels(found[0], shape) == sorted(map(tuple, np.asarray(boxes, float).tolist()))
    assert in_pixels(found[1], (64, 64)) == [(5, 5, 15, 15)]
    assert len(finder.shapes) == 2 * (2 * 4 + 1)
    assert (detector.grid, detector.classes) == (finder.grid, finder.classes)
    assert detector.options["score_threshold"] == 0.1


def test_what_is_refused():
    for size, overlap in ((0, 0.2), (10, 1.0), (10, -0.1), (float("nan"), 0)):
        with pytest.raises(ValueError, match="size must be at least 1 pixel and overlap in"):
            inference.tiled(Finder(), size, overlap)
    for build in (inference.flipped, lambda finder: inference.tiled(finder, 2)):
        with pytest.raises(ValueError, match=r"must be \[H, W, 3\], got \[4, 4\]"):
            build(Finder()).detect([np.zeros((4, 4), np.uint8)])
        with pytest.raises(ValueError, match=r"must be \[H, W, 3\], got \[0, 4, 3\]"):
            inference.detect(build(Finder()), [np.zeros((0, 4, 3), np.uint8)])


# ----------------------------------------------------------------------------------------- mosaic


def mosaic(dataset, width=4000, height=3000):
    """Pictures of one size side by side, cut at the edges; objects of which half is left count."""
    image, boxes, labels = np.full((height, width, 3), 127, np.uint8), [], []
    examples = iter(list(dataset) * 2)
    rows, columns = dataset[0].size
    for y in range(0, height, rows):
        for x in range(0, width, columns):
            example = next(examples)
            seen = image[y : y + rows, x : x + columns]
            seen[:] = example.image[: seen.shape[0], : seen.shape[1]]
            whole = cxcywh_to_xyxy(example.boxes_cxcywh) * (columns, rows, columns, rows)
            cut = np.minimum(whole, (*seen.shape[1::-1], *seen.shape[1::-1]))
            sides, all_of_it = cut[:, 2:] - cut[:, :2], (whole[:, 2:] - whole[:, :2]).prod(1)
            half = (sides > 0).all(1) & (sides.prod(1) > all_of_it / 2)
            boxes.append(cut[half] + (x, y, x, y))
            labels.append(example.labels[half])
    boxes = np.concatenate(boxes) / (width, height, width, height)
    return image, GroundTruth(boxes, np.concatenate(labels))


def recall(found, truth):
    """The objects that a box of their class overlaps by more than a half."""
    kept = found.above(0.05)
    same = kept.labels[:, None] == truth.labels
    sides = np.minimum(kept.boxes_xyxy[:, None, 2:], truth.boxes_xyxy[:, 2:])
    sides = np.maximum(sides - np.maximum(kept.boxes_xyxy[:, None, :2], truth.boxes_xyxy[:, :2]), 0)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (kept.boxes_xyxy, truth.boxes_xyxy)]
    common = sides.prod(-1)
    iou = common / (areas[0][:, None] + areas[1] - common)
    return ((iou > 0.5) & same).any(0).mean()


@pytest.mark.slow
def test_a_mosaic_of_blood_cells(tmp_path):
    """A network that was trained for a minute finds on tiles what it cannot see in the whole."""
    place = f"voc:{shared('data/bccd')}"
    done = programs.call(
        "experiments.train", f"--dataset={place}", "--eval_split=test", "--image_size=160",
        "--S=10", "--epochs=16", "--warmup_epochs=1", "--eval_every=0", f"--output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    dataset = data.open(place, split="test")
    image, truth = mosaic(dataset)
    detector = inference.load(tmp_path)
    (plain,), (found,) = (d.detect([image]) for d in (detector, inference.tiled(detector, 480)))
    figures = {}
    for name, boxes in (("whole", plain), ("tiles", found)):
        ap = evaluation.average_precision([boxes], [truth], "area", classes=dataset.classes).mean
        figures[name] = recall(boxes, truth), ap
    print(len(truth.labels), "objects", figures)
    assert figures["whole"][0] < 0.05 and figures["tiles"][0] > 0.6
    assert figures["tiles"][1] > figures["whole"][1] + 0.2
