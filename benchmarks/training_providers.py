"""What `bench_training` measures in turn: parts of a step, the loop, and the posts' way.

Each provider takes steps of the same network with the same weights. One that has no input of its
own gets the same batch of random pixels again and again, with the targets of real images.
"""

import dataclasses
import importlib.util
import itertools
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks import posts_loss
from benchmarks.providers import Unavailable
from yolov1 import data
from yolov1.training import RunDirectory, TrainConfig, cfg_files, loop, state, strategies
from yolov1.training.optimizers import build_optimizer, gradient_decay
from yolov1.training.profile import Profile
from yolov1.training.tasks import TASKS

WORKERS, QUEUE = 4, 10  # the posts' `fit_generator`


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, the side of its input in pixels, and the images of a step."""

    model: str
    image_size: int
    batch_size: int

    @classmethod
    def parse(cls, text: str) -> "Case":
        """Of ``NETWORK:PIXELS:BATCH``; a network's name may have colons itself.

        Raises:
            ValueError: it is something else.
        """
        try:
            model, size, batch = text.rsplit(":", 2)
            return cls(model, int(size), int(batch))
        except ValueError:
            raise ValueError(
                f"--cases must be NETWORK:PIXELS:BATCH with commas between them, got {text!r}."
            ) from None

    def __str__(self):
        return f"{self.model}, {self.image_size} px, batches of {self.batch_size}"


class Setup:
    """What the providers of a case share.

    Args:
        case: the `Case`.
        config: a `TrainConfig` with everything else.
        dataset: what is trained on.
    """

    def __init__(self, case: Case, config: TrainConfig, dataset):
        self.dataset, self.folder, self._steps = dataset, tempfile.TemporaryDirectory(), {}
        # A rate at which hundreds of steps change no weight enough to matter.
        constant = {"schedule": "constant", "learning_rate": 1e-6, "warmup_epochs": 0.0}
        self.config = dataclasses.replace(
            config, **dataclasses.asdict(case), **constant, epochs=1, strategy="one", impl="fused"
        )
        self.grid = self.config.grid(len(dataset.classes))
        keras.mixed_precision.set_dtype_policy(config.precision)
        strategy = strategies.resolve_strategy("one")
        directory = RunDirectory(self.folder.name)
        self.state = state.build_state(self.config, self.grid, directory, strategy, 1.0)
        self.batches = data.training_batches(
            dataset,
            self.grid,
            case.batch_size,
            seed=config.seed,
            augmentation=cfg_files.augmentation(config),
            on_collision=config.on_collision,
            neighbours=config.neighbours,
            cache=config.cache,
        )
        images, targets, self.indices = next(iter(self.batches))
        self.random_batch = tf.random.stateless_uniform(images.shape, [0, 0]), tf.identity(targets)

    def loss(self, impl: str):
        """`impl`'s function of (predictions, targets) giving (mean, terms)."""
        return TASKS["detect"].loss(dataclasses.replace(self.config, impl=impl), self.grid)

    def step(self, impl: str):
        """The loop's own compiled step, one for all who want it."""
        if impl not in self._steps:
            config = dataclasses.replace(self.config, impl=impl)
            self._steps[impl] = loop.make_step(config, self.grid, self.state)
        return self._steps[impl]

    def close(self):
        self.folder.cleanup()


# A provider is made of a `Setup`. It is a function of two numbers of steps, the first of which do
# not count. Of one of the others it gives the seconds, the seconds of CPU time (all threads), and
# how many seconds it waited for input.


def _piece(setup, loss_of, update):
    """The compiled step as far as that: forward, loss and gradient, and what changes the weights.

    Args:
        loss_of: None for a plain sum of the predictions.
        update: whether optimizer and moving average belong to it.
    """
    state, config = setup.state, setup.config
    decay = gradient_decay(config, state.model)

    @tf.function(jit_compile=config.jit_compile or None, autograph=False)
    def step(images, targets):
        with tf.GradientTape() as tape:
            predictions = state.model(images, training=True)
            loss = loss_of(predictions, targets)[0] if loss_of else tf.reduce_sum(predictions)
            if update:
                loss += decay() + sum(state.model.losses)
            loss = state.optimizer.scale_loss(loss)
        variables = state.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if not update:
            return loss, gradients  # as results, since what nobody wants is not computed
        state.optimizer.apply(gradients, variables)
        if state.average is not None:
            state.average.update(state.progress.step)
        return loss, []

    return _bare(setup, step)


def _bare(setup, step):
    """A compiled step by itself, on the batch of random pixels."""

    def take(count):
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            results = step(*setup.random_batch)
        tf.nest.flatten(results)[0].numpy()  # a GPU has worked off its queue then
        return time.perf_counter() - begin, time.process_time() - cpu

    def run(untimed, timed):
        take(untimed)
        return *(seconds / timed for seconds in take(timed)), 0.0

    return run


