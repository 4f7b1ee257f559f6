"""How far apart two detectors are on the same images, box by box; no ground truth is needed."""

import numpy as np

from yolov1.evaluation.matching import area, intersection

SAME_IOU = 0.5  # as of average precision
SAME_PX = 1.0  # of boxes so thin that a shift of less leaves them no overlap


def agreement(detections, others, *, side, score_threshold=0.25) -> dict:
    """Pairs the boxes of two detectors and says how far they are apart.

    Two boxes of one class are a pair if they overlap by an IoU of at least 0.5, or no corner is
    further than a pixel from the other's. Each box is in one pair at most; where several would do,
    pairs are formed by rising distance. All boxes may be paired, but only those are counted in
    which a box scores above the threshold: so none appears because its score crossed that line.

    Args:
        detections, others: one `Detections` an image, in the same order.
        side: pixels of the image's sides, such as `image_size` for those of the network's input.
        score_threshold: what a box must score to be counted.

    Returns:
        ``boxes``: how many there are in either, a pair counting once; ``deviation_px``: the
        furthest that a coordinate of a corner is from that of the other's (None without a pair),
        ``deviation_px_99``: that of all but the hundredth part of the pairs that is furthest apart
        (where two boxes overlap and score the same, a hair decides which of them suppression
        leaves); ``score_deviation``: the largest of scores; ``appeared``, ``disappeared``: boxes of
        `others`, and of `detections`, that are in no pair.

    Raises:
        ValueError: the lengths differ.
    """
    if len(detections) != len(others):
        raise ValueError(
            "agreement: there must be as many Detections on both sides, got "
            f"{len(detections)} and {len(others)}."
        )
    pairs, apart, scores_apart, appeared, disappeared = 0, [], [], 0, 0
    for ours, theirs in zip(detections, others, strict=True):
        a, b, distance = _pairs(ours, theirs, side)
        counted = np.maximum(ours.scores[a], theirs.scores[b]) > score_threshold
        pairs += int(counted.sum())
        apart.append(distance[counted])
        scores_apart.append(np.abs(ours.scores[a] - theirs.scores[b])[counted])
        disappeared += _alone(ours, a, score_threshold)
        appeared += _alone(theirs, b, score_threshold)
    apart, scores_apart = (np.concatenate([[], *parts]) for parts in (apart, scores_apart))
    return {
        "boxes": pairs + appeared + disappeared,
        "deviation_px": float(apart.max()) if pairs else None,
        "deviation_px_99": float(np.quantile(apart, 0.99, method="higher")) if pairs else None,
        "score_deviation": float(scores_apart.max()) if pairs else None,
        "appeared": appeared,
        "disappeared": disappeared,
    }


def _pairs(ours, theirs, side):
    """(index ``[P]`` of ours, index ``[P]`` of theirs, distance ``[P]`` in pixels)."""
    a, b = np.nonzero(ours.labels[:, None] == theirs.labels)
    a_xyxy, b_xyxy = (d.boxes_xyxy.astype(np.float64) for d in (ours, theirs))
    a_xyxy, b_xyxy = a_xyxy[a], b_xyxy[b]
    distance = side * np.abs(a_xyxy - b_xyxy).max(axis=1, initial=0)
    common = intersection(a_xyxy, b_xyxy)
    overlap = common >= SAME_IOU * (area(a_xyxy) + area(b_xyxy) - common)
    near = (distance <= SAME_PX) | (overlap & (common > 0))
    free_a, free_b, kept = set(a.tolist()), set(b.tolist()), []
    for k in np.flatnonzero(near)[np.argsort(distance[near], kind="stable")]:
        if a[k] in free_a and b[k] in free_b:
            free_a.remove(a[k])
            free_b.remove(b[k])
            kept.append(k)
    kept = np.array(kept, int)
    return a[kept], b[kept], distance[kept]


def _alone(detections, paired, score_threshold) -> int:
    """How many that score above the threshold are in no pair."""
    alone = np.ones(len(detections), bool)
    alone[paired] = False
    return int((alone & (detections.scores > score_threshold)).sum())
