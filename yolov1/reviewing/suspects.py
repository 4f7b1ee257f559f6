"""Labels that a detector contradicts, the likeliest faults first.

Detections and labels are matched by the rule of `evaluation.tide`. What is left over on either side
is a suspicion of one of `KINDS`:

- ``missing``: the network sees an object where no label is. Proposal: add it.
- ``unseen``: the network sees nothing of its class where a label is. Proposal: remove it.
- ``misplaced``: the network sees a label's object elsewhere: their IoU is from .1 to .5, and
  neither has another partner. Proposal: move the label.
- ``disputed``: the network sees another class there (IoU of at least .5), and is surer of it than
  of the label's. Proposal: rename the label.
- ``duplicate``: two labels of one class have an IoU of at least .5, which needs no network to be
  seen. Proposal: remove the one that fits worse to what the network sees.

Each has a score in [0, 1], by one rule, so that "the first 40" of all kinds means something: **how
often network and labels agree in such a case, times how much is in dispute**.

- Such cases are, of a detection, the `ALIKE` of its class that score nearest to it: the share of
  them that found a label. Of a label that was not found they are the `ALIKE` labels of its class
  that are nearest in size, or those that are as much covered by another label (largest IoU with
  one), whichever is worse found: the share of them that was found. (So where a network misses many,
  small things and those in a heap, one more raises no alarm.) One agreement and one disagreement
  are added to each count, Laplace's rule, so that few cases prove little.
- In dispute is 1 - IoU with the nearest label, or surer detection of the class (``missing``); the
  network's own share for its class, score / (score + that of the label's class there)
  (``disputed``); else all of it. A ``duplicate`` has the IoU of the two labels alone, or the score
  of ``unseen`` where that is more.
"""

import dataclasses

import numpy as np

from yolov1.evaluation import tide
from yolov1.evaluation.matching import area, overlaps
from yolov1.reviewing.boxes import iou as iou_of

