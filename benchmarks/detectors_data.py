"""The data sets of `bench_detectors`, and how they come to the other detector."""

import dataclasses
import shutil

from yolov1 import data
from yolov1.data.formats.writing.image_files import file_names

SHARED = "../shared/data"


@dataclasses.dataclass(frozen=True)
class Case:
    """What both are trained on and measured on.

    Attributes:
        dataset, train, test, classes: as `yolov1.data.open` takes them; both are given the same.
        image_size: side of the input in pixels, a multiple of 32, which the other one needs.
        flags: of `experiments.train`, ours.
        peer: options of the other one's training, besides its defaults.
    """

    dataset: str
    train: str
    test: str
    image_size: int
    classes: str = ""
    flags: str = ""
    peer: dict = dataclasses.field(default_factory=dict)

    def open(self, split) -> data.Dataset:
        """A split; drawn images are those of seed 0, whatever the seed of a training."""
        classes = self.classes or None
        return data.open(self.dataset, split, classes=classes, image_size=self.image_size, seed=0)


CASES = {
    # Cells have no up: both flip them both ways.
    "bccd": Case(
        f"voc:{SHARED}/bccd",
        *("trainval", "test", 320),
        flags="--recipe=small_data",
        peer={"flipud": 0.5},
    ),
    "voc2012small": Case(
        f"voc:{SHARED}/voc2012small",
        *("train", "val", 256),
        classes="person,dog,horse,sheep,cow,cat",
        flags="--recipe=small_data --augment=paper --S=32 --warmup_epochs=3",
    ),
    "shapes": Case(
        *("shapes", "train", "test", 128),
        flags="--recipe=small_data --augment=paper --S=16 --warmup_epochs=1",
    ),
}


class Files:
    """The images of a case as files that both read, and its truth.

    Attributes:
        folder: YOLO text files and a ``data.yaml``: splits ``train``, and ``val``, the measured
            one. Boxes that are marked difficult, which ours does not learn either, are left out.
        test: the `Dataset` that both are measured on, with what is difficult.
        images: paths of its images in the folder, in its order.
        trained: the number of images to learn from.
    """

    def __init__(self, case: Case, folder):
        self.folder = folder
        train, self.test = (case.open(split) for split in (case.train, case.test))
        self.trained = len(train)
        if not (folder / "data.yaml").exists():
            partial = folder.with_name(folder.name + ".partial")
            for place in (folder, partial):
                shutil.rmtree(place, ignore_errors=True)
            # Copies, no links: the other one mends JPEG files that end early.
            splits = {"train": train, "val": self.test}
            for file, remark in data.write(f"yolo:{partial}", splits, link=False):
                print(f"{file}: {remark}")
            partial.rename(folder)
        names = file_names(self.test, "bench_detectors")
        self.images = [str(folder / "images" / "val" / name) for name in names]

    def of_ours(self, case: Case) -> list[str]:
        """The flags that train ours on the same images: the originals, or what was drawn once."""
        spec, train, test = case.dataset, case.train, case.test
        if not any(example.path for example in self.test):
            spec, train, test = f"yolo:{self.folder}", "train", "val"
        words = [f"--dataset={spec}", f"--train_split={train}", f"--eval_split={test}"]
        words += [f"--classes={case.classes}"] * bool(case.classes)
        return [*words, f"--image_size={case.image_size}"]
