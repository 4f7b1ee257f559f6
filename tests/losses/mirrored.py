"""`fit` and `evaluate` under `MirroredStrategy` over two CPUs: ``python -m ... OUTPUT.npz``.

A process of its own: virtual devices come before anything else of TensorFlow, and a process has
one strategy.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from tests.losses.cases import GRID, fit, small_data, small_model
from yolov1.losses import ResponsibleBoxes, YoloLoss, YoloTerms


def run():
    """Logs of a `fit` with and one without weights of the images, whose batches two replicas share
    equally, and of an `evaluate` whose last batch they do not; the model's weights; the number of
    loss ops in the graphs of the steps.
    """
    graphs = set()

    class Loss(YoloLoss):
        def __call__(self, *args, **kwargs):
            graphs.add(tf.compat.v1.get_default_graph())
            return super().__call__(*args, **kwargs)

    with tf.distribute.get_strategy().scope():
        model, loss = small_model(), Loss(grid=GRID, impl="fused")
        histories = []
        for weights in (np.arange(12.0) / 6, None):
            options = {"loss": loss, "metrics": [YoloTerms(loss), ResponsibleBoxes(loss)]}
            options["sample_weight"] = weights
            options["optimizer"] = keras.optimizers.SGD(0.01, momentum=0.9)
            histories.append(fit(model, small_data(12), **options))
        logs = model.evaluate(*small_data(11), batch_size=4, verbose=0, return_dict=True)
    types = [[op.type for op in graph.get_operations()] for graph in graphs]
    return {
        **{f"fit {i} {n}": v for i, history in enumerate(histories) for n, v in history.items()},
        **{f"evaluate {name}": value for name, value in logs.items()},
        **{f"weight {i}": value for i, value in enumerate(model.get_weights())},
        "loss ops": sorted(names.count("Yolov1>YoloLoss") for names in types),
    }


if __name__ == "__main__":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        np.savez(sys.argv[1], **run())
