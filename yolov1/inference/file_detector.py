"""The detector of a file: another program's network, with the face of our own."""

import functools

import numpy as np
import tensorflow as tf

from yolov1.inference.detect import Detector, without_predictions
from yolov1.inference.graph import suppressed


class FileDetector(Detector):
    """As `Detector`, of a file that is open.

    Args:
        session: a `yolov1.inference.formats.Session`.
        score_threshold, iou_threshold, max_detections, clip, suppression, sigma, resize: in place
            of the file's. Where the file suppresses inside, a higher `score_threshold` and fewer
            `max_detections` only.
        impl: of `non_max_suppression`, where the file does not suppress.

    Attributes:
        metadata: what the file says of itself.

    Raises:
        ValueError: an option that the file cannot follow.
    """

    def __init__(self, session, *, resize=None, impl="auto", **options):
        self.metadata = known = session.metadata
        if known.nms == "inside":
            _check(known, options)
        super().__init__(
            session,
            grid=known.grid,
            wh=known.wh,
            classes=known.classes,
            resize=known.resize if resize is None else resize,
            impl=impl,
            **known.options | options,
        )
        self.with_other = functools.partial(
            FileDetector, session, resize=self.resize, impl=impl, **self.options
        )

    def _functions(self, impl):
        run, keep = self.model.run, self._keep
        if self.metadata.nms == "outside":
            keep = functools.partial(self._suppress, impl=impl)

        def look(images):
            seen = run(np.asarray(images, np.float32))
            predictions = seen["predictions"]
            finite = np.isfinite(predictions).all(axis=tuple(range(1, predictions.ndim)))
            return {"predictions": predictions, **keep(seen), "finite": finite}

        return look, lambda images: without_predictions(look(images))

    def _suppress(self, seen, impl):
        boxes_xyxy, scores = (tf.constant(seen[name]) for name in ("boxes_xyxy", "scores"))
        found = suppressed(boxes_xyxy, scores, impl=impl, **self.options)
        return {name: value.numpy() for name, value in found.items()}

    def _keep(self, seen):
        """Of what the file found, as it sorted it, what these options leave."""
        most = self.options["max_detections"]
        boxes_xyxy, scores, labels = (seen[k][:, :most] for k in ("boxes_xyxy", "scores", "labels"))
        found = np.arange(most) < seen["count"][:, None]
        found &= scores > np.float32(self.options["score_threshold"])
        return {
            "boxes_xyxy": boxes_xyxy * found[..., None],
            "scores": scores * found,
            "labels": (labels * found).astype(np.int32),
            "count": found.sum(axis=1, dtype=np.int32),
        }


def _check(known, options):
    """Refuses what would need the boxes that the file has dropped."""
    lowest, most = known.score_threshold, known.max_detections
    allowed = {
        "suppression": (known.suppression, lambda value: value == known.suppression),
        "score_threshold": (f"at least {lowest:g}", lambda value: value >= lowest),
        "iou_threshold": (f"{known.iou_threshold:g}", lambda value: value == known.iou_threshold),
        "max_detections": (f"at most {most}", lambda value: value and 1 <= value <= most),
        "clip": (f"{known.clip}", lambda value: bool(value) == known.clip),
        "sigma": (f"{known.sigma:g}", lambda value: value == known.sigma),
    }
    for name, (expected, fits) in allowed.items():
        if name in options and not fits(options[name]):
            raise ValueError(
                f"{name} must be {expected}, got {options[name]}: suppression is inside this file. "
                'Export the run with nms="outside", or with the value wanted.'
            )
