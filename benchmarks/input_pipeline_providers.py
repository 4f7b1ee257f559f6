"""What `bench_input_pipeline` compares: each provider makes batches of a folder of JPEG files.

The posts make (images, targets), and so does our pipeline; the others make images only, which is in
their favour. All but the posts, `simplejpeg_resize`, `decoding` and `ours_none_cached` augment as
the paper does, as nearly as their library can: windows, flips, exposure and saturation.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks import input_pipeline_peers as peers
from benchmarks.input_pipeline_peers import AHEAD, CORES, in_order
from benchmarks.providers import Unavailable
from yolov1 import data, ops
from yolov1.data.augmentation import Augmentation
from yolov1.data.images import shrink_ratio
from yolov1.grid import GridSpec

# The extra of this package that installs an optional one.
EXTRAS = {"cv2": "bench", "grain": "bench", "simplejpeg": "bench", "nvidia.dali": "dali"}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a provider is to make.

    Attributes:
        dataset: sequence of `Example`, JPEG files all.
        grid: `GridSpec`; images become ``image_size`` pixels square.
        batch_size: images of a batch.
        augmentation: of those that augment.
    """

    dataset: object
    grid: GridSpec
    batch_size: int
    augmentation: Augmentation = Augmentation()

    @property
    def paths(self) -> list[str]:
        return [str(example.path) for example in self.dataset]

    @property
    def ratio(self) -> int:
        """1, 2, 4 or 8: by how much decoding may shrink the images, as our pipeline does."""
        return min(shrink_ratio(example.size, self.grid.image_size) for example in self.dataset)

    def path(self, position: int) -> str:
        return str(self.dataset[position % len(self.dataset)].path)


# --------------------------------------------------------------------------- the published posts
# A Keras Sequence that reads, resizes and divides by 255 in Python, without augmentation.


def _read_cv2(path, size):
    import cv2

    image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (size, size))


def _read_pil(path, size):
    return np.asarray(Image.open(path).resize((size, size)))


def _posts_batch(work, read):
    """A function from batch number to (images, targets)."""
    size, steps = work.grid.image_size, len(work.dataset) // work.batch_size

    def batch(k):
        first = k % steps * work.batch_size
        examples = work.dataset[first : first + work.batch_size]
        images = [read(str(e.path), size) / 255.0 for e in examples]
        targets = [data.encode_targets(e.boxes_cxcywh, e.labels, work.grid)[0] for e in examples]
        return np.stack(images), np.stack(targets)

    return batch


def _posts(read):
    def maker(work):
        batch = _posts_batch(work, read)
        return lambda: (batch(k)[0] for k in itertools.count())

    return maker


def _posts_workers(work):
    """With the four threads, and the queue of ten, that the post's `fit_generator` asks for."""
    batch = _posts_batch(work, _read_cv2)

    def start(pool, k):
        return pool.submit(batch, k).result

    return lambda: (images for images, _ in in_order(4, 9, start))


# ------------------------------------------------------------------- decoding alone (the bound), ou