class _Clock(keras.callbacks.Callback):
    """Looks at the clocks when the untimed steps are done, and at every later step."""

    def __init__(self, untimed, waited):
        super().__init__()
        self.left, self.waited, self.seen = untimed, waited, []

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left <= 0:
            self.seen.append((time.perf_counter(), time.process_time(), self.waited()))

    def step(self):
        """What a provider gives."""
        steps = len(self.seen) - 1
        first, last = self.seen[0], self.seen[-1]
        return tuple((b - a) / steps for a, b in zip(first, last, strict=True))


class _NoCheckpoints:
    """In a turn of some steps none is written; what one takes is measured by itself."""

    def save_last(self):
        pass


def _loop(setup, impl, batches):
    """This project's loop with all that it does around a step.

    Args:
        batches: a function that gives an iterator, anew for each turn.
    """
    state = dataclasses.replace(setup.state, checkpoints=_NoCheckpoints())
    step = setup.step(impl)

    def run(untimed, timed):
        clock = _Clock(untimed, lambda: float(state.progress.input_seconds.numpy()))
        start = int(state.progress.step.numpy())
        end = start + untimed + timed
        profile = Profile(setup.config, setup.folder.name, start, end)
        loop.run_epochs(
            *(setup.config, state, setup.dataset, step, batches(), [end], profile),
            callbacks=[clock],
        )
        return clock.step()

    return run


def _posts_fit(setup):
    """Keras' `fit` with a Sequence as the posts have it: files read anew with OpenCV, resized and
    divided by 255 in Python, without augmentation; and their loss. (No moving average either, which
    the others have.)"""
    if importlib.util.find_spec("cv2") is None:
        raise Unavailable(
            "posts_fit: the posts read images with OpenCV; run: pip install 'yolov1[bench]'"
        )
    if not all(example.path for example in setup.dataset):
        raise Unavailable("posts_fit: the data set has images that are no files")
    import cv2

    grid, size = setup.grid, setup.config.batch_size

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 1 << 20  # at an end, the queue would run dry in the steps that are timed

        def __getitem__(self, k):
            examples = [setup.dataset[(k * size + i) % len(setup.dataset)] for i in range(size)]
            images = [cv2.cvtColor(cv2.imread(str(e.path)), cv2.COLOR_BGR2RGB) for e in examples]
            images = [cv2.resize(image, (grid.image_size,) * 2) / 255.0 for image in images]
            targets = [data.encode_targets(e.boxes_cxcywh, e.labels, grid)[0] for e in examples]
            return np.stack(images), np.stack(targets)

    sequence = Sequence(workers=WORKERS, max_queue_size=QUEUE)
    setup.state.model.compile(
        optimizer=build_optimizer(setup.config, 1.0),
        loss=lambda targets, predictions: posts_loss.keras_voc(predictions, targets, grid),
        jit_compile=setup.config.jit_compile,
    )

    def run(untimed, timed):
        clock, steps = _Clock(untimed, lambda: 0.0), untimed + timed
        setup.state.model.fit(
            sequence, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[clock]
        )
        return clock.step()

    return run


PROVIDERS = {
    "network": lambda s: _piece(s, None, update=False),
    "network_loss": lambda s: _piece(s, s.loss("fused"), update=False),
    "update": lambda s: _piece(s, s.loss("fused"), update=True),
    "ceiling": lambda s: _bare(s, s.step("fused")),
    "loop": lambda s: _loop(s, "fused", lambda: itertools.repeat((*s.random_batch, s.indices))),
    "ours": lambda s: _loop(s, "fused", lambda: iter(s.batches)),
    "ours_reference": lambda s: _loop(s, "reference", lambda: iter(s.batches)),
    "posts_fit": _posts_fit,
}


def loss_copies(setup, impl: str, copies: int):
    """A function whose one call computes so many losses with their gradients in a graph."""
    loss_of, (_, targets) = setup.loss(impl), setup.random_batch
    shape = (len(targets), *setup.grid.prediction_shape)
    predictions = tf.random.stateless_uniform(shape, [1, 1])
    inputs = [(tf.identity(predictions), tf.identity(targets)) for _ in range(copies)]

    @tf.function(autograph=False)  # traced once, and inlined into the graph of all
    def one(p, t):
        with tf.GradientTape() as tape:
            tape.watch(p)
            loss = loss_of(p, t)[0]
        return loss, tape.gradient(loss, p)

    @tf.function(jit_compile=setup.config.jit_compile or None, autograph=False)
    def all_copies():
        return [one(p, t) for p, t in inputs]

    return lambda: all_copies()[-1][0].numpy()
