"""What the loss tests share: inputs, the op with its gradient, and an independent loss in loops."""

import math

import numpy as np
import tensorflow as tf

from yolov1 import ops
from yolov1.grid import GridSpec

IMPLS = ("fused", "reference")
GRIDS = {
    "paper": GridSpec(),
    "smallest": GridSpec(S=1, B=1, C=1, image_size=8),
    "odd": GridSpec(S=3, B=1, C=1, image_size=100),
    "many boxes": GridSpec(S=5, B=4, C=7, image_size=320),
    "vector tail": GridSpec(S=2, B=3, C=19, image_size=64),
}


def random_case(grid, images, share, seed=0, dtype=np.float32):
    """Predictions and targets with about `share` of the cells holding an object."""
    generator = np.random.default_rng(seed)
    predictions = generator.uniform(0.05, 0.95, (images, *grid.prediction_shape))
    targets = generator.uniform(0.05, 0.95, (images, *grid.target_shape))
    has_object = generator.random((images, grid.S, grid.S)) < share
    targets[..., grid.target_object_channel] = 1
    return predictions.astype(dtype), (targets * has_object[..., None]).astype(dtype)


def to_planes(predictions, grid):
    """``[N, S, S, D]`` to the flat layout."""
    blocks = (grid.class_channels, grid.confidence_channels, grid.box_channels)
    return np.concatenate([predictions[..., b].reshape(len(predictions), -1) for b in blocks], 1)


def loss_function(*, graph=False, upstream=None, **options):
    """(predictions, targets) to loss, terms and d(sum of upstream * loss) / d predictions."""

    def compute(p, t):
        with tf.GradientTape() as tape:
            tape.watch(p)
            out = ops.yolo_loss(p, t, **options)
        return *out, tape.gradient(out.loss, p, output_gradients=upstream)

    function = tf.function(compute) if graph else compute
    return lambda p, t: [x.numpy() for x in function(tf.constant(p), tf.constant(t))]


def value_and_gradient(predictions, targets, **options):
    return loss_function(**options)(predictions, targets)


def assert_near(got, want, tolerance):
    scale = max(np.abs(want).max(initial=0), 1e-30)
    assert np.abs(got - want).max(initial=0) <= tolerance * scale


def _q(wh, value):
    if wh == "sqrt_in_loss":
        return math.sqrt(max(value, 0))
    if wh == "heron10":
        root = value
        for _ in range(10):
            root = (root + (value / root if root else 0)) / 2
        return root
    return value


def _overlap(a, b, kind):
    sides = [
        min(a[k] + a[k + 2] / 2, b[k] + b[k + 2] / 2)
        - max(a[k] - a[k + 2] / 2, b[k] - b[k + 2] / 2)
        for k in (0, 1)
    ]
    areas = [a[2] * a[3], b[2] * b[3]]
    if kind == "abs":
        sides, areas = [abs(side) for side in sides], [abs(area) for area in areas]
    intersection = math.prod(side if kind == "abs" else max(side, 0) for side in sides)
    union = sum(areas) - intersection
    return intersection / union if union else 0


def loop_terms(predictions, targets, grid, s):
    """Terms ``[N, 5]`` in float64, cell by cell and box by box, from the words of `semantics`."""
    out = np.zeros((len(predictions), 5))
    for n, row, col in np.ndindex(len(predictions), grid.S, grid.S):
        p, t = predictions[n, row, col].astype(float), targets[n, row, col].astype(float)
        confidences = p[grid.confidence_channels]
        if t[grid.target_object_channel] == 0:
            out[n, 3] += (confidences**2).sum()
            continue
        outputs = p[grid.box_channels].reshape(grid.B, 4)
        x, y, w, h = t[grid.target_box_channels]
        truth = (x / grid.S, y / grid.S, w, h)
        power = 2 if s.wh == "predict_sqrt" else 1
        boxes = [(o[0] / grid.S, o[1] / grid.S, o[2] ** power, o[3] ** power) for o in outputs]
        overlaps = [_overlap(box, truth, s.iou_overlap) for box in boxes]
        best = max(overlaps)
        tied = [j for j in range(grid.B) if overlaps[j] == best]
        if s.no_overlap_fallback == "rmse" and best <= 0:
            tied = [int(np.argmin([math.dist(box, truth) for box in boxes]))]
        elif s.ties != "all":
            tied = [tied[0] if s.ties == "first" else tied[-1]]
        for j in range(grid.B):
            if j not in tied:
                out[n, 3] += confidences[j] ** 2 if s.no_object == "non_responsible" else 0
                continue
            target = overlaps[j] if s.confidence_target == "iou" else 1
            truth_q = [math.sqrt(v) if power == 2 else _q(s.wh, v) for v in (w, h)]
            out[n, 0] += (outputs[j, 0] - x) ** 2 + (outputs[j, 1] - y) ** 2
            out[n, 1] += sum((_q(s.wh, outputs[j, 2 + k]) - truth_q[k]) ** 2 for k in (0, 1))
            out[n, 2] += (confidences[j] - target) ** 2
        out[n, 4] += ((p[grid.class_channels] - t[: grid.C]) ** 2).sum()
    weights = (s.weight_xy, s.weight_wh, s.weight_object, s.weight_no_object, s.weight_class)
    return out * np.array(weights) * s.factor