KINDS = ("missing", "unseen", "misplaced", "disputed", "duplicate")
ACTION_OF = dict(zip(KINDS, ("add", "remove", "move", "rename", "remove"), strict=True))
ALIKE = 50
FLOOR = 0.05  # what scores no more, the network does not see


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A suspicion, and what it is based on.

    Attributes:
        kind: of `KINDS`.
        score: in [0, 1], see above.
        image: place of the image in the data set.
        label: place of the label in question among those of its image; None for ``missing``.
        other: place of the label that it repeats (``duplicate``); else None.
        seen_class: label index of what the network sees in its place; None where that is nothing.
        seen_box_xyxy: ``[4]`` its corners, in fractions of the image; None.
        seen_score: its score; None.
        iou: of the label in question with what is seen (or with `other`); None.
    """

    kind: str
    score: float
    image: int
    label: int | None = None
    other: int | None = None
    seen_class: int | None = None
    seen_box_xyxy: np.ndarray | None = None
    seen_score: float | None = None
    iou: float | None = None

    @property
    def action(self) -> str:
        """What is proposed: ``add``, ``remove``, ``move`` or ``rename``."""
        return ACTION_OF[self.kind]


def suspects(detections, dataset, *, classes=None, floor=FLOOR) -> list[Suspect]:
    """The suspicions that the detections raise, by falling score.

    A difficult label is never suspected, and nothing is missing where one is.

    Args:
        detections: one `Detections` an image, clipped to it, in fractions of it.
        dataset: sequence of `Example`: the labels to be reviewed.
        classes: class names; by default those of `dataset`.
        floor: detections that score no more are left out.

    Raises:
        ValueError: what `tide.diagnose` refuses.
    """
    seen = [found.above(floor) for found in detections]
    classes = getattr(dataset, "classes", None) if classes is None else classes
    diagnosis = tide.diagnose(seen, dataset, classes=classes)
    claims = _claims(diagnosis)
    found = [*_of_detections(diagnosis, claims), *_of_labels(diagnosis, claims)]
    return sorted(found, key=lambda suspect: -suspect.score)  # stable


def agreement(values, labels, agrees, counts):
    """``[K]`` share that agrees among the `ALIKE` of one's class that are nearest in value.

    Args:
        values: ``[K]`` what makes them alike.
        labels: ``[K]`` classes.
        agrees, counts: ``[K]`` bool; those that do not count are nobody's likes.
    """
    share = np.zeros(len(values))
    for label in np.unique(labels):
        mine = labels == label
        alike = np.flatnonzero(mine & counts)
        alike = alike[np.argsort(values[alike], kind="stable")]
        hits = np.concatenate([[0], np.cumsum(agrees[alike])])
        width = min(ALIKE, len(alike))
        # A window around each one's place, which at the ends is moved inwards.
        place = np.searchsorted(values[alike], values[mine])
        first = np.clip(place - width // 2, 0, len(alike) - width)
        share[mine] = (hits[first + width] - hits[first] + 1) / (width + 2)
    return share


# ------------------------------------------------------------------ details


def _claims(d):
    """Row of `truth` that a detection without a label of its own is about ``[K]``, -1 for none; a
    label is claimed once, by the best of them."""
    detection, target, iou = overlaps(d.found, d.truth, same_class=False)
    same = d.found.labels[detection] == d.truth.labels[target]
    near = same & (iou >= tide.BACKGROUND) & (d.taken_by[target] < 0)
    other = ~same & (iou >= tide.FOREGROUND)
    other &= d.found.scores[detection] > _taker_scores(d)[target]
    may = (near | other) & _leftover(d)[detection] & ~d.truth.difficult[target]
    return tide.take(len(d.found), len(d.truth), detection[may], target[may], iou[may])[0]


def _leftover(d):
    """``[K]``: found no label, repeats no other that did, and lies on no difficult one."""
    known = (tide.KINDS.index("correct"), tide.KINDS.index("duplicate"), tide.IGNORED)
    return ~np.isin(d.kind, known)


def _taker_scores(d):
    """``[M]`` score of what found a label; 0 where nothing did."""
    return np.append(d.found.scores, 0.0)[d.taken_by]


def _of_detections(d, claims):
    """``missing``, ``misplaced`` and ``disputed``."""
    right = d.kind == tide.KINDS.index("correct")
    often = agreement(d.found.scores, d.found.labels, right, d.kind != tide.IGNORED)
    nearest, own = _nearest(d), _taker_scores(d)
    for k in np.flatnonzero(_leftover(d)):
        m, score, box = claims[k], float(d.found.scores[k]), d.found.boxes_xyxy[k]
        seen = {
            "image": int(d.found.image[k]),
            "seen_class": int(d.found.labels[k]),
            "seen_box_xyxy": box,
            "seen_score": score,
        }
        if m < 0:
            yield Suspect("missing", float(often[k] * (1 - nearest[k])), **seen)
            continue
        seen |= {"label": int(d.object_index[m]), "iou": iou_of(box, d.truth.boxes_xyxy[m])}
        if d.found.labels[k] == d.truth.labels[m]:
            yield Suspect("misplaced", float(often[k]), **seen)
        else:
            yield Suspect("disputed", float(often[k] * score / (score + own[m])), **seen)


def _of_labels(d, claims):
    """``unseen`` and ``duplicate``."""
    truth, found = d.truth, d.taken_by >= 0
    alike = (area(truth.boxes_xyxy), _crowding(d))
    often = np.min([agreement(v, truth.labels, found, ~truth.difficult) for v in alike], axis=0)
    repeats = _repeats(d)
    claimed = np.isin(np.arange(len(truth)), claims)
    for m in np.flatnonzero(~truth.difficult & ~claimed):
        place = {"image": int(truth.image[m]), "label": int(d.object_index[m])}
        unseen = 0.0 if found[m] else float(often[m])
        if m in repeats:
            iou, other = repeats[m]
            place |= {"other": int(d.object_index[other]), "iou": iou}
            yield Suspect("duplicate", max(iou, unseen), **place)
        elif not found[m]:
            yield Suspect("unseen", unseen, **place)


def _crowding(d):
    """``[M]`` largest IoU of a label with another."""
    crowding = np.zeros(len(d.truth))
    one, other, iou = overlaps(d.truth, d.truth, same_class=False)
    np.maximum.at(crowding, one[one != other], iou[one != other])
    return crowding


def _repeats(d) -> dict:
    """Row of a label -> (IoU, row of the one that it repeats most and that fits better)."""
    fit = np.append(d.iou, 0.0)[d.taken_by]  # to what found it
    one, other, iou = overlaps(d.truth, d.truth)
    pairs = (one < other) & (iou >= tide.FOREGROUND)
    pairs &= ~(d.truth.difficult[one] | d.truth.difficult[other])
    repeats = {}
    for m, n, overlap in zip(one[pairs], other[pairs], iou[pairs].tolist(), strict=True):
        worse, better = (m, n) if fit[m] < fit[n] else (n, m)
        repeats[worse] = max(repeats.get(worse, (0.0, 0)), (overlap, better))
    return repeats


def _nearest(d):
    """``[K]`` IoU with the nearest label, or surer detection of the class."""
    nearest = np.zeros(len(d.found))
    detection, _, iou = overlaps(d.found, d.truth, same_class=False)
    np.maximum.at(nearest, detection, iou)
    detection, surer, iou = overlaps(d.found, d.found)
    np.maximum.at(nearest, detection[surer < detection], iou[surer < detection])
    return nearest
