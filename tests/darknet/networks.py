"""What tests of whole networks need."""

import numpy as np

from yolov1 import darknet


def files(folder, name="mine"):
    return folder / f"{name}.cfg", folder / f"{name}.weights"


def saved(model, folder, name="mine", **options):
    folder.mkdir(exist_ok=True)
    paths = files(folder, name)
    darknet.save(model, *paths, **options)
    return paths


def images_for(model, count=2):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(0).random(shape, np.float32)


def assert_same_predictions(model, other, tolerance=0.0):
    images = images_for(model)
    first, second = (np.asarray(m(images, training=False)) for m in (model, other))
    np.testing.assert_allclose(first, second, rtol=0, atol=tolerance)
