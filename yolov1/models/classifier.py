"""The first layers of a detector with a classifier on top: what pretraining trains.

"For pretraining we use the first 20 convolutional layers [...] followed by a average-pooling layer
and a fully connected layer" (arXiv 1506.02640, section 2.2), on images of half the detector's size.
"""

import keras

from yolov1.grid import GridSpec

# network -> its first layer that is not pretrained.
PRETRAINED_UP_TO = {
    "paper": "conv21",
    "keras_voc": "conv21",
    "tf2_person": "conv21",
    "fast": "conv7",
    "laptop": "to_grid",
}


def on_top_of(detector: keras.Model, name: str, grid: GridSpec) -> keras.Model:
    """A classifier that shares the first layers of `detector`, a network `name` of `models.build`.

    Args:
        grid: its C is the number of classes.

    Returns:
        Images ``[N, image_size, image_size, 3]`` in [0, 1] to logits float32 ``[N, C]``.

    Raises:
        ValueError: a network that has no part to pretrain.
    """
    if name not in PRETRAINED_UP_TO:
        raise ValueError(
            f"models.build_classifier: no backbone of {name!r}; there are "
            f"{', '.join(PRETRAINED_UP_TO)}. (applications:NAME take weights=.)"
        )
    features = detector.get_layer(PRETRAINED_UP_TO[name]).input
    x = keras.layers.GlobalAveragePooling2D(name="average")(features)
    logits = keras.layers.Dense(grid.C, dtype="float32", name="logits")(x)
    return keras.Model(detector.inputs, logits, name=f"{name}_classifier")


def copy_backbone(classifier: keras.Model, detector: keras.Model):
    """Copies the weights of every layer that both have into `detector`.

    Raises:
        ValueError: the detector lacks one of the classifier's layers, or has it in another shape;
            it is unchanged then.
    """
    copied = [layer for layer in classifier.layers if layer.weights and layer.name != "logits"]
    theirs = {layer.name: layer for layer in detector.layers}
    for layer in copied:
        own = [tuple(w.shape) for w in layer.weights]
        other = [tuple(w.shape) for w in theirs[layer.name].weights] if layer.name in theirs else []
        if own != other:
            raise ValueError(
                f"the backbone's layer {layer.name!r} has weights {own}, the detector's "
                f"{other or 'no such layer'}. Give both the same --model and --model_options."
            )
    for layer in copied:
        theirs[layer.name].set_weights(layer.get_weights())
