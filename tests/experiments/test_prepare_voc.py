import hashlib
import io
import json
import tarfile

import pytest

from tests.data.acquire.server import FileServer
from tests.data.acquire.test_archives import write_tar
from tests.data.folders import write_voc
from yolov1 import data
from yolov1.data.acquire import voc
from yolov1.data.acquire.voc import Archive

CAT, DOG = ("cat", (6, 4, 30, 24), False), ("dog", (1, 1, 60, 40), False)
HARD = ("person", (2, 2, 9, 9), True)
YEARS = {  # archive: (year, {split: {image: objects}})
    "trainval7.tar": (2007, {"train": {"000001": [CAT, HARD]}, "val": {"000002": [DOG, CAT]}}),
    "test7.tar": (2007, {"test": {"000003": [DOG], "000004": []}}),
    "trainval12.tar": (2012, {"train": {"2012_1": [CAT]}, "val": {"2012_2": [HARD]}}),
}


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    """{name: bytes} of small archives that are made like the real ones."""
    made = {}
    for name, (year, splits) in YEARS.items():
        folder = tmp_path_factory.mktemp("voc") / "VOCdevkit"
        for split, annotations in splits.items():
            write_voc(folder / f"VOC{year}", annotations, classes=None, split=split)
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(folder, "VOCdevkit")
        made[name] = file.getvalue()
    return made


@pytest.fixture
def server(tars):
    with FileServer({f"/voc{YEARS[n][0]}/{n}": body for n, body in tars.items()}) as server:
        yield server


@pytest.fixture
def run(call_experiment, monkeypatch):
    """The command with a table of small archives in place of the real ones."""

    def run(tars, *arguments):
        table = [
            Archive(
                YEARS[name][0],
                name,
                tuple(YEARS[name][1]),
                len(body),
                hashlib.sha256(body).hexdigest(),
            )
            for name, body in tars.items()
        ]
        monkeypatch.setattr(voc, "VOC_ARCHIVES", tuple(table))
        monkeypatch.setenv("no_proxy", "*")
        return call_experiment("prepare_voc", *arguments)

    return run


def times(root):
    return {f: f.stat().st_mtime_ns for f in root.rglob("*") if f.name != "summary.json"}


def test_from_the_server_to_a_data_set(run, tars, server, tmp_path):
    root = tmp_path / "root"
    command = (f"--root={root}", f"--base_url={server.url}/")
    server.cuts = [4000]  # the first connection drops, and the rest is fetched
    done = run(tars, *command)
    assert done.returncode == 0, done.stderr
    assert server.log[1][:2] == ("/voc2007/trainval7.tar", "bytes=4000-")
    assert sum(row[4] for row in server.log) == sum(map(len, tars.values()))
    assert "trainval7.tar: the connection ended" in done.stderr
    assert "2007_val: 1 images, 2 boxes" in done.stdout
    assert (root / "VOCdevkit/2007_val.txt").read_text() == (
        "VOCdevkit/VOC2007/JPEGImages/000002.jpg 1,1,60,40,11 6,4,30,24,7\n"
    )
    summary = json.loads((root / "summary.json").read_text())
    counts = {name: (row["images"], row["boxes"]) for name, row in summary["splits"].items()}
    assert counts == {
        "2007_train": (1, 1), "2007_val": (1, 2), "2007_test": (2, 1),
        "2012_train": (1, 1), "2012_val": (1, 0),
    }  # fmt: skip
    row = summary["archives"]["test7.tar"]
    assert row["sha256"] == hashlib.sha256(tars["test7.tar"]).hexdigest()
    assert row["state"] == "fetched" and row["bytes_fetched"] == len(tars["test7.tar"])
    assert row["files"] == 5 and summary["seconds"] > row["seconds"] > 0
    assert len(data.open(f"voc:{root}", "train+val+test")) == 6
    read = data.open(f"voc_txt:{root}", "2007_train+2007_val+2012_train")
    assert [e.image_id for e in read] == ["VOC2007/000001", "VOC2007/000002", "VOC2012/2012_1"]
    assert [e.labels.tolist() for e in read] == [[7], [11, 7], [7]]

    # Again: nothing is asked for, nothing is written. The tars may go, a lost file comes back.
    before, asked = times(root), len(server.log)
    for name in tars:
        (root / name).rename(tmp_path / name)
        before.pop(root / name)
    done = run(tars, *command)
    assert done.returncode == 0 and len(server.log) == asked
    assert {f: t for f, t in times(root).items() if f != root} == before
    summary = json.loads((root / "summary.json").read_text())
    assert {row["state"] for row in summary["archives"].values()} == {"unpacked already"}
    (root / "VOCdevkit/VOC2007/Annotations/000003.xml").unlink()
    done = run(tars, *command, f"--tar_dir={tmp_path}")
    assert done.returncode == 0 and len(server.log) == asked
    summary = json.loads((root / "summary.json").read_text())
    states = [row["state"] for row in summary["archives"].values()]
    assert states == ["unpacked already", "found", "unpacked already"]


