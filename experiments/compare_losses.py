"""What do several losses say of the same predictions, and where would each have them move?

    python -m experiments.compare_losses --checkpoint=runs/shapes
    python -m experiments.compare_losses --checkpoint=runs/shapes --losses=paper,paper:box=ciou
    python -m experiments.compare_losses --dataset=voc:PATH --model=laptop --seed=1

One batch goes through one network once, and the losses take what comes out: each term's value and
share, the lengths of its gradient by the outputs and by the weights, the directions between the
losses' gradients (cosines), the objects for which they hold other boxes responsible, and some
images cell by cell. compare_losses.html, pictures/ and summary.json are written to `--output_dir`.

A loss is one of the four systems, or one with changes as `--semantics_options` takes them, after
a colon: ``paper:box=ciou,weight_xy=1,darknet`` are two. The first is what the others are held to.

With `--checkpoint` the network is a run's and the batch the first `--images` of its evaluation
split, as detection sees them; `--step` takes the batch that step of its training saw instead
(augmented; layers work as in training). The weights are the run's last ones, not those of the step.
Without a run the weights are fresh, as a training with these flags begins with, and the batch is
that of `--step` (by default its first one, 0).

What w and h mean differs between losses (`LossSemantics.wh`): the paper's network predicts square
roots. ``--same=boxes`` takes the outputs for what the run was trained to put out, and hands every
loss the same boxes (roots squared, or sizes' roots); the gradient goes back through that. So do
runs by default. ``--same=outputs`` hands every loss the same numbers, which are then other boxes to
some: what fresh weights are to each, and their default.
"""

import contextlib
import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from yolov1 import data, training
from yolov1.files import make_folder, replacing, safe_name
from yolov1.microscope.pictures import png
from yolov1.reporting import loss_comparison
from yolov1.semantics import PRESETS, TERMS
from yolov1.training.checkpoints import build_model

from .lib import common, losses
from .lib import flags as experiment_flags

OF_DATA = ("dataset", "train_split", "eval_split", "bad_examples", "resize", "on_collision")
OF_FRESH = ("classes", "augment", "model", "model_options", "activations", "S", "B", "image_size")
OF_FRESH += ("augment_options", "batch_size", "precision", "seed")
experiment_flags.define(
    names=(*OF_DATA, *OF_FRESH, "impl", "output_dir"),
    output_dir="runs/compare_losses",
    texts={"output_dir": experiment_flags.RESULTS},
)
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Run directory; empty: fresh weights.")
WHICH = flags.DEFINE_enum(
    "which", "last", ("last", "best"), "Weights: the last ones, or the best by --monitor."
)
LOSSES = flags.DEFINE_string(
    "losses", ",".join(PRESETS), "What to compare: NAME or NAME:OPTION=VALUE,OPTION=VALUE, ..."
)
IMAGES = flags.DEFINE_integer("images", 16, "Images of the evaluation split.", lower_bound=1)
STEP = flags.DEFINE_integer("step", None, "The batch of this training step.", lower_bound=0)
SAME = flags.DEFINE_enum(
    "same", None, ("boxes", "outputs"), "What the losses have in common; see above."
)
PICTURES = flags.DEFINE_integer("pictures", 4, "Images to draw cell by cell.", lower_bound=0)

DEBUG = {"dataset": "shapes:count=64", "image_size": 64, "batch_size": 8}
DEBUG_IMAGES = 8


def main(argv):
    del argv
    start = time.perf_counter()
    try:
        compared = losses.parse(LOSSES.value)
    except ValueError as error:
        raise app.UsageError(str(error)) from error
    config, model, grid, (images, targets, ids), what = subject()
    for name, semantics in compared.items():
        with experiment_flags.user_errors(f"--losses={name}"):
            config.require_activations(semantics)
    output = common.results_folder(flags.FLAGS.output_dir)
    same = SAME.value or ("boxes" if CHECKPOINT.value else "outputs")
    wh = config.loss_semantics().wh if same == "boxes" else None
    in_training = not is_evaluation()
    found = losses.compare(
        model, images, targets, grid, compared, wh=wh, training=in_training, impl=config.impl
    )
    summary = {
        "what": f"{what} The layers work as in {'training' if in_training else 'detection'}.",
        "wh": sentence(found, wh),
        **figures(found),
        "images": len(ids),
        "batch": [str(name) for name in ids],
        "same": same,
        "environment": training.run_directory.environment(),
        "seconds": time.perf_counter() - start,
    }
    training.write_json(output / "summary.json", summary)
    pictures = draw(output / "pictures", images.numpy(), targets.numpy(), grid, found, ids)
    page = output / "compare_losses.html"
    with common.drawing(page), replacing(page) as file:
        file.write(loss_comparison.comparison_page(summary, pictures))
    print("\n".join(lines(summary)))
    print(f"page: {page}")
    print(f"summary and pictures: {output}")


