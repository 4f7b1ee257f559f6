"""What a run is made of: one dataclass, from which the experiments generate their flags."""

import dataclasses

from yolov1.grid import GridSpec
from yolov1.kernels import COLLISION_RULES, SUPPRESSIONS
from yolov1.option_text import changed
from yolov1.semantics import PRESETS, LossSemantics
from yolov1.training.config_checks import DARKNET, check_activations, check_config


def _field(default, help, **metadata):  # noqa: A002 (the flag's word)
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Every choice of a training run; a run directory's ``config.json`` holds one.

    Each field is a flag of `experiments.train`, with the help text given here. The defaults are a
    recipe for a small network on a laptop; others, the paper's too, have names: `--recipe`.
    """

    task: str = _field(
        "detect",
        "detect: boxes on a grid; classify: one class for a whole image (experiments.pretrain).",
        choices=("detect", "classify"),
    )

    # Data
    dataset: str = _field(
        "shapes", "shapes, or KIND:PATH with one of the kinds of docs/data.md, such as voc:PATH."
    )
    train_split: str = _field("train", "Split to train on; a+b is the union; empty: all.")
    eval_split: str = _field("test", "Split to evaluate on.")
    classes: str = _field("", "Comma-separated classes to keep, in this order; empty: all.")
    bad_examples: str = _field(
        "fail",
        "What to do with an unreadable or invalid example: stop, or skip and list it.",
        choices=("fail", "skip"),
    )
    augment: str = _field(
        "paper",
        "none; paper (scale, shift, exposure, saturation, flip); dihedral (paper, upside down and "
        "transposed too, for images without an up); darknet (as its loader does, with yolov1.cfg's "
        "numbers); darknet:CFG (with a file's jitter, hue, saturation and exposure).",
        choices=("none", "paper", "dihedral", "darknet"),
        prefix=DARKNET,
    )
    augment_options: str = _field(
        "", "Changes to the preset of --augment: 'min_visible=0.6,scale=0.3' (docs/runs.md)."
    )
    resize: str = _field(
        "half_pixel",
        "How evaluation and detection bring an image to the network's size: half_pixel: centres of "
        "pixels at a half, as everywhere today; darknet: corners on corners (unless given, with "
        "--model=darknet:CFG); darknet_black_row: and with the last row that it leaves black for "
        "some heights.",
        choices=("half_pixel", "darknet", "darknet_black_row"),
    )
    suppression: str = _field(
        "hard",
        "What evaluation and detection do to boxes that overlap a better one of their class: hard: "
        "drop them; linear, gaussian: take from their scores (Soft-NMS).",
        choices=SUPPRESSIONS,
    )
    on_collision: str = _field(
        "first",
        "Which object a cell keeps when several have their centre in it.",
        choices=COLLISION_RULES,
    )
    neighbours: bool = _field(
        False,
        "Whether empty cells learn the object of a cell beside them: up to two for each, the "
        "nearest column's and the nearest row's, where the box reaches over their middle. What is "
        "measured (val_loss and the like) counts the cells of centres alone.",
    )
    val_targets: str = _field(
        "own",
        "What val_loss is measured against: the images' own boxes, or empty: as if they had none "
        "(a defect of tf2_person).",
        choices=("own", "empty"),
    )
    cache: str = _field(
        "auto",
        "What is kept of the images: decoded: their pixels; encoded: their files; auto: the first "
        "of both that takes at most --cache_bytes; device: their pixels, on the first GPU, where "
        "the batches are made then; off: nothing.",
        choices=("auto", "encoded", "decoded", "device", "off"),
    )
    cache_bytes: int = _field(1 << 30, "What --cache=auto keeps at most.")

    # Model
    model: str = _field(
        "laptop",
        "paper | fast | laptop | pyramid | keras_voc | tf2_person | applications:NAME | "
        "darknet:CFG; of the last, S, B, image_size, activations and the loss's weights are the "
        "file's.",
    )
    model_options: str = _field("", "Options of the model: 'width=1.5,depth=2'.")
    activations: str = _field(
        "softmax",
        "Of the head: linear (paper); sigmoid; softmax (over the classes, sigmoid elsewhere); with "
        "others for single blocks: 'softmax,xy=linear'.",
    )
    backbone: str = _field(
        "", "Run of experiments.pretrain whose convolutions the network starts from; empty: none."
    )
    init: str = _field(
        "", "Run whose last weights the network starts from, as far as they fit; empty: none."
    )
    S: int = _field(7, "Grid side.")
    B: int = _field(2, "Boxes of a cell.")
    image_size: int = _field(112, "Side of the square network input in pixels.")

    # Loss
    semantics: str = _field("paper", "Whose loss.", choices=tuple(PRESETS))
    semantics_options: str = _field(
        "", "Changes to the preset: 'weight_no_object=1,confidence_target=one'."
    )
    impl: str = _field(
        "auto", "Which implementation of the loss.", choices=("auto", "fused", "reference")
    )

    # Optimisation
    batch_size: int = _field(16, "Images of a step, over all replicas.")
    subdivisions: int = _field(
        1,
        "Parts of the batch that go through the network one after another, to take less memory; "
        "their gradients add up. Batch normalisation sees a part.",
    )
    epochs: int = _field(30, "Passes over the training images.")
    optimizer: str = _field(
        "adamw",
        "sgd (momentum 0.9), adam, adamw, darknet (its momentum, without the learning rate in it).",
        choices=("sgd", "adam", "adamw", "darknet"),
    )
    learning_rate: float = _field(2e-3, "Peak learning rate.")
    schedule: str = _field(
        "cosine",
        "paper: warm-up from a tenth of the rate, then 75 : 30 : 30 epochs at 1, 0.1, 0.01 of it, "
        "scaled to --epochs; cosine: warm-up, then half a cosine to a hundredth; constant; "
        "darknet:CFG: the policy of a cfg file's [net], by batches, with its learning_rate and "
        "(for --optimizer=darknet) momentum.",
        choices=("paper", "cosine", "constant"),
        prefix=DARKNET,
    )
    seen: int = _field(
        0,
        "Images that the network has seen before: where --schedule=darknet:CFG goes on. 0: from "
        "the start.",
    )
    learning_rates: str = _field(
        "",
        "Rates by epoch, in place of --learning_rate, --schedule and --warmup_epochs: "
        "'0:0.01,75:0.001' is 0.01 from the start and 0.001 once 75 epochs are done.",
    )
    warmup_epochs: float = _field(2.0, "Length of the warm-up.")
    weight_decay: float = _field(
        1e-2, "Of kernels. sgd, adam, darknet: in the gradient; adamw: decoupled."
    )
    clip_norm: float = _field(20.0, "Clip the global norm of the gradient; 0: do not.")
    ema: float = _field(0.998, "Decay of the moving average of the weights, in [0, 1); 0: none.")
    precision: str = _field(
        "float32",
        "Precision of the layers; the head and the loss stay in float32.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    strategy: str = _field(
        "auto",
        "one device; mirrored: every GPU of this machine; multi_worker: as TF_CONFIG or SLURM "
        "says; auto: what is there.",
        choices=("auto", "one", "mirrored", "multi_worker"),
    )
    jit_compile: bool = _field(False, "Compile the step with XLA.")
    seed: int = _field(0, "Of weights, order and augmentation; a run is a function of it.")

    # Run
    output_dir: str = _field("", "Run directory; empty: runs/<name>-<time>.")
    resume: bool = _field(
        False, "Go on from the last checkpoint of --output_dir, with the flags of that run."
    )
    eval_every: int = _field(10, "Epochs between evaluations while training; 0: only at the end.")
    monitor: str = _field(
        "map_voc07",
        "What the best weights have: the highest mean AP or accuracy, or the lowest val_loss.",
    )
    patience: int = _field(
        0,
        "Evaluations in a row without a better --monitor after which the training ends; 0: it goes "
        "on to the last epoch.",
    )
    hours: float = _field(
        0.0,
        "Hours after which this start stops, with a checkpoint to go on from (--resume); 0: none.",
    )
    checkpoint_minutes: float = _field(
        2.0,
        "Minutes between checkpoints; there is one at the end, and after Ctrl-C and SIGTERM, too.",
    )
    capture: str = _field(
        "",
        "File for predictions and targets of some steps, a workload for benchmarks (docs/runs.md); "
        "empty: none.",
    )
    capture_steps: str = _field("0,100,1000", "Which steps; the first one is 0.")
    profile: str = _field(
        "",
        "Steps whose profile for TensorBoard is kept (docs/runs.md): '10,20' is from step 10 to "
        "step 20, both included, '10' that one; the first is 0; empty: none.",
    )
    histograms: bool = _field(
        False, "Histograms of the weights for TensorBoard, as often as there is an evaluation."
    )
    track: str = _field(
        "",
        "KIND:URI of a tracker that the run is written to as well (docs/tracking.md): mlflow: "
        "(files in this folder), mlflow:FOLDER, mlflow:sqlite:///FILE, mlflow:https://SERVER; "
        "empty: none.",
    )
    storage: str = _field(
        "",
        "A path or URI that the run is copied to after each checkpoint, such as s3://BUCKET/RUN; "
        "--resume goes on from there on another machine (docs/scale.md); empty: none.",
    )
    keep_last: int = _field(2, "Last checkpoints that stay.")
    keep_hours: float = _field(
        0.0, "Hours of training between checkpoints that stay as those of --keep_every; 0: none."
    )
    keep_every: int = _field(
        0, "Steps between checkpoints that stay, for --fork and experiments.replay; 0: none stays."
    )
    digests: int = _field(
        0,
        "Steps between rows of digests.csv, the loss to its last bit and a hash of the weights, by "
        "which experiments.bisect tells where two runs part; 0: none.",
    )
    fork: str = _field(
        "",
        "RUN@STEP: goes on from this checkpoint of another run, with its flags but for those given "
        "and the same random numbers (docs/replay.md); empty: starts anew.",
    )
    watch: str = _field(
        "",
        "Images whose loss is kept by cell at every evaluation (docs/microscope.md): ids of the "
        "evaluation set with commas between them, train:ID, hard:N (the N with the highest loss at "
        "the first evaluation); empty: none.",
    )

    def __post_init__(self):
        check_config(self)

    def require_activations(self, semantics=None):
        """Refuses activations that are none, or do not go with the loss or with `neighbours`.

        Args:
            semantics: `LossSemantics`; by default the run's own.

        Raises:
            ValueError: says what to give.
        """
        check_activations(self, semantics or self.loss_semantics())

    def grid(self, classes: int) -> GridSpec:
        return GridSpec(S=self.S, B=self.B, C=classes, image_size=self.image_size)

    def steps_to_capture(self) -> set[int]:
        """The steps of ``capture_steps``."""
        try:
            steps = {int(word) for word in self.capture_steps.split(",")}
        except ValueError:
            steps = {-1}
        if min(steps) < 0:
            raise ValueError(
                "--capture_steps must be whole numbers of at least 0 with commas between them, "
                f"got {self.capture_steps!r}."
            )
        return steps

    def steps_to_profile(self) -> range:
        """The steps of ``profile``."""
        if not self.profile:
            return range(0)
        words = self.profile.split(",")
        try:
            steps = range(int(words[0]), int(words[-1]) + 1)
        except ValueError:
            steps = range(0)
        if len(words) > 2 or not steps or steps[0] < 0:
            raise ValueError(
                "--profile must be FIRST,LAST, whole numbers from 0 of which the last is not the "
                f"smaller one, or one step, got {self.profile!r}."
            )
        return steps

    def forked_from(self) -> tuple[str, int] | None:
        """The run and the step of ``fork``; None where it is empty."""
        if not self.fork:
            return None
        path, _, step = self.fork.rpartition("@")
        if not path or not step.isdecimal():
            raise ValueError(
                "--fork must be RUN@STEP, a run directory and a step of which it has a checkpoint, "
                f"got {self.fork!r}."
            )
        return path, int(step)

    def loss_semantics(self) -> LossSemantics:
        preset = LossSemantics.preset(self.semantics)
        return changed(preset, self.semantics_options, "semantics_options")

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "TrainConfig":
        """The inverse of `to_dict`; names that a later version has dropped are ignored."""
        known = {field.name for field in dataclasses.fields(cls)}
        if isinstance(values.get("cache"), bool):  # of runs when it was a switch
            values = values | {"cache": "auto" if values["cache"] else "off"}
        return cls(**{name: value for name, value in values.items() if name in known})
