"""A network with decoding and non-maximum suppression around it: images in, boxes out."""

import functools

import numpy as np
import tensorflow as tf

from yolov1 import models
from yolov1.data.images import shrink, shrink_ratio
from yolov1.inference import pixels
from yolov1.inference.detections import Detections
from yolov1.inference.graph import look_at
from yolov1.kernels import check_sampling
from yolov1.ops.reference.load_images import corner_aligned
from yolov1.semantics import LossSemantics


class Detector(tf.Module):
    """Network, decoding and suppression as one traced function.

    Calling it with images float32 ``[N, image_size, image_size, 3]`` in [0, 1] gives a dict of
    ``boxes_xyxy [N, max_detections, 4]`` (fractions, clipped), ``scores [N, max_detections]``,
    ``labels int32 [N, max_detections]``, all padded with zeros, ``count int32 [N]`` and
    ``finite bool [N]`` (False where the network gave a value that is not finite).

    Args:
        model: images to predictions ``[N, S, S, D]``.
        grid: the `GridSpec`; by default the one that `models.build` used.
        wh: a mode of `LossSemantics.wh`; by default that of the cfg of a network of Darknet's, and
            ``"predict_sqrt"`` of any other.
        classes: names by label, for whoever shows what was found; None where nobody knows them.
        score_threshold, iou_threshold: as in `non_max_suppression`; the defaults are those that
            Darknet validates with (it draws pictures with 0.2 and 0.4).
        max_detections: most boxes of an image.
        clip: move the corners into the image.
        suppression, sigma: as in `non_max_suppression`.
        resize: how `detect` brings images to the network's size; see `prepare`.
        impl: of `non_max_suppression`; `export` takes ``"reference"`` whatever stands here.

    To save one, use `export`: what `tf.saved_model.save` makes of the detector itself may hold the
    fused op, and loads only where this package is.
    """

    def __init__(
        self,
        model,
        *,
        grid=None,
        wh=None,
        classes=None,
        score_threshold=0.001,
        iou_threshold=0.5,
        max_detections=300,
        clip=True,
        suppression="hard",
        sigma=0.5,
        resize="half_pixel",
        impl="auto",
    ):
        super().__init__(name="detector")
        grid = models.grid_of(model) if grid is None else grid
        wh = (models.semantics_of(model) or LossSemantics()).wh if wh is None else wh
        check_sampling("Detector", resize, name="resize")
        self.model, self.grid, self.wh, self.resize = model, grid, wh, resize
        self.classes = None if classes is None else tuple(classes)
        options = {
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "max_detections": max_detections,
            "clip": clip,
            "suppression": suppression,
            "sigma": sigma,
        }
        self.options = options
        self.with_other = functools.partial(
            Detector, model, grid=grid, wh=wh, classes=classes, resize=resize, impl=impl, **options
        )
        self.look, self.run = self._functions(impl)

    def _functions(self, impl):
        """Images to all that is seen, and to all but the predictions."""
        side = self.grid.image_size
        signature = [tf.TensorSpec([None, side, side, 3], tf.float32, name="images")]

        @tf.function(input_signature=signature, autograph=False)
        def look(images):
            return look_at(images, self.model, self.grid, self.wh, impl=impl, **self.options)

        @tf.function(input_signature=signature, autograph=False)
        def run(images):
            return without_predictions(look(images))

        return look, run

    def __call__(self, images):
        return self.run(images)

    def detect(self, images, batch_size=32, watch=None) -> list[Detections]:
        """As the function `detect`, without tracing the network again.

        `watch` is called with the predictions ``[n, S, S, D]`` of each batch and their indices.
        """
        if batch_size < 1:
            raise ValueError(f"detect: batch_size must be at least 1, got {batch_size}.")
        if isinstance(images, tf.data.Dataset):
            return self._detect_dataset(images, watch)
        found = []
        for start in range(0, len(images), batch_size):
            stop = min(start + batch_size, len(images))
            batch = tf.stack(
                [prepare(images[i], self.grid, self.resize) for i in range(start, stop)]
            )
            found += self._detect_batch(batch, range(start, stop), watch)
        return found

    def _detect_dataset(self, batches, watch):
        found = {}
        for batch in batches:
            images, indices = batch if isinstance(batch, tuple) else (batch, None)
            if indices is None:
                indices = range(len(found), len(found) + len(images))
            indices = [int(i) for i in indices]
            pixels.check(images.numpy(), "detect")
            of_bytes = images.dtype == tf.uint8
            images = tf.cast(images, tf.float32)
            images = images / 255 if of_bytes else images
            found.update(zip(indices, self._detect_batch(images, indices, watch), strict=True))
        return [found[index] for index in sorted(found)]

    def _detect_batch(self, images, indices, watch):
        result = {name: np.asarray(value) for name, value in self.look(images).items()}
        if not result["finite"].all():
            bad = [i for i, finite in zip(indices, result["finite"], strict=True) if not finite]
            raise ValueError(
                f"detect: the network's output is NaN or infinite for image(s) {bad[:8]}. Look for "
                "a loss that diverged, or for weights that do not belong to this network."
            )
        if watch is not None:
            watch(result["predictions"], indices)
        return [
            Detections(*(result[name][n, :count] for name in ("boxes_xyxy", "scores", "labels")))
            for n, count in enumerate(result["count"])
        ]


