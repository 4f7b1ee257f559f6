"""Runs a trained detector over pictures, films and cameras.

    python -m experiments.detect --checkpoint=runs/shapes --images='photos/*.jpg'
    python -m experiments.detect --checkpoint=runs/shapes --images=photos   # a folder, or one file
    python -m experiments.detect --checkpoint=RUN --images=large.jpg --tiles=640   # small objects
    python -m experiments.detect --checkpoint=runs/shapes --images=photos --save=coco,label_studio

Writes detections.json (boxes in pixels of the original picture), summary.json and annotated copies,
pictures/, to `--output_dir`. A photo that its EXIF orientation turns is taken upright, as people
see it. A file that cannot be read is named and left out. `--save` writes folders beside that other
tools read, to correct there what was found (docs/data.md).

    python -m experiments.detect --checkpoint=runs/shapes --images=street.mp4 --video=found.mp4
    python -m experiments.detect --checkpoint=runs/shapes --images=camera:0 --live --show
    python -m experiments.detect --checkpoint=runs/shapes --images=rtsp://HOST/PATH --live
    python -m experiments.detect --checkpoint=runs/shapes --images=watch:incoming
    find photos -name '*.jpg' | python -m experiments.detect --checkpoint=runs/shapes --images=-

    python -m experiments.detect --checkpoint=runs/shapes --images=photos --on=ray --workers=8

Of very many pictures, by Ray on many processes or machines: writes detections.jsonl and
summary.json; the same command goes on where it was stopped; see docs/scale.md.

Of a stream: a film, a camera, an address, a folder that is watched or names of files on standard
input. Writes detections.jsonl, a line as soon as a frame is looked at, and summary.json; see
docs/streams.md.
"""

import time

from absl import app, flags

from yolov1 import training

from .lib import batches, common, detectors, pictures, saving, streams
from .lib import flags as experiment_flags

IMAGES = flags.DEFINE_string(
    "images",
    None,
    "File, folder or quoted pattern; or a stream: a film, camera:0, an address, watch:FOLDER, -.",
    required=True,
)
flags.DEFINE_integer("batch_size", 16, "Images (or tiles of one) at once.", lower_bound=1)
OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "", "Default: detect/ in the run, or beside the file."
)
DEBUG = flags.DEFINE_boolean("debug", False, "The first eight pictures only.")
detectors.define()
saving.define()
streams.define()
batches.define()

DEBUG_IMAGES = 8


def main(argv):
    places = [IMAGES.value, *argv[1:]]  # a pattern that was not quoted arrives file by file
    stream = streams.among(places)
    paths = [] if stream else pictures.find_images(places)
    output = common.results_folder(OUTPUT_DIR.value or detectors.default_output("detect"))
    if flags.FLAGS.on == "ray":
        if stream:
            raise app.UsageError("--on=ray looks at pictures, got a stream.")
        return batches.detect(paths[: DEBUG_IMAGES if DEBUG.value else None], output)
    saving.require_room(output, stream)
    detector = detectors.load_named()
    few = DEBUG_IMAGES if DEBUG.value else None
    if stream:
        return streams.detect(detector, stream, output, detectors.at_once(), few)
    return of_pictures(detector, paths[:few], output)


def of_pictures(detector, paths, output):
    """Everything that is found is written before anything is drawn."""
    start = time.perf_counter()
    found = pictures.detect(detector, paths, detectors.at_once())
    seconds = time.perf_counter() - start
    write_detections(output, detector, found)
    saved = saving.save(output, found.paths, found.detections, detector.classes)
    count = len(found.rows)
    boxes = sum(len(row["detections"]) for row in found.rows)
    summary = {
        "images": count,
        "detections": boxes,
        "unreadable": len(found.unreadable),
        "seconds": seconds,
        "images_per_second": count / seconds,
    }
    training.write_json(output / "summary.json", summary)
    for path, detections, row in zip(found.paths, found.detections, found.rows, strict=True):
        if not pictures.draw(path, detections, detector.classes, output / row["picture"]):
            row["picture"] = None
    if not all(row["picture"] for row in found.rows):
        write_detections(output, detector, found)
    for entry in found.unreadable:
        print(pictures.unreadable(entry))
    print(f"{count} pictures, {boxes} boxes; written to {output}")
    return 0 if count and saved else 1


def write_detections(output, detector, found):
    content = {
        "checkpoint": flags.FLAGS.checkpoint,
        "classes": list(detector.classes),
        "score_threshold": detector.options["score_threshold"],
        "iou_threshold": detector.options["iou_threshold"],
        "suppression": detector.options["suppression"],
        "images": found.rows,
        "unreadable": found.unreadable,
    }
    training.write_json(output / "detections.json", content)


if __name__ == "__main__":
    experiment_flags.run(main, words=True)