def test_only_what_is_asked_for(run, tars, server, tmp_path):
    chosen = ("--years=2007", "--splits=train", f"--base_url={server.url}")
    done = run(tars, f"--root={tmp_path / 'root'}", *chosen, "--debug")
    assert done.returncode == 0, done.stderr
    fetched = f"{server.url}/voc2007/trainval7.tar: {len(tars['trainval7.tar'])} bytes would be"
    assert fetched in done.stdout and "2007_train.txt: would be there" in done.stdout
    assert "test7" not in done.stdout and "2012" not in done.stdout
    assert not server.log and not (tmp_path / "root").exists()
    done = run(tars, f"--root={tmp_path / 'root'}", *chosen)
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in server.log] == ["/voc2007/trainval7.tar"]
    texts = [f.name for f in (tmp_path / "root" / "VOCdevkit").glob("*.txt")]
    assert texts == ["2007_train.txt"]


def test_tars_on_disk(run, tars, server, tmp_path):
    """One in the root, one in a folder, one of them wrong."""
    root, folder = tmp_path / "root", tmp_path / "folder"
    root.mkdir()
    folder.mkdir()
    (root / "trainval7.tar").write_bytes(tars["trainval7.tar"])
    (folder / "test7.tar").write_bytes(b"x" * len(tars["test7.tar"]))
    command = (f"--root={root}", "--years=2007", f"--tar_dir={folder}", f"--base_url={server.url}")
    done = run(tars, *command)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "error: " in done.stderr and "folder/test7.tar of" in done.stderr
    assert "has the wrong checksum: SHA-256 expected" in done.stderr
    assert "Replace it, or take it out of --tar_dir: then it is fetched." in done.stderr
    assert (folder / "test7.tar").exists() and not (root / "summary.json").exists()
    (folder / "test7.tar").write_bytes(tars["test7.tar"])
    done = run(tars, *command)
    assert done.returncode == 0, done.stderr
    assert not server.log and not (root / "test7.tar").exists()
    assert len(data.open(f"voc:{root}", "train+val+test")) == 4


def test_a_folder_of_tars_that_does_not_exist(run, tars, server, tmp_path):
    """A misspelt one must not fetch what is on the disk."""
    command = (f"--root={tmp_path / 'root'}", f"--base_url={server.url}", "--tar_dir=/nope")
    for debug in ((), ("--debug",)):
        done = run(tars, *command, *debug)
        assert done.returncode != 0 and "Traceback" not in done.stderr
        assert "--tar_dir must be a folder that exists, got '/nope'" in done.stderr + done.stdout
    assert not server.log and not (tmp_path / "root").exists()


def test_a_malicious_tar_and_a_wrong_one(run, tars, server, tmp_path):
    root = tmp_path / "a" / "root"
    bad = write_tar(tmp_path / "bad.tar", [("VOCdevkit/x", b"x"), ("../../out.txt", b"x")])
    server.files["/voc2007/test7.tar"] = b"x" * len(tars["test7.tar"])
    command = (f"--root={root}", f"--base_url={server.url}", "--years=2007", "--splits=test")
    done = run(tars, *command)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "wrong checksum" in done.stderr and not list(root.iterdir())
    server.files["/voc2007/test7.tar"] = bad.read_bytes()
    done = run({"test7.tar": bad.read_bytes()}, *command)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert (
        "test7.tar: refused, nothing of it was unpacked: its member '../../out.txt'" in done.stderr
    )
    assert [f.name for f in root.iterdir()] == ["test7.tar"]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "bad.tar"]


def test_the_real_table(call_experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # a shell leaves this ~ as it is
    done = call_experiment("prepare_voc", "--root=~/new", "--debug")
    assert done.returncode == 0, done.stderr
    place = "http://host.robots.ox.ac.uk/pascal/VOC"
    assert done.stdout.splitlines() == [
        f"{place}/voc2007/VOCtrainval_06-Nov-2007.tar: 460032000 bytes would be fetched, verified "
        "and unpacked",
        f"{place}/voc2007/VOCtest_06-Nov-2007.tar: 451020800 bytes would be fetched, verified and "
        "unpacked",
        f"{place}/voc2012/VOCtrainval_11-May-2012.tar: 1999639040 bytes would be fetched, verified "
        "and unpacked",
        *(
            f"{tmp_path / 'new'}/VOCdevkit/{name}.txt: would be there"
            for name in ("2007_train", "2007_val", "2007_test", "2012_train", "2012_val")
        ),
    ]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--years=2008", "--splits=train"], "--years must be among 2007,2012, got '2008'."),
        (["--years=2012", "--splits=test"], "VOC 2012 has no public test split."),
        (["--years=", "--splits=val"], "--years must be among 2007,2012, got ''."),
        (["--years=2007", "--splits="], "--splits must be among test,train,trainval,val, got ''."),
    ],
)
def test_what_cannot_be_chosen(call_experiment, tmp_path, arguments, message):
    done = call_experiment("prepare_voc", f"--root={tmp_path / 'new'}", *arguments)
    assert done.returncode != 0 and message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists()
