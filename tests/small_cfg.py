"""Networks that are traced in no time: cfg files of Darknet's, their sections and one for images of
32 pixels, S=2, B=2 and six classes; and few layers of our own."""


def section(name, **options) -> str:
    """The lines of a section."""
    return "".join(f"{line}\n" for line in (f"[{name}]", *(f"{k}={v}" for k, v in options.items())))


def convolution(filters, **options) -> str:
    """A convolution of stride 2."""
    shape = {"filters": filters, "size": 3, "stride": 2, "pad": 1, "activation": "leaky"}
    return section("convolutional", **options, **shape)


# Of --model=laptop: most of the time of a short run is that of tracing its layers.
FEW_LAYERS = "--model_options=width=0.34,depth=0"

POOL = section("maxpool", size=2, stride=2)

# Small, so that it is traced in no time; dropout must be the same again, too.
CFG = "".join(
    (
        section("net", height=32, width=32, channels=3),
        convolution(6, batch_normalize=1),
        POOL,
        convolution(8),
        section("dropout", probability=".3"),
        section("connected", output=64, activation="linear"),
        section("detection", classes=6, coords=4, num=2, side=2, sqrt=1),
    )
)
