"""Images of people, from Open Images to a folder that a training reads.

    python -m experiments.prepare_open_images --root=PATH
    python -m experiments.train --dataset=yolo:PATH --eval_split=test

The first steps of the TensorFlow 2 post, with its choices as defaults: 1000 images with the class
Person for training (seed 1) and as many for testing (seed 2) come through FiftyOne (an extra:
``pip install 'yolov1[fiftyone]'``) and are exported to ``PATH/<split>`` (``data/`` and
``labels.json``); then every split is converted to ``images/<split>`` and ``labels/<split>`` with a
text file ``label cx cy w h`` for each image, and ``classes.txt``. An export that ``PATH/<split>``
holds already is never replaced but taken as it is. ``--from_export=DIR`` converts an export that is
on disk, which needs neither FiftyOne nor a network. Images without objects get an empty text file;
grey images and images with transparency stay, and are read as RGB. ``summary.json`` counts.
"""

import os
import tempfile
import time

from absl import app, flags

from yolov1 import data
from yolov1.data.acquire.fiftyone_zoo import start_fiftyone
from yolov1.data.formats.writing.yolo import require_own_split
from yolov1.files import user_path
from yolov1.training import write_json

from .lib import flags as experiment_flags

ROOT = flags.DEFINE_string("root", "", "Folder to write to.")
CLASSES = flags.DEFINE_list("classes", ["Person"], "Classes, in label order; empty: all.")
SPLITS = flags.DEFINE_list("splits", ["train", "test"], "Splits: train, validation, test.")
SAMPLES = flags.DEFINE_integer("samples", 1000, "Images of a split.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 1, "Of the choice; each split adds one to that before it.")
FROM_EXPORT = flags.DEFINE_string("from_export", "", "Folder of an export to take instead.")
experiment_flags.define(
    names=("bad_examples",),
    bad_examples="skip",
    debug="Sixteen drawn images a split, without FiftyOne.",
)

OPEN_IMAGES_SPLITS = ("train", "validation", "test")


def main(argv):
    del argv
    start = time.perf_counter()
    if not ROOT.value:
        raise app.UsageError("--root is needed: the folder to write to.")
    root, splits, classes = user_path(ROOT.value), SPLITS.value, CLASSES.value or None
    if not splits:
        raise app.UsageError("--splits is empty; name at least one.")
    source = user_path(FROM_EXPORT.value or ROOT.value)
    with experiment_flags.user_errors():  # such as classes that the export does not have
        if flags.FLAGS.debug:
            source, classes = draw_export(root, absent(root, splits)), None
        elif not FROM_EXPORT.value:
            acquire(root, classes, splits, SAMPLES.value, SEED.value)
        counts = convert(source, root, classes, splits, flags.FLAGS.bad_examples)
    seconds = time.perf_counter() - start
    write_json(root / "summary.json", {"source": str(source), "splits": counts, "seconds": seconds})
    for split, found in counts.items():
        print(
            f"{split}: {found['images']} images ({found['images_without_objects']} without an "
            f"object), {found['objects']} objects, {len(found['skipped'])} skipped"
        )
        for title in ("skipped", "notes"):
            for file, reason in found[title]:
                print(f"{title}: {file}: {reason}")
    print(f"train on it: --dataset=yolo:{root}")


def absent(root, splits):
    """The splits without an export in ``root/<split>``; one that is there may be the only copy."""
    new = []
    for split in dict.fromkeys(splits):
        folder = root / split
        if (folder / "labels.json").is_file():
            print(f"{split}: {folder} is an export already and is taken as it is")
        elif folder.exists():
            raise app.UsageError(
                f"{folder} exists and is no export (no labels.json). Take another --root, or move "
                "the folder away."
            )
        else:
            new.append(split)
    return new


def acquire(root, classes, splits, samples, seed):
    """Downloads the images of each split and exports them to ``root/<split>``."""
    wrong = [split for split in splits if split not in OPEN_IMAGES_SPLITS]
    if wrong:
        raise app.UsageError(
            f"--splits must be among {', '.join(OPEN_IMAGES_SPLITS)}, got {','.join(wrong)}."
        )
    new = absent(root, splits)
    if not new:
        return
    try:
        fo = start_fiftyone()
        for split in new:
            download(fo, root / split, classes, split, samples, seed + splits.index(split))
    except (ImportError, RuntimeError, OSError) as error:  # without FiftyOne, database or network
        raise experiment_flags.UserError(
            f"{error}\nOr convert an export that is on disk: --from_export=DIR"
        ) from error


def download(fo, folder, classes, split, samples, seed):
    """One split: images and detections into FiftyOne, and from there to `folder`."""
    import fiftyone.zoo

    dataset = fiftyone.zoo.load_zoo_dataset(
        "open-images-v7",
        split=split,
        # As the post asks: an image that is only classified as such has no box, and null labels.
        label_types=["detections", "classifications"],
        classes=classes,
        max_samples=samples,
        seed=seed,
        shuffle=True,
        dataset_name=f"yolov1-open-images-{split}",
        drop_existing_dataset=True,
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # FiftyOne would merge with what is in the folder, or delete all of it: it gets a new one.
    with tempfile.TemporaryDirectory(prefix=f"{split}.partial-", dir=folder.parent) as partial:
        # The classes given make labels indices and leave out the boxes of all other classes.
        dataset.export(
            export_dir=f"{partial}/export",
            dataset_type=fo.types.FiftyOneImageDetectionDataset,
            classes=classes,
            include_confidence=False,
        )
        os.rename(f"{partial}/export", folder)


def draw_export(root, splits):
    """An export of drawn images, in place of a download; returns its folder."""
    for split in splits:
        data.write_fiftyone(data.open("shapes:count=16", split, image_size=64), root / split)
    return root


def convert(source, root, classes, splits, bad_examples):
    """Export -> text files, all splits; returns {split: counts}."""
    counts = {}
    whole = (source / "labels.json").is_file()
    if whole and len(splits) > 1:
        raise app.UsageError(
            f"{source} is one export without splits: say with --splits=NAME which it is."
        )
    options = {"classes": classes, "bad_examples": bad_examples}
    datasets = {s: data.open(f"fiftyone:{source}", None if whole else s, **options) for s in splits}
    for split, dataset in datasets.items():
        require_own_split(dataset, root, split)
    for split, dataset in datasets.items():
        data.write_yolo(dataset, root, split)
        objects = [e.labels[~e.difficult] for e in dataset]
        counts[split] = {
            "images": len(dataset),
            "images_without_objects": sum(not len(labels) for labels in objects),
            "objects": sum(map(len, objects)),
            "objects_per_class": {
                name: sum(int((labels == k).sum()) for labels in objects)
                for k, name in enumerate(dataset.classes)
            },
            "skipped": dataset.skipped,
            "notes": dataset.notes,
        }
    return counts


if __name__ == "__main__":
    experiment_flags.run(main)