def decode(encoded, ratio):
    """Pixels of a JPEG, with the flags of our pipeline."""
    return tf.io.decode_jpeg(encoded, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _decoding(work):
    """Whole images, from memory, and nothing kept: batches of the number of their rows."""
    encoded = tf.constant([Path(path).read_bytes() for path in work.paths])

    def rows(batch):
        return tf.map_fn(
            lambda one: tf.shape(decode(one, work.ratio))[0], batch, fn_output_signature=tf.int32
        )

    images = tf.data.Dataset.from_tensor_slices(encoded).repeat()
    made = images.batch(work.batch_size).map(rows, CORES).prefetch(AHEAD)
    return lambda: (sizes for sizes in made)


def _bare(op):
    """An image op alone, a batch at a time: images in memory, and draws made beforehand."""

    def maker(work):
        paths, n = work.paths, work.batch_size
        batches = []
        for k in range(4 * len(paths) // n):  # each file in four views
            positions = np.arange(k * n, (k + 1) * n)
            drawn = ops.draw_augmentation(work.augmentation, 0, positions)
            batches.append((positions % len(paths), drawn))
        call = op(work, paths)
        return lambda: (call(indices, drawn) for indices, drawn in itertools.cycle(batches))

    return maker


def _load_images(work, paths):
    encoded = tf.constant([Path(path).read_bytes() for path in paths])
    size = work.grid.image_size
    return lambda k, drawn: ops.load_images(tf.gather(encoded, k), *drawn, size=size)


def _augment_images(work, paths):
    pixels = [decode(Path(path).read_bytes(), work.ratio).numpy() for path in paths]
    sizes = np.array([image.shape[:2] for image in pixels], np.int32)
    offsets = np.cumsum([image.size for image in pixels]) - [image.size for image in pixels]
    values, size = (
        tf.constant(np.concatenate([i.reshape(-1) for i in pixels])),
        work.grid.image_size,
    )

    def call(k, drawn):
        images = ops.Pixels(values, offsets[k], sizes[k])
        return ops.augment_images(images, *drawn, size=size, shrink=False)

    return call


# How `data.training_batches` is called, by the provider's name.
OURS = {
    "ours_paper": {"cache": "off"},
    "ours_paper_encoded": {"cache": "encoded"},
    "ours_paper_cached": {"cache": "decoded"},
    "ours_none_cached": {"cache": "decoded", "augmentation": "none"},
    "ours_paper_reference": {"cache": "off", "impl": "reference"},
    "ours_paper_cached_reference": {"cache": "decoded", "impl": "reference"},
}


def _ours(options):
    def maker(work):
        how = {"augmentation": work.augmentation, **options}
        made = data.training_batches(work.dataset, work.grid, work.batch_size, seed=0, **how)
        return lambda: (images for images, _, _ in made)

    return maker


# ------------------------------------------------------------------------------------- the table


@dataclasses.dataclass(frozen=True)
class Provider:
    """Whose code, and what it needs.

    Attributes:
        maker: from `Work` to a function that starts anew and gives a generator of batches, without
            end.
        modules: packages that it uses, besides TensorFlow.
    """

    maker: Callable[[Work], Callable[[], Generator]]
    modules: tuple[str, ...] = ()


PROVIDERS = {
    "posts_cv2": Provider(_posts(_read_cv2), ("cv2",)),
    "posts_pil": Provider(_posts(_read_pil), ("PIL",)),
    "posts_cv2_workers": Provider(_posts_workers, ("cv2",)),
    "keras": Provider(peers.with_keras, ("keras",)),
    "grain": Provider(peers.with_grain, ("grain", "cv2")),
    "dali_cpu": Provider(peers.with_dali, ("nvidia.dali",)),
    "simplejpeg": Provider(peers.with_simplejpeg(augment=True), ("simplejpeg", "cv2")),
    "simplejpeg_resize": Provider(peers.with_simplejpeg(augment=False), ("simplejpeg", "cv2")),
    "decoding": Provider(_decoding),
    **{name: Provider(_ours(options)) for name, options in OURS.items()},
    "ours_op": Provider(_bare(_load_images)),
    "ours_op_cached": Provider(_bare(_augment_images)),
}
POSTS = ("posts_cv2", "posts_pil")  # on one thread; a machine's better one is the baseline


def packages(name: str) -> str:
    """The packages of a provider with their versions; those that can be imported."""
    modules = [importlib.import_module(module) for module in PROVIDERS[name].modules]
    return " ".join(f"{module.__name__} {module.__version__}" for module in modules)


def make(name: str, work: Work) -> Callable[[], Generator]:
    """A function that starts the provider anew and gives a generator of its batches.

    Raises:
        Unavailable: a package that it needs is not installed.
    """
    for module in PROVIDERS[name].modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise Unavailable(
                f"{name} uses the package {module}, which cannot be imported ({error}); run: "
                f"pip install 'yolov1[{EXTRAS[module]}]'"
            ) from error
    return PROVIDERS[name].maker(work)
