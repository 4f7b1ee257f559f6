"""What `bench_darknet` measures of ours: a network read from Darknet's files, as users call it.

Run as a program, with the paths of cfg, weights and image and the least score of a box, it says how
much memory all of that took, once the boxes of the image are there.
"""

import functools
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import memory
from yolov1 import darknet, data, inference
from yolov1.data.formats.voc import VOC_CLASSES

NMS = 0.4  # with which ``darknet yolo test`` suppresses


class Network:
    """A network of Darknet's files with everything around it.

    Args:
        cfg, weights: the files.
        threshold: least score of a box.
    """

    def __init__(self, cfg, weights, threshold):
        plan = darknet.plan(darknet.read_cfg(cfg))
        self.model, self.grid = darknet.load(cfg, weights), plan.grid
        self.detector = inference.Detector(
            self.model,
            wh=plan.wh,
            score_threshold=threshold,
            iou_threshold=NMS,
            max_detections=self.grid.predicted_boxes * self.grid.C,  # Darknet keeps them all
            resize="darknet",
        )

    def input(self, path, copies):
        """The image as the network gets it, ``[copies, H, W, 3]``."""
        image = inference.prepare(data.read_image(path), self.grid, resize="darknet")
        return tf.stack([image] * copies)

    def boxes(self, found) -> list[tuple[str, int]]:
        """(name, whole per cent) of each box, as the C program says them."""
        names = VOC_CLASSES if self.grid.C == len(VOC_CLASSES) else range(self.grid.C)
        rows = zip(found.labels, found.scores, strict=True)
        return [(names[label], round(100 * float(score))) for label, score in rows]


# A provider is made of a `Network`, the path of an image and how many copies of it are looked at
# together: a function whose result is there when it returns.


def _predict(network, path, copies):
    images = network.input(path, copies).numpy()
    return lambda: network.model.predict(images, batch_size=copies, verbose=0)


def _function(network, path, copies, jit_compile=None):
    images = network.input(path, copies)
    call = functools.partial(network.model, training=False)
    function = tf.function(call, autograph=False, jit_compile=jit_compile)
    return lambda: function(images).numpy()


def _detector(network, path, copies):
    images = network.input(path, copies)
    return lambda: {name: value.numpy() for name, value in network.detector(images).items()}


def _file(network, path, copies):
    """From the file to another with its boxes drawn, as the C program does."""
    folder = tempfile.TemporaryDirectory()

    def run():
        for _ in range(copies):
            image = data.read_image(path)
            (found,) = network.detector.detect([image])
            picture = inference.draw(image, found, VOC_CLASSES)
            Image.fromarray(picture).save(Path(folder.name) / "predictions.jpg", quality=80)
        return found

    return run


PROVIDERS = {
    "predict": _predict,
    "function": _function,
    "xla": functools.partial(_function, jit_compile=True),
    "detector": _detector,
    "file": _file,
}


def random_weights(path, cfg, seed=0):
    """Writes weights with which every layer's output is about as large as its input, and the last
    one's is near 0.25: some boxes score more than 0.2, and none of them means anything."""
    plan = darknet.plan(darknet.read_cfg(cfg))
    rng = np.random.default_rng(seed)
    last = [layer.index for layer in plan.layers if layer.blocks][-1]

    def draw(layer, block):
        z = rng.standard_normal(block.shape, dtype=np.float32)
        if block.name == "weights":
            # of [filters, channels, k, k], [places, filters, channels, k, k], [outputs, inputs]
            inputs = np.prod(block.shape[1 if len(block.shape) == 2 else -3 :])
            return z * np.float32((0.15 if layer.index == last else 1) * np.sqrt(2 / inputs))
        if block.name == "rolling_variance":
            return np.float32(0.8) + np.float32(0.4) * z * z
        middle = {"scales": 1, "biases": 0.25 * (layer.index == last)}.get(block.name, 0)
        return np.float32(middle) + np.float32(0.1) * z

    darknet.write_weights(
        path, plan, lambda layer: {block.name: draw(layer, block) for block in layer.blocks}
    )


def main(cfg, weights, image, threshold):
    _file(Network(cfg, weights, float(threshold)), image, 1)()
    print(memory.resident("VmHWM"), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