def is_evaluation() -> bool:
    return bool(CHECKPOINT.value) and STEP.value is None


# ----------------------------------------------------------------------------------------- subject


def subject():
    """Configuration, network, grid, batch (images, targets, names), and a sentence of them."""
    given = {name for name in (*OF_DATA, *OF_FRESH, "impl") if flags.FLAGS[name].present}
    if CHECKPOINT.value:
        for name in OF_FRESH:
            if name in given:
                raise app.UsageError(f"--{name} is of fresh weights; the run has its own.")
        model, run = training.load_run(CHECKPOINT.value, WHICH.value)
        changes = {name: flags.FLAGS[name].value for name in given}
        config = dataclasses.replace(run.config, **changes)
        what = f"The {WHICH.value} weights of {CHECKPOINT.value}"
    else:
        if flags.FLAGS["images"].present or flags.FLAGS["which"].present:
            raise app.UsageError("--images and --which are of --checkpoint; see --batch_size.")
        config, model = experiment_flags.config_from_flags(debug=DEBUG), None
        what = f"Fresh weights of {config.model} (seed {config.seed})"
    split = config.eval_split if is_evaluation() else config.train_split
    moved = CHECKPOINT.value and not flags.FLAGS["dataset"].present
    classes = run.classes if CHECKPOINT.value else None
    with common.of_a_run(CHECKPOINT.value) if moved else contextlib.nullcontext():
        dataset = common.open_split(config, split, classes=classes)
    grid = config.grid(len(dataset.classes))
    if is_evaluation():
        batch = evaluation_batch(config, dataset, grid)
        what += f", and the first {len(batch[2])} images of {dataset.name}."
    else:
        batch = training_batch(config, dataset, grid, STEP.value or 0)
        what += f", and the batch of training step {STEP.value or 0} of {dataset.name}."
    # After the data, which is refused sooner; the weights are those that a training begins with.
    if model is None:
        keras.utils.set_random_seed(config.seed)
        keras.mixed_precision.set_dtype_policy(config.precision)
        model = build_model(config, grid)
    return config, model, grid, batch, what


def evaluation_batch(config, dataset, grid):
    """The first images of a data set and their targets, encoded as for training."""
    count = min(DEBUG_IMAGES if flags.FLAGS.debug else IMAGES.value, len(dataset))
    examples = dataset[:count]
    with data.reading(examples):
        images, _ = next(iter(data.evaluation_batches(examples, grid, count, resize=config.resize)))
    encoded = [data.encode_example(example, grid, config.on_collision) for example in examples]
    targets = tf.constant(np.stack(encoded))
    return images, targets, [example.image_id for example in examples]


def training_batch(config, dataset, grid, step):
    """What a step of the training sees."""
    folder = training.RunDirectory(CHECKPOINT.value).path if CHECKPOINT.value else None
    with data.reading(dataset):
        batches = data.training_batches(
            dataset,
            grid,
            config.batch_size,
            seed=config.seed,
            start_step=step,
            steps=1,
            augmentation=training.cfg_files.augmentation(config, folder),
            on_collision=config.on_collision,
            cache="off",
        )
        images, targets, indices = next(iter(batches))
    return images, targets, [dataset[int(k)].image_id for k in indices]


# ----------------------------------------------------------------------------------------- figures


def figures(found) -> dict:
    """What summary.json holds of the losses. What is not finite is None."""
    seen = list(found.values())
    rows = {
        name: {
            "semantics": dataclasses.asdict(one.semantics),
            "loss": finite(one.loss),
            "by_predictions": finite(losses.norm(one.by_outputs)),
            "by_weights": finite(losses.norm(one.by_weights)),
            "terms": {
                term: {
                    "value": finite(value),
                    "share": finite(value / one.loss) if one.loss else None,
                    "by_predictions": finite(by_outputs),
                    "by_weights": finite(by_weights),
                }
                for term, value, by_outputs, by_weights in zip(
                    TERMS, one.terms, one.output_norms, one.weight_norms, strict=True
                )
            },
        }
        for name, one in found.items()
    }
    return {
        "losses": rows,
        "cosine": {
            "by_predictions": losses.cosines([one.by_outputs for one in seen]),
            "by_weights": losses.cosines([one.by_weights for one in seen]),
        },
        "objects": int(seen[0].cells.has_object.sum()),
        "disputed": [
            [int(losses.disputed(one.cells, other.cells).sum()) for other in seen] for one in seen
        ],
    }


def finite(value):
    return float(value) if np.isfinite(value) else None


