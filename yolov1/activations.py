"""What turns the raw outputs of a network into predictions, block by block of a cell.

The words are the same for a head (`yolov1.models`), which activates, and for the loss
(`yolov1.ops.yolo_loss`), which can do so in the head's place.
"""

from collections.abc import Mapping

BLOCKS = {
    "classes": ("linear", "softmax", "sigmoid"),
    "confidences": ("linear", "sigmoid"),
    "xy": ("linear", "sigmoid"),
    "wh": ("linear", "sigmoid"),
}
ACTIVATIONS = {
    # The paper and Darknet: squared errors on the bare outputs.
    "linear": dict.fromkeys(BLOCKS, "linear"),
    # The reshape layers of keras_voc and tf2_person, without the sigmoid that both have before it.
    "softmax": dict.fromkeys(BLOCKS, "sigmoid") | {"classes": "softmax"},
    "sigmoid": dict.fromkeys(BLOCKS, "sigmoid"),
}


def resolve_activations(activations) -> dict[str, str]:
    """A name in `ACTIVATIONS`, or one with other blocks behind it (``"softmax,xy=linear"``), or a
    mapping of blocks to activations (others linear), in full.

    Raises:
        ValueError: an unknown name, block or activation.
    """
    named = "linear"
    if isinstance(activations, str):
        named, _, others = activations.partition(",")
        if named in ACTIVATIONS:
            pairs = (pair.partition("=") for pair in others.split(",") if pair.strip())
            activations = {block.strip(): function.strip() for block, _, function in pairs}
    if not isinstance(activations, Mapping):
        raise ValueError(
            f"activations must be one of {', '.join(ACTIVATIONS)}, with others of single blocks "
            f"behind it or not ('softmax,xy=linear'), or a mapping of {', '.join(BLOCKS)} to "
            f"activations, got {activations!r}."
        )
    for block, activation in activations.items():
        if block not in BLOCKS:
            raise ValueError(f"activations: no block {block!r}; blocks are {', '.join(BLOCKS)}.")
        if activation not in BLOCKS[block]:
            raise ValueError(
                f"activations: {block} must be one of {', '.join(BLOCKS[block])}, "
                f"got {activation!r}."
            )
    return ACTIVATIONS[named] | dict(activations)
