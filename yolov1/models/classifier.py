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
    "pyramid": "up1_reduce",
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
    """Copies the weights of every layer that both have, by name, into `detector`.

    (A detector with a fine grid may have fewer stages than were pretrained.)

    Raises:
        ValueError: they have no layer in common, or one in another shape; nothing is copied then.
    """
    layers = {layer.name: layer for layer in detector.layers}
    pairs = [
        (layer, layers[layer.name])
        for layer in classifier.layers
        if layer.weights and layer.name in layers
    ]
    ask = "Give both the same --model and --model_options."
    if not pairs:
        raise ValueError(
            f"the backbone {classifier.name} and the detector {detector.name} share no layer. {ask}"
        )
    for mine, theirs in pairs:
        own, other = ([tuple(w.shape) for w in layer.weights] for layer in (mine, theirs))
        if own != other:
            raise ValueError(
                f"the backbone's layer {mine.name!r} has weights of {own}, the detector's of "
                f"{other}. {ask}"
            )
    for mine, theirs in pairs:
        theirs.set_weights(mine.get_weights())


def copy_fitting(source: keras.Model, target: keras.Model) -> tuple[list[str], list[str]]:
    """Copies the weights of every layer that both have, by name and shapes, into `target`.

    Returns:
        The layers of `target` that were copied, and a line on each that was not.

    Raises:
        ValueError: none was; says why.
    """
    mine = {layer.name: layer for layer in source.layers if layer.weights}
    copied, left = [], []
    for layer in target.layers:
        if not layer.weights:
            continue
        own = [tuple(w.shape) for w in layer.weights]
        other = mine.get(layer.name)
        if other is None:
            left.append(f"{layer.name}: not there")
            continue
        shapes = [tuple(w.shape) for w in other.weights]
        if shapes != own:
            left.append(f"{layer.name}: weights of {shapes}, here {own}")
            continue
        layer.set_weights(other.get_weights())
        copied.append(layer.name)
    if not copied:
        raise ValueError(
            f"{source.name} and {target.name} have no layer of the same name and shapes in common: "
            f"{'; '.join(left)}."
        )
    return copied, left
