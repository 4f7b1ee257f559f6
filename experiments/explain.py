"""Takes single images apart: what a run's network says of them, and what its loss says of that.

    python -m experiments.explain --checkpoint=runs/shapes --image=test-00003
    python -m experiments.explain --checkpoint=RUN --image=train:2007_000027 --image=2007_000032
    python -m experiments.explain --checkpoint=RUN --image=photo.jpg      # a picture of your own

An image is one of the run's evaluation set by its id (`train:ID`: of its training set), or a file.
Writes explain.html, explain.json, summary.json and a folder of pictures for each image to
`--output_dir`: what is found and which cell and box it comes of, what suppression took away, and,
where the objects are known, the target with its collisions, what each cell adds to each term of the
loss and to its gradient, and each object's boxes with their numbers. docs/microscope.md says how to
read it.

A file that lies in the data set's folder has the objects that the data set says; any other has
none, and then there is no loss.
"""

import time
from pathlib import Path

from absl import flags

from yolov1 import data, training
from yolov1.files import make_folder, replacing, safe_names, user_path
from yolov1.microscope import pictures
from yolov1.microscope.explain import explain
from yolov1.reporting import explained
from yolov1.training.watch import TRAIN

from .lib import common, detectors, subjects, watching
from .lib import flags as experiment_flags
from .lib.flags import UserError

IMAGE = flags.DEFINE_multi_string(
    "image",
    None,
    "Id of an image of the evaluation set, train:ID, or a file; may be given several times.",
    required=True,
)
DATASET = subjects.define_dataset()
subjects.define_split()
OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Default: the folder explain/ of the run.")
detectors.define(views=False)
experiment_flags.define(
    names=("bad_examples", "batch_size"),
    texts={"batch_size": experiment_flags.AT_ONCE},
    debug="The first image only.",
)


def main(argv):
    start = time.perf_counter()
    words = [*IMAGE.value, *argv[1:]]  # a pattern that was not quoted arrives file by file
    path = flags.FLAGS.checkpoint
    if subjects.is_file(path):
        raise UserError(f"--checkpoint={path} is a file, which knows no loss. Give a run.")
    detector = detectors.load_detector()
    config = subjects.as_flags_say(subjects.configuration(path, detector))
    images = Images(path, config, detector.classes)
    shown = [images.find(word) for word in (words[:1] if flags.FLAGS.debug else words)]
    output = common.results_folder(OUTPUT_DIR.value or detectors.default_output("explain"))

    predictions, pixels = [], [image for _, image, _ in shown]
    detector.detect(pixels, config.batch_size, watch=lambda batch, _: predictions.extend(batch))
    thresholds = (*detectors.THRESHOLDS, "max_detections")
    done = []
    for (name, image, example), values in zip(shown, predictions, strict=True):
        explanation = explain(
            *(name, values, detector.grid, config.loss_semantics(), detector.classes),
            **{"example": example, "on_collision": config.on_collision, "impl": config.impl},
            **{key: detector.options[key] for key in thresholds},
        )
        print_one(explanation)
        done.append((explanation, image))
    results = [explanation.to_json() for explanation, _ in done]
    training.write_json(output / "explain.json", {"checkpoint": str(path), "images": results})
    drawn = [
        (result, draw(*one, output / folder))
        for result, one, folder in zip(results, done, folders(shown), strict=True)
    ]
    page = output / "explain.html"
    with common.drawing(page), replacing(page, errors="replace") as file:
        file.write(explained.render(f"{Path(path).name}: {flags.FLAGS.which} weights", drawn))
    summary = {"checkpoint": str(path), "images": len(done)}
    summary["seconds"] = time.perf_counter() - start
    training.write_json(output / "summary.json", summary)
    print(f"page: {page}")


class Images:
    """The images that words name: (name, pixels, `Example` or None) of each."""

    def __init__(self, path, config, classes):
        self._arguments, self._splits = (path, config, classes), {}

    def _open(self, split):
        if split not in self._splits:
            path, config, classes = self._arguments
            moved = not DATASET.value
            self._splits[split] = subjects.open_split(path, config, split, classes, moved=moved)
        return self._splits[split]

    def find(self, word):
        """Raises `UserError` where there is no such image, and `OSError` or `BadExampleError`."""
        config = self._arguments[1]
        if user_path(word).is_file():
            return self._file(user_path(word))
        train = word.startswith(TRAIN)
        dataset = self._open(config.train_split if train else config.eval_split)
        kind = "training" if train else "evaluation"
        (k,) = watching.find("image", [word.removeprefix(TRAIN)], dataset, kind)
        return word, dataset[k].image, dataset[k]

    def _file(self, path):
        config = self._arguments[1]
        place = user_path(config.dataset.partition(":")[2] or ".").resolve()
        if config.dataset and ":" in config.dataset and place in path.resolve().parents:
            for split in (config.eval_split, config.train_split):
                for example in self._open(split):
                    if example.path and example.path.resolve() == path.resolve():
                        return example.image_id, example.image, example
        return str(path), data.images.decode(path, upright=True), None


def folders(shown):
    """A name for each image's folder; the same image twice has one."""
    names = list(dict.fromkeys(Path(name).name for name, _, _ in shown))
    known = dict(zip(names, safe_names(names), strict=True))
    return [known[Path(name).name] for name, _, _ in shown]


def draw(explanation, image, folder) -> dict:
    """Writes the pictures, and gives them."""
    with common.drawing(folder):
        drawn = pictures.draw_all(explanation, image)
        make_folder(folder)
        for name, png in drawn.items():
            (folder / f"{name}.png").write_bytes(png)
        return drawn
    return {}


def print_one(explanation):
    found = explanation.candidates.kept
    print(f"{explanation.name}: {found.sum()} found, {(~found).sum()} suppressed")
    if explanation.cells is None:
        print("  its objects are not known: no loss")
        return
    terms = explanation.to_json()["terms"]
    named = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
    print(f"  loss {sum(terms.values()):.4g}  {named}")
    for k, one in enumerate(explanation.objects, start=1):
        where = f"  {k} {one['class']} in cell {one['cell'][0]}, {one['cell'][1]}: "
        if "lost_to" in one:
            print(f"{where}lost to {one['lost_to'] + 1}")
            continue
        best, *others = one["boxes"]
        text = f"IoU {best['iou']:.3f}, confidence {best['confidence']:.3f}"
        if others:
            text += f"; next IoU {others[0]['iou']:.3f}, {others[0]['confidence']:.3f}"
        print(f"{where}{text}, p(class) {one['class_probability']:.3f}")


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