def prepare(image, grid, resize="half_pixel"):
    """One image as the network wants it: stretched to the input size, float32 in [0, 1].

    Args:
        image: ``[H, W, 3]``, uint8 or floating point in [0, 1]; or what has such an `.image`.
        resize: ``"half_pixel"``; ``"darknet"``: corner on corner, as Darknet resizes; or
            ``"darknet_black_row"``: with what is missing of its last row, which often makes it
            black. See `sampling` of `yolov1.ops.load_images`.

    Returns:
        float32 ``[image_size, image_size, 3]``.

    Raises:
        ValueError: another shape or dtype, floating point beyond [0, 1], or another `resize`.
    """
    check_sampling("detect", resize, name="resize")
    image = np.asarray(getattr(image, "image", image))
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ValueError(f"detect: an image must be [H, W, 3], got {list(image.shape)}.")
    pixels.check(image, "detect")
    side = grid.image_size
    if resize != "half_pixel":
        scale = 255 if image.dtype == np.uint8 else 1
        image = image.astype(np.float32) / np.float32(scale)
        return corner_aligned(image, [0, 0], image.shape[1::-1], (side, side), resize)
    if image.dtype == np.uint8:
        # As the input pipeline does: bilinear resizing alone skips pixels of a large photo.
        image = shrink(image, shrink_ratio(image.shape[:2], side)).astype(np.float32) / 255
    if image.shape[:2] != (side, side):
        image = tf.image.resize(image, (side, side))
    return tf.cast(image, tf.float32)


def detect(model, images, *, batch_size=32, **options) -> list[Detections]:
    """Runs a network over images.

    Args:
        model: a Keras model, or a `Detector`, which is not traced again, or one of several views.
        images: an array ``[N, H, W, 3]``; a sequence of arrays ``[H, W, 3]`` of any size, or of
            `Example`; uint8 or floating point in [0, 1]. Or, but for several views, a
            `tf.data.Dataset` of image batches, or of (image batch, indices) as
            `data.evaluation_batches` gives them.
        batch_size: images run at once, at least 1 (a `tf.data.Dataset` has its own).
        options: `grid`, `wh`, `classes`, `score_threshold`, `iou_threshold`, `max_detections`,
            `clip`, `suppression`, `sigma`, `resize`, `impl` of `Detector`.

    Returns:
        One `Detections` per image, in order (by index, where a dataset gives indices).

    Raises:
        ValueError: an image that is none, a network whose output is not finite, another
            `batch_size`, or options for a `Detector`, which has its own.
    """
    if not hasattr(model, "detect"):
        model = Detector(model, **options)
    elif options:
        raise ValueError(f"detect: a Detector has its options already, got {', '.join(options)}.")
    return model.detect(images, batch_size)


def class_names(detector) -> tuple[str, ...]:
    """The names of a detector's classes by label; where nobody knows them, they are numbered."""
    if detector.classes is not None:
        return tuple(detector.classes)
    return tuple(f"class {label}" for label in range(detector.grid.C))


def without_predictions(seen: dict) -> dict:
    return {name: value for name, value in seen.items() if name != "predictions"}
