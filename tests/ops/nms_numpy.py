"""Non-maximum suppression in NumPy, by the plain rules, and boxes to try it on."""

import numpy as np

ZERO = np.float32(0)


def suppress(
    boxes,
    scores,
    *,
    score_threshold=0.001,
    iou_threshold=0.5,
    max_detections=300,
    clip=True,
    suppression="hard",
    sigma=0.5,
):
    """As `ops.non_max_suppression`, of float32 arrays, one box after another."""
    thresholds = np.float32(score_threshold), np.float32(iou_threshold)
    rule = thresholds if suppression == "hard" else (*thresholds, suppression, np.float32(sigma))
    image = _image if suppression == "hard" else _soft_image
    images = [image(_upright(b), s, *rule) for b, s in zip(boxes, scores, strict=True)]
    found = (
        np.zeros((len(images), max_detections, 4), np.float32),
        np.zeros((len(images), max_detections), np.float32),
        np.zeros((len(images), max_detections), np.int32),
        np.zeros(len(images), np.int32),
    )
    for n, rows in enumerate(images):
        rows = rows[:max_detections]
        found[3][n] = len(rows)
        for i, (score, label, box) in enumerate(rows):
            found[0][n, i] = np.where(np.isnan(box), box, np.clip(box, 0, 1)) if clip else box
            found[1][n, i], found[2][n, i] = score, label
    return found


def _upright(boxes):
    """A copy in which what is inverted is empty."""
    boxes = boxes.copy()
    for low, high in ((0, 2), (1, 3)):
        inverted = boxes[:, high] < boxes[:, low]
        boxes[inverted, high] = boxes[inverted, low]
    return boxes


def _image(boxes, scores, score_threshold, iou_threshold):
    """Everything that is kept, best first: (score, label, box)."""
    candidates = [(k, c) for k, c in np.ndindex(scores.shape) if scores[k, c] > score_threshold]
    candidates.sort(key=lambda place: -scores[place])  # stable: then by box, then by class
    kept, rivals = [], {c: [] for c in range(scores.shape[1])}
    with np.errstate(all="ignore"):
        for k, c in candidates:
            if not (_ious(boxes[k], boxes[rivals[c]]) > iou_threshold).any():
                kept.append((k, c))
                rivals[c].append(k)
    return [(scores[place], place[1], boxes[place[0]]) for place in kept]


def _soft_image(boxes, scores, score_threshold, iou_threshold, suppression, sigma):
    """The same by the pseudocode of Soft-NMS (arXiv 1704.04503, figure 3), a class by itself."""
    found = []  # D, of all classes
    for label in range(scores.shape[1]):
        B, S = list(range(len(boxes))), list(scores[:, label])
        while True:
            left = [i for i, s in enumerate(S) if s > score_threshold]
            B, S = [B[i] for i in left], [S[i] for i in left]
            if not B:
                break
            m = S.index(max(S))  # of equal ones the first
            M, score = B.pop(m), S.pop(m)
            found.append((score, label, M))
            with np.errstate(all="ignore"):
                overlap = np.nan_to_num(_ious(boxes[M], boxes[B]), nan=0.0)
                if suppression == "linear":
                    f = np.where(overlap > iou_threshold, 1 - overlap, np.float32(1))
                else:
                    f = np.exp(-(overlap * overlap) / sigma)
                S = [s * factor for s, factor in zip(S, f, strict=True)]
    found.sort(key=lambda one: (-one[0], one[2], one[1]))
    return [(score, label, boxes[box]) for score, label, box in found]


def _ious(a, others):
    """Of one box with others ``[n, 4]``, float32 ``[n]``."""
    b = others.T
    w = _larger(_smaller(a[2], b[2]) - _larger(a[0], b[0]), ZERO)
    h = _larger(_smaller(a[3], b[3]) - _larger(a[1], b[1]), ZERO)
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    union = area_a + area_b - w * h
    return np.where(union != 0, w * h / union, ZERO)


def _smaller(x, y):
    """Where one is NaN, `x`: as Python's `min`, and not as NumPy's."""
    return np.where(y < x, y, x)


def _larger(x, y):
    return np.where(y > x, y, x)


def random_case(seed, images=3, boxes=30, classes=4):
    """Boxes [N, K, 4], many of which overlap, and scores [N, K, C] that are all distinct."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(-0.1, 0.7, (2, images, boxes, 2))
    size = np.abs(size) + 0.05
    scores = [rng.permutation(boxes * classes) + 0.5 for _ in range(images)]
    scores = np.array(scores).reshape(images, boxes, classes) / max(boxes * classes, 1)
    return np.concatenate([corner, corner + size], -1).astype(np.float32), scores.astype(np.float32)


def degenerate(boxes, seed):
    """A copy with boxes that are empty, identical, inverted, NaN and infinite among them."""
    rng, boxes = np.random.default_rng(seed), boxes.copy()
    count = boxes.shape[1]
    kinds = rng.integers(0, 9, count)
    boxes[:, kinds == 0, 2] = boxes[:, kinds == 0, 0]
    boxes[:, kinds == 1] = boxes[:, :1]
    boxes[:, kinds == 2] = boxes[:, kinds == 2][..., [2, 1, 0, 3]]
    boxes[:, kinds == 3] = boxes[:, kinds == 3][..., [2, 3, 0, 1]]
    boxes[:, kinds == 4, rng.integers(4)] = np.nan
    boxes[:, kinds == 5, rng.integers(4)] = np.inf
    boxes[:, kinds == 6, rng.integers(4)] = -np.inf
    return boxes
