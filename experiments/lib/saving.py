"""``--save``: what was found, in the files of other tools."""

from absl import app, flags

from yolov1 import data, inference
from yolov1.data.formats import writing

from . import common
from .flags import UserError

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

FORMATS = [kind for kind in writing.WRITERS if kind != "records"]


def define():
    flags.DEFINE_list(
        "save",
        [],
        f"Write detections for other tools too, of: {', '.join(FORMATS)}. (docs/data.md)",
    )
    define_addresses()


def define_addresses():
    defaults = writing.Options()
    flags.DEFINE_string(
        "image_url", defaults.image_url, "label_studio: what comes before the path of an image."
    )
    flags.DEFINE_string(
        "image_root", defaults.image_root, "label_studio: the folder that this path is relative to."
    )


def addresses(kinds) -> dict:
    """What the flags of `define_addresses` say, as options of `data.write`.

    Raises:
        UsageError: one is given, and no format minds it.
    """
    chosen = {name: flags.FLAGS[name] for name in ("image_url", "image_root")}
    given = [name for name, flag in chosen.items() if flag.present]
    if given and "label_studio" not in kinds:
        raise app.UsageError(f"--{given[0]} is of label_studio, got {', '.join(kinds) or 'none'}.")
    return {name: flag.value for name, flag in chosen.items()}


def require_room(output, stream=None):
    """Before anything is detected: refuses formats that do not exist, folders that hold something,
    which may be somebody's corrections, and streams, whose frames are no files.

    Raises:
        UserError: so.
        UsageError: a flag of a format that is not written.
    """
    addresses(flags.FLAGS.save)
    unknown = [kind for kind in flags.FLAGS.save if kind not in FORMATS]
    if unknown:
        got = ", ".join(map(repr, unknown))
        raise UserError(f"--save must be of {', '.join(FORMATS)}; got {got}.")
    if flags.FLAGS.save and stream:
        raise UserError(
            f"--save is for pictures in files, got the stream {stream}. What is found in a stream "
            "is in detections.jsonl."
        )
    for kind in flags.FLAGS.save:
        writing.require_empty(output / kind)


def save(output, paths, detections, classes) -> bool:
    """Writes the formats of ``--save`` into folders of their names, and says what was changed.

    Returns:
        Whether all of them could be written.
    """
    if not flags.FLAGS.save or not paths:
        return True
    return save_dataset(output, inference.as_dataset(paths, detections, classes))


def save_dataset(output, dataset) -> bool:
    """As `save`, of a data set whose boxes have scores."""
    program = f"yolov1 {flags.FLAGS.checkpoint}"
    options = {"upright": True, "program": program} | addresses(flags.FLAGS.save)
    failed = []
    for kind in dict.fromkeys(flags.FLAGS.save):
        try:
            remarks = data.write(f"{kind}:{output / kind}", dataset, **options)
        except (OSError, ValueError) as error:  # the others are written all the same
            failed.append(f"--save={kind} failed: {error}")
            continue
        dataset.notes += [(f"{kind}: {file}", remark) for file, remark in remarks]
        print(f"{kind}: {len(dataset)} pictures; written to {output / kind}")
    common.print_skipped(dataset)
    print(*failed, sep="\n", end="\n" if failed else "")
    return not failed
