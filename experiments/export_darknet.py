"""Writes a run's network as files that Darknet reads: cfg, weights, names, and data where it can.

    python -m experiments.export_darknet --checkpoint=runs/yolov1 --output_dir=darknet

writes darknet/yolov1.cfg, .weights (version 0.2.0; where the run has a moving average, its weights)
and .names, and .data where the run's data set is a Darknet .data file. ``seen``, by which Darknet's
schedule goes on, counts the images of the run and of those that it started from. A network with a
layer that Darknet lacks is refused by its name, and nothing is written.
"""

from absl import flags

from yolov1 import darknet, training
from yolov1.data.formats.yolo_settings import Settings
from yolov1.files import make_folder, replacing, safe_name, user_path

from .lib import flags as experiment_flags

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Run directory.", required=True)
WHICH = flags.DEFINE_enum(
    "which", "last", ("last", "best"), "Weights: the last ones, or the best by --monitor."
)
DEBUG = flags.DEFINE_boolean("debug", False, "Only find out whether Darknet has all layers.")
OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder for the files.", required=True)


def main(argv):
    del argv
    run = training.RunDirectory(CHECKPOINT.value)
    model, loaded = training.load_run(run.path, WHICH.value)
    seen = images_seen(run)
    folder = user_path(OUTPUT_DIR.value)
    name = safe_name(run.path.resolve().name)
    with experiment_flags.user_errors(str(run.path)):
        cfg = darknet.cfg_of(model, loaded.semantics)  # refuses before anything is written
        make_folder(folder)
        if DEBUG.value:
            print(f"{run.path}: {len(cfg.sections)} sections of a cfg; nothing was written")
            return
        paths = [folder / f"{name}.{kind}" for kind in ("cfg", "weights")]
        darknet.save(model, *paths, seen=seen, semantics=loaded.semantics)
    write_lines(folder / f"{name}.names", loaded.classes)
    settings = data_settings(loaded.config, folder / f"{name}.names", len(loaded.classes))
    if settings:
        write_lines(folder / f"{name}.data", settings)
    for path in sorted(folder.glob(f"{name}.*")):
        print(f"{path}: {path.stat().st_size:,} bytes")
    if not settings:
        print(f"no {name}.data, which needs a run whose data set is a Darknet .data file")
    print(f"{model.count_params():,} parameters, {seen:,} images seen; written to {folder}")


def images_seen(run) -> int:
    """Images of a run's training and of the trainings that it started from."""
    imported = run.read_json("darknet.json")
    if imported:
        return imported["seen"]
    config, _, _ = run.read_config()
    before = config.seen
    start = training.RunDirectory(config.init)
    if not before and config.init and (start / "config.json").exists():
        before = images_seen(start)
    return before + run.steps * config.batch_size


def data_settings(config, names, classes) -> list[str]:
    """The lines of a .data file for a run that was trained on one; else none. Of a path with white
    space, which Darknet leaves out of what it reads, a remark is printed.

    Raises:
        UserError: the .data file of the run cannot be read.
    """
    kind, _, place = config.dataset.partition(":")
    if kind != "yolo" or not place.endswith(".data"):
        return []
    with experiment_flags.user_errors(config.dataset):
        settings = Settings(user_path(place))
        lists = {name: settings.places(name) for name in settings.splits()}
    values = {"classes": classes}
    values |= {name: places[0].absolute() for name, places in lists.items()}
    values |= {"names": names.absolute(), "backup": "backup"}
    spaced = [str(value) for value in values.values() if str(value).split() != [str(value)]]
    if spaced:
        print(f"remark: Darknet reads no path with spaces, as {spaced[0]!r}")
    return [f"{key} = {value}" for key, value in values.items()]


def write_lines(path, lines):
    with replacing(path) as file:
        file.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    experiment_flags.run(main)
