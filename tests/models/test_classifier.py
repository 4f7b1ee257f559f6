"""The part of a network that is pretrained, and the way of its weights into a detector."""

import keras
import numpy as np
import pytest

from yolov1 import models
from yolov1.grid import GridSpec

CLASSES = GridSpec(S=1, B=1, C=5, image_size=64)
NETWORKS = {
    "paper": {"width": 0.02},
    "keras_voc": {"width": 0.02},
    "tf2_person": {"width": 0.02, "batch_norm": True},
    "fast": {"width": 0.02},
    "laptop": {"width": 0.34},
    "pyramid": {"width": 0.34},
}


def grids(name):
    """(of the classifier, of the detector), at half the size, as in the paper."""
    side = 144 if name == "keras_voc" else 64
    return GridSpec(S=1, B=1, C=5, image_size=side), GridSpec(S=3, C=2, image_size=2 * side)


@pytest.mark.first_case
@pytest.mark.parametrize("name", NETWORKS)
def test_a_detector_starts_from_the_classifiers_features(name):
    small, large = grids(name)
    classifier = models.build_classifier(name, grid=small, **NETWORKS[name])
    assert classifier.output_shape == (None, 5)
    detector = models.build(name, grid=large, **NETWORKS[name])
    before = {layer.name: layer.get_weights() for layer in detector.layers}
    models.copy_backbone(classifier, detector)
    copied = 0
    for layer in detector.layers:
        for mine, old in zip(layer.get_weights(), before[layer.name], strict=True):
            shared = layer.name in {c.name for c in classifier.layers}
            source = classifier.get_layer(layer.name).get_weights() if shared else None
            if shared:
                assert any(np.array_equal(mine, w) for w in source)
                copied += 1
            else:
                np.testing.assert_array_equal(mine, old)
    assert copied > 0


@pytest.mark.parametrize("name", ["paper", "keras_voc", "tf2_person"])
def test_the_first_twenty_convolutions(name):
    small, _ = grids(name)
    classifier = models.build_classifier(name, grid=small, width=0.02)
    convolutions = [x.name for x in classifier.layers if isinstance(x, keras.layers.Conv2D)]
    assert convolutions == [f"conv{k}" for k in range(1, 21)]
    kinds = [type(layer).__name__ for layer in classifier.layers[-2:]]
    assert kinds == ["GlobalAveragePooling2D", "Dense"]


def test_another_width_is_refused_and_nothing_is_copied():
    classifier = models.build_classifier("paper", grid=CLASSES, width=0.02)
    detector = models.build("paper", grid=GridSpec(image_size=64), width=0.03)
    before = detector.get_weights()
    with pytest.raises(ValueError, match="'conv1' has weights of .* the same --model"):
        models.copy_backbone(classifier, detector)
    for mine, old in zip(detector.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)


def test_another_network_is_refused():
    classifier = models.build_classifier("laptop", grid=CLASSES, width=0.34)
    detector = models.build("fast", grid=GridSpec(image_size=64), width=0.02)
    with pytest.raises(ValueError, match="laptop_classifier and the detector fast share no layer"):
        models.copy_backbone(classifier, detector)


def test_a_network_without_a_backbone():
    with pytest.raises(ValueError, match="no backbone of 'applications:MobileNetV2'; there are"):
        models.build_classifier(
            "applications:MobileNetV2", grid=GridSpec(S=1, B=1, C=2, image_size=64)
        )
