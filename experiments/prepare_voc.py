"""How do I get VOC 2007 and 2012? Fetched, verified, unpacked, and written as text annotations.

    python -m experiments.prepare_voc --root=DIR
    python -m experiments.prepare_voc --root=DIR --years=2007 --splits=train,val

Then ``--dataset=voc:DIR`` reads it, and ``--dataset=voc_txt:DIR --train_split=2007_train`` the text
files of the post `keras_voc`. Call it again after a lost connection, a full disk or Ctrl-C: it goes
on where it stopped, and does nothing where all is there. Tars that lie in DIR or ``--tar_dir`` are
not fetched; once all is unpacked they may be deleted. ``DIR/summary.json`` has the checksums and
the counts of each split. ``--debug`` fetches and writes nothing and says what would be done.
"""

import sys
import time

from absl import app, flags

from yolov1.data.acquire.archives import extract, extracted
from yolov1.data.acquire.download import DownloadError, fetch, require_space, verify
from yolov1.data.acquire.voc import VOC_ARCHIVES
from yolov1.data.formats.voc_txt import write_voc_txt
from yolov1.files import user_path
from yolov1.training import write_json

from .lib import flags as experiment_flags

experiment_flags.define(names=(), debug="Only say what would be done.")
ROOT = flags.DEFINE_string("root", "runs/voc", "Folder for the tars and for VOCdevkit/.")
YEARS = flags.DEFINE_list("years", ["2007", "2012"], "Which of 2007 and 2012.")
SPLITS = flags.DEFINE_list(
    "splits",
    ["train", "val", "test"],
    "Splits to write as text, of train, val, trainval, test (2007 only); a tar without any of them "
    "is left out.",
)
BASE_URL = flags.DEFINE_string(
    "base_url",
    "http://host.robots.ox.ac.uk/pascal/VOC",
    "Where voc2007/VOCtrainval_06-Nov-2007.tar and the like lie: the PASCAL site or a mirror.",
)
TAR_DIR = flags.DEFINE_string("tar_dir", "", "Folder with tars that were fetched before.")


def main(argv):
    del argv
    start = time.perf_counter()
    root = user_path(ROOT.value)
    archives = choose(VOC_ARCHIVES, YEARS.value, SPLITS.value)
    if TAR_DIR.value and not user_path(TAR_DIR.value).is_dir():
        raise app.UsageError(f"--tar_dir must be a folder that exists, got {TAR_DIR.value!r}.")
    if flags.FLAGS.debug:
        print("\n".join(plan(root, archives)))
        return
    try:
        with experiment_flags.user_errors():
            summary = prepare(root, archives)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    summary["seconds"] = time.perf_counter() - start
    write_json(root / "summary.json", summary)
    for name, row in summary["splits"].items():
        print(f"{name}: {row['images']} images, {row['boxes']} boxes: {row['file']}")
    print(f"summary: {root / 'summary.json'}")


def choose(table, years, splits):
    """The archives that hold one of the splits of one of the years."""
    for flag, values, known in (
        ("years", years, {str(a.year) for a in table}),
        ("splits", splits, {split for a in table for split in a.splits}),
    ):
        if not values or not set(values) <= known:
            raise app.UsageError(
                f"--{flag} must be among {','.join(sorted(known))}, got {','.join(values)!r}."
            )
    chosen = [a for a in table if str(a.year) in years and set(a.splits) & set(splits)]
    if not chosen:
        raise app.UsageError(f"VOC {','.join(years)} has no public {','.join(splits)} split.")
    return chosen


def url_of(archive):
    return f"{BASE_URL.value.rstrip('/')}/voc{archive.year}/{archive.name}"


def tar_path(root, archive):
    """Where the tar lies, or will: `--tar_dir` where it is there, else the root."""
    given = user_path(TAR_DIR.value) / archive.name if TAR_DIR.value else None
    return given if given and given.is_file() else root / archive.name


def plan(root, archives):
    """What `prepare` would do, in sentences."""
    for archive in archives:
        path = tar_path(root, archive)
        if extracted(archive.name, root, sha256=archive.sha256):
            yield f"{archive.name}: unpacked already"
        elif path.is_file():
            yield f"{path}: would be verified and unpacked into {root}"
        else:
            yield f"{url_of(archive)}: {archive.size} bytes would be fetched, verified and unpacked"
    for year, split in texts(archives):
        yield f"{root / 'VOCdevkit' / f'{year}_{split}.txt'}: would be there"


def prepare(root, archives):
    """Fetches, unpacks and writes what is missing; returns what ``summary.json`` holds."""
    root.mkdir(parents=True, exist_ok=True)
    new = [a for a in archives if not extracted(a.name, root, sha256=a.sha256)]
    require_space(root, space(root, new), f"for {len(new)} archives and what is in them")
    rows = {archive.name: obtain(root, archive) for archive in archives}
    splits = {}
    for year, split in texts(archives):
        path = root / "VOCdevkit" / f"{year}_{split}.txt"
        if not path.exists() or any(a.year == year and split in a.splits for a in new):
            write_voc_txt(root / "VOCdevkit", year, split)
        lines = path.read_text().splitlines()
        boxes = sum(len(line.split()) - 1 for line in lines)
        splits[path.stem] = {"images": len(lines), "boxes": boxes, "file": str(path)}
    return {"archives": rows, "splits": splits}


def space(root, archives):
    """Bytes that are needed at least: too little is found out before hours of fetching."""
    absent = [a for a in archives if not tar_path(root, a).is_file()]
    partial = [root / f"{a.name}.partial" for a in absent]
    there = sum(path.stat().st_size for path in partial if path.exists())
    # What is in a tar takes about as much as the tar. What is unpacked in part is not looked into.
    folders = [a for a in archives if not (root / "VOCdevkit" / f"VOC{a.year}").exists()]
    return sum(a.size for a in absent) - there + sum(a.size for a in folders)


def obtain(root, archive):
    """Makes sure that one archive is unpacked; returns its row of ``summary.json``."""
    start, fetched, state = time.perf_counter(), 0, "unpacked already"
    files = extracted(archive.name, root, sha256=archive.sha256)
    if files is None:
        path = tar_path(root, archive)
        state = "found" if path.is_file() else "fetched"
        if path.parent == root:
            options = {"sha256": archive.sha256, "size": archive.size}
            fetched = fetch(url_of(archive), path, **options)
        else:  # in a folder of the user's nothing is moved aside
            try:
                verify(path, archive.sha256)
            except DownloadError as error:
                raise DownloadError(
                    f"{error} Replace it, or take it out of --tar_dir: then it is fetched."
                ) from None
        print(f"{archive.name}: verified, unpacking", flush=True)
        files = extract(path, root, sha256=archive.sha256)
    return {
        "state": state,
        "bytes": archive.size,
        "bytes_fetched": fetched,
        "sha256": archive.sha256,
        "files": len(files),
        "seconds": time.perf_counter() - start,
    }


def texts(archives):
    """[(year, split)] of the text files."""
    return [(a.year, split) for a in archives for split in SPLITS.value if split in a.splits]


if __name__ == "__main__":
    experiment_flags.run(main)
