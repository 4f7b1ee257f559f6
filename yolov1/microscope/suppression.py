"""Which cell and box each detection came of, and what suppression took away in its favour."""

from typing import NamedTuple

import numpy as np

from yolov1.inference import decode
from yolov1.ops import non_max_suppression, pairwise_iou


class Candidates(NamedTuple):
    """What passes the score threshold in one image, by falling score; K of them."""

    boxes_xyxy: np.ndarray  # float32 [K, 4], not clipped
    scores: np.ndarray  # float32 [K]; of what is kept, what suppression left of it
    labels: np.ndarray  # int [K]
    cells: np.ndarray  # int [K]: row * S + col
    boxes: np.ndarray  # int [K]: which of the cell's B boxes
    kept: np.ndarray  # bool [K]
    by: np.ndarray  # int [K]: the candidate that was kept in its favour; -1 of what was kept, or
    # went because there are more than `max_detections`
    overlap: np.ndarray  # float32 [K]: IoU with that one; 0 without


def trace_suppression(
    predictions,
    grid,
    wh,
    *,
    score_threshold,
    iou_threshold,
    max_detections=300,
    suppression="hard",
    sigma=0.5,
    impl="auto",
) -> Candidates:
    """The `Candidates` of one image.

    What is kept is what `yolov1.ops.non_max_suppression` keeps. A candidate that it drops went in
    favour of the one of its class that was kept, scores no less, and overlaps it most; where
    suppression is soft, of the one that overlaps it most.

    Args:
        predictions: ``[S, S, D]``.
        grid, wh: as in `yolov1.inference.decode`.
        score_threshold, iou_threshold, max_detections, suppression, sigma, impl: as in
            `non_max_suppression`.
    """
    hard = suppression == "hard"
    boxes_xyxy, scores = decode(np.asarray(predictions)[None], grid, wh)
    found, found_scores, found_labels, count = (
        np.asarray(part)[0]
        for part in non_max_suppression(
            *(boxes_xyxy, scores),
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            clip=False,
            suppression=suppression,
            sigma=sigma,
            impl=impl,
        )
    )
    boxes_xyxy, scores = boxes_xyxy.numpy()[0], scores.numpy()[0]
    places, labels = np.nonzero(scores > np.float32(score_threshold))
    order = np.argsort(-scores[places, labels], kind="stable")
    places, labels = places[order], labels[order]
    corners, scores = boxes_xyxy[places], scores[places, labels]
    kept, left = np.zeros(len(places), bool), scores.copy()
    for box, score, label in zip(found[:count], found_scores, found_labels, strict=False):
        # The op moves numbers without changing a bit. Of equal ones the first was kept.
        same = (corners == box).all(axis=1) & (labels == label) & ~kept
        at = np.flatnonzero(same & (scores == score) if hard else same)[:1]
        kept[at], left[at] = True, score
    order = np.argsort(-left, kind="stable")
    corners, labels, places, kept = corners[order], labels[order], places[order], kept[order]
    left = left[order]
    rule = score_threshold, iou_threshold, suppression, sigma
    by, overlap = _fallen_by(corners, left, labels, kept, rule, impl)
    return Candidates(
        *(corners, left, labels, places // grid.B, places % grid.B, kept, by, overlap)
    )


def _fallen_by(corners, scores, labels, kept, rule, impl):
    """``by`` and ``overlap`` of `Candidates`."""
    score_threshold, iou_threshold, suppression, sigma = rule
    by, overlap = np.full(len(kept), -1), np.zeros(len(kept), np.float32)
    judges, judged = np.flatnonzero(kept), np.flatnonzero(~kept)
    if not len(judges) or not len(judged):
        return by, overlap
    iou = pairwise_iou(corners[None, judged], corners[None, judges], impl=impl).numpy()[0]
    able = labels[judges] == labels[judged, None]
    if suppression == "hard":
        able &= scores[judges] >= scores[judged, None]
    iou = np.where(able, np.nan_to_num(iou), 0)
    best, most = iou.argmax(axis=1), iou.max(axis=1)
    # What is beyond `max_detections` went in favour of none.
    if suppression == "hard":  # the op's own IoU may differ in the last bits
        gone = (most > iou_threshold - 1e-6) & (most > 0)
    else:  # the overlaps left too little of the score
        factors = np.exp(-(iou**2) / sigma)
        if suppression == "linear":
            factors = np.where(iou > iou_threshold, 1 - iou, 1)
        gone = scores[judged] * factors.prod(axis=1) <= score_threshold * (1 + 1e-5)
    by[judged[gone]], overlap[judged[gone]] = judges[best[gone]], most[gone]
    return by, overlap
