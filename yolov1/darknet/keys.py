"""What may stand in a cfg: sections, their keys with the types Darknet reads them as, choices."""

ALIASES = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "soft": "softmax",
    "lrn": "normalization",
    "deconv": "deconvolutional",
}

# The value of each is one of these names; another one is read as the last column says.
CHOICES = {
    "activation": (
        tuple(
            "logistic loggy relu elu selu relie plse hardtan lhtan linear ramp leaky tanh "
            "stair".split()
        ),
        "relu",
    ),
    "policy": ("random poly constant step exp sigmoid steps".split(), "constant"),
    "type": ("sse masked smooth L1 seg wgan".split(), "sse"),
}

INTEGER, NUMBER, LIST, NAME = "integer", "number", "list", "name"


def _typed(kind, keys):
    return dict.fromkeys(keys.split(), kind)


_ANY = {
    **_typed(INTEGER, "dontload dontsave dontloadscales numload onlyforward stopbackward truth"),
    **_typed(NUMBER, "smooth learning_rate"),
}
_IMAGE = _typed(INTEGER, "filters size stride pad") | _typed(NAME, "activation")

# Per section, as parser.c reads them.
KEYS = {
    "net": {
        **_typed(
            INTEGER,
            "batch subdivisions height width channels inputs time_steps notruth random adam "
            "max_crop min_crop center burn_in max_batches step",
        ),
        **_typed(
            NUMBER,
            "learning_rate momentum decay B1 B2 eps max_ratio min_ratio clip angle aspect hue "
            "saturation exposure power scale gamma",
        ),
        **_typed(LIST, "steps scales"),
        **_typed(NAME, "policy"),
        "seen": None,  # read until July 2015 only
    },
    "crop": _ANY
    | _typed(INTEGER, "crop_height crop_width flip noadjust")
    | _typed(NUMBER, "angle saturation exposure shift"),
    "convolutional": _ANY
    | _IMAGE
    | _typed(INTEGER, "padding groups batch_normalize binary xnor flipped")
    | _typed(NUMBER, "dot"),
    "local": _ANY | _IMAGE,
    "connected": _ANY | _typed(INTEGER, "output batch_normalize") | _typed(NAME, "activation"),
    "maxpool": _ANY | _typed(INTEGER, "size stride padding"),
    "avgpool": _ANY,
    "batchnorm": _ANY,
    "dropout": _ANY | _typed(NUMBER, "probability"),
    "softmax": _ANY
    | _typed(INTEGER, "groups spatial noloss")
    | _typed(NUMBER, "temperature")
    | _typed(NAME, "tree"),
    "cost": _ANY | _typed(NUMBER, "scale ratio noobj thresh") | _typed(NAME, "type"),
    "detection": _ANY
    | _typed(INTEGER, "classes coords num side softmax sqrt rescore forced random max reorg")
    | _typed(NUMBER, "object_scale noobject_scale class_scale coord_scale jitter"),
}

# Of the detection layer of May to September 2015 (`plan.OLD_DETECTOR`).
OLD_DETECTION = ("joint", "objectness", "background", "nuisance")

# Sections that YOLOv1 never had, and whose they are.
OTHERS = {
    "region": "YOLOv2",
    "reorg": "YOLOv2",
    "reorg3d": "YOLOv2",
    "route": "YOLOv2 and later",
    "shortcut": "YOLOv3 and residual networks",
    "upsample": "YOLOv3",
    "yolo": "YOLOv3 and later",
    "Gaussian_yolo": "Gaussian YOLOv3",
    "scale_channels": "EfficientNet and YOLOv4 of AlexeyAB's Darknet",
    "sam": "YOLOv4",
    "implicit_add": "YOLOR and YOLOv7",
    "implicit_mul": "YOLOR and YOLOv7",
    "contrastive": "AlexeyAB's Darknet",
    "iseg": "Darknet's instance segmentation",
    "l2norm": "Darknet's image embeddings",
    "logistic": "later Darknet networks",
    "activation": "later Darknet networks",
    "deconvolutional": "Darknet's generative networks",
    "normalization": "AlexNet",
    "rnn": "Darknet's recurrent networks",
    "crnn": "Darknet's recurrent networks",
    "gru": "Darknet's recurrent networks",
    "lstm": "Darknet's recurrent networks",
    "conv_lstm": "Darknet's recurrent networks",
}