def sentence(found, wh) -> str:
    """How w and h were read, for whoever reads the figures."""
    if wh is None:
        return (
            "Every loss was given the same numbers. To losses of different wh these are other "
            "boxes (a root to one is a size to another): how each would begin to train them."
        )
    changed = [
        name
        for name, one in found.items()
        if (one.semantics.wh == "predict_sqrt") != (wh == "predict_sqrt")
    ]
    if not changed:
        return f"The outputs were read as the run was trained, wh={wh}, which all losses share."
    how = "squared" if wh == "predict_sqrt" else "replaced by their roots (0 for sizes below 0)"
    return (
        f"Every loss was given the same boxes. The run's w and h are those of wh={wh}; for "
        f"{', '.join(changed)} they were {how}, and the gradients are by the run's own outputs."
    )


# ------------------------------------------------------------------------------------------ output


def draw(folder, images, targets, grid, found, ids) -> list:
    """Pictures of the images in which the losses disagree about most objects, or else the first:
    (caption, PNG) of each; they are written as well."""
    seen = list(found.values())
    differing = np.array([losses.disputed(seen[0].cells, o.cells) for o in seen]).sum(axis=(0, 2))
    chosen = np.argsort(-differing, kind="stable")[: PICTURES.value]
    drawn = []
    for k in map(int, chosen):
        path = folder / f"{k:02d}-{safe_name(str(ids[k]))}.png"
        with common.drawing(path):
            objects = seen[0].cells.has_object[k]
            truth = boxes_of_cells(targets[k][..., grid.target_box_channels], objects, grid)
            shown = {name: of_image(one, seen[0], k, grid) for name, one in found.items()}
            picture = loss_comparison.picture(np.clip(images[k], 0, 1), truth, shown, grid.S)
            data_of_picture = png(picture)
            make_folder(folder)
            path.write_bytes(data_of_picture)
            drawn.append((caption(ids[k], objects, differing[k]), data_of_picture))
    return drawn


def caption(name, objects, differing) -> str:
    count = int(objects.sum())
    text = f"{name}: {count} object{'' if count == 1 else 's'}"
    return text + (", with other responsible boxes to some losses" if differing else "")


def of_image(one, first, k, grid) -> dict:
    """What `loss_comparison.picture` shows of one loss and image."""
    cells, side = one.cells, (grid.S, grid.S)
    differ = losses.disputed(cells, first.cells)[k]
    sizes = one.boxes[k]
    if one.semantics.wh == "predict_sqrt":
        sizes = np.concatenate([sizes[..., :2], np.square(sizes[..., 2:])], axis=-1)
    responsible = cells.responsible[k]
    pairs = {
        "responsible": responsible & ~differ[:, None],
        "disputed": responsible & differ[:, None],
    }
    return {
        "loss": cells.terms[k].sum(axis=-1).reshape(side),
        "gradient": np.linalg.norm(cells.gradient[k], axis=-1).reshape(side),
        **{name: boxes_of_cells(sizes, chosen, grid) for name, chosen in pairs.items()},
    }


def boxes_of_cells(boxes, chosen, grid):
    """Of boxes ``[L, ..., 4]`` with x and y of their cells those that are chosen ``[L, ...]``,
    ``[K, 4]`` in fractions of the image."""
    boxes = np.reshape(boxes, (*chosen.shape, 4))
    rows, cols = np.divmod(np.nonzero(chosen)[0], grid.S)
    x, y, w, h = boxes[chosen].T
    return np.stack([(cols + x) / grid.S, (rows + y) / grid.S, w, h], axis=-1)


def lines(summary):
    """The figures as a person reads them."""
    rows = summary["losses"]
    width = max(map(len, (*rows, "by weights")))
    yield summary["what"]
    yield summary["wh"]
    yield f"{'':{width}}" + "".join(f"{head:>20}" for head in ("loss", *TERMS))
    for name, of in rows.items():
        cells = [words(of["loss"])]
        cells += [f"{words(t['value'])} ({percent(t['share'])})" for t in of["terms"].values()]
        yield f"{name:{width}}" + "".join(f"{cell:>20}" for cell in cells)
    for key in ("by_predictions", "by_weights"):
        yield f"length of the gradient {key.replace('_', ' ')}: all, and of each term"
        for name, of in rows.items():
            cells = [of[key], *(term[key] for term in of["terms"].values())]
            yield f"{name:{width}}" + "".join(f"{words(cell):>20}" for cell in cells)
        yield f"cosines of the gradients {key.replace('_', ' ')}"
        for name, row in zip(rows, summary["cosine"][key], strict=True):
            yield f"{name:{width}}" + "".join(f"{words(cell):>20}" for cell in row)
    yield f"of {summary['objects']} objects, those with other responsible boxes"
    for name, row in zip(rows, summary["disputed"], strict=True):
        yield f"{name:{width}}" + "".join(f"{cell:>20}" for cell in row)


def words(value) -> str:
    return "-" if value is None else f"{value:.4g}"


def percent(value) -> str:
    return "-" if value is None else f"{value:.0%}"


if __name__ == "__main__":
    experiment_flags.run(main)
