import io
import os
import shutil
import tarfile

import pytest

from yolov1.data.acquire import archives
from yolov1.data.acquire.archives import extract, extracted
from yolov1.data.acquire.download import DownloadError

FILES = {"VOCdevkit/VOC2007/a.xml": b"<annotation>", "VOCdevkit/VOC2007/b.jpg": b"\xff" * 5000}
KINDS = {"folder": tarfile.DIRTYPE, "symbolic": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE,
         "device": tarfile.CHRTYPE, "disk": tarfile.BLKTYPE, "pipe": tarfile.FIFOTYPE}  # fmt: skip


def write_tar(path, members):
    """members: (name, bytes of the file, or (kind, link target))."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = KINDS[content[0]], content[1]
                tar.addfile(info)
    return path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def tar(tmp_path):
    return write_tar(tmp_path / "voc.tar", [("VOCdevkit", ("folder", "")), *FILES.items()])


def test_unpacked_and_known_to_be(tar, tmp_path):
    root = tmp_path / "root"
    assert extracted(tar.name, root, sha256="1") is None
    expected = {name: len(content) for name, content in FILES.items()}
    assert extract(tar, root, sha256="1") == expected
    assert {name: (root / name).read_bytes() for name in FILES} == FILES
    assert extracted(tar.name, root, sha256="1") == expected
    assert extracted(tar.name, root, sha256="2") is None  # another archive by that name
    tar.unlink()
    assert extracted(tar.name, root, sha256="1") == expected


@pytest.mark.parametrize("damage", ["missing", "short", "list"])
def test_what_is_not_whole_is_unpacked_again(tar, tmp_path, damage):
    extract(tar, tmp_path, sha256="1")
    name = "VOCdevkit/VOC2007/b.jpg"
    if damage == "missing":
        (tmp_path / name).unlink()
    elif damage == "short":
        os.truncate(tmp_path / name, 10)
    else:
        (tmp_path / "voc.tar.files.json").write_text("{")
    assert extracted(tar.name, tmp_path, sha256="1") is None
    extract(tar, tmp_path, sha256="1")
    assert extracted(tar.name, tmp_path, sha256="1") and (tmp_path / name).stat().st_size == 5000


def test_stopped_in_the_middle(tar, tmp_path, monkeypatch):
    class Stopped(tarfile.TarFile):
        def extractall(self, path, members, **options):
            super().extractall(path, members[:2], **options)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives.tarfile, "open", Stopped.open)
        with pytest.raises(KeyboardInterrupt):
            extract(tar, tmp_path, sha256="1")
    assert (tmp_path / "VOCdevkit/VOC2007/a.xml").exists()
    assert extracted(tar.name, tmp_path, sha256="1") is None
    extract(tar, tmp_path, sha256="1")
    assert (tmp_path / "VOCdevkit/VOC2007/b.jpg").read_bytes() == b"\xff" * 5000


OUT = "leads out of the folder"
MALICE = {
    "above": ([("../out.txt", b"x")], r"'\.\./out\.txt' " + OUT),
    "above, from below": ([("a/../../out.txt", b"x")], OUT),
    "the other slash": ([("a\\..\\..\\out.txt", b"x")], OUT),
    "absolute": ([("{outside}/out.txt", b"x")], OUT),
    "drive": ([("C:/out.txt", b"x")], OUT),
    "folder above": ([("../out", ("folder", ""))], OUT),
    "file through a link": (
        [("link", ("symbolic", "{outside}")), ("link/out.txt", b"x")], "'link' is a link to '.*'"
    ),
    "link above": ([("link", ("symbolic", "../out.txt"))], "'link' is a link"),
    "link inside": ([("b", ("symbolic", "VOCdevkit"))], "'b' is a link to 'VOCdevkit'"),
    "hard link": ([("b", ("hard", "{outside}/secret"))], "'b' is a link to '.*secret'"),
    "device": ([("null", ("device", ""))], "'null' is a device, a pipe"),
    "disk": ([("sda", ("disk", ""))], "'sda' is a device, a pipe"),
    "pipe": ([("pipe", ("pipe", ""))], "'pipe' is a device, a pipe"),
}  # fmt: skip


@pytest.mark.parametrize("malice", MALICE)
def test_a_malicious_archive_is_refused_whole(tmp_path, malice):
    members, reason = MALICE[malice]
    outside, root = tmp_path / "outside", tmp_path / "outside" / "root"
    root.mkdir(parents=True)
    (outside / "secret").write_text("secret")
    put = {"outside": outside}
    members = [
        (name.format(**put), c if isinstance(c, bytes) else (c[0], c[1].format(**put)))
        for name, c in members
    ]
    tar = write_tar(tmp_path / "bad.tar", [*FILES.items(), *members])
    with pytest.raises(DownloadError, match=f"bad.tar: refused, nothing .* member .*{reason}"):
        extract(tar, root, sha256="1")
    assert everything(tmp_path) == ["bad.tar", "outside", "outside/root", "outside/secret"]


def test_a_link_that_lies_in_the_folder_already_is_not_followed_out(tar, tmp_path):
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "VOCdevkit").symlink_to(tmp_path / "outside")
    with pytest.raises(DownloadError, match="cannot be unpacked: .*outside the destination"):
        extract(tar, root, sha256="1")
    assert not everything(tmp_path / "outside") and extracted(tar.name, root, sha256="1") is None


@pytest.mark.parametrize("content", [b"no tar at all" * 100, None])
def test_damaged_archives(tar, tmp_path, content):
    tar.write_bytes(tar.read_bytes()[:3000] if content is None else content)
    with pytest.raises(DownloadError, match=r"voc\.tar cannot be unpacked: "):
        extract(tar, tmp_path / "root", sha256="1")
    assert not (tmp_path / "root").exists()


def test_a_compressed_archive_that_is_cut_off(tmp_path):
    path, content = tmp_path / "voc.tar.gz", os.urandom(10_000)
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    os.truncate(path, 5000)
    with pytest.raises(DownloadError, match=r"voc\.tar\.gz cannot be unpacked: "):
        extract(path, tmp_path / "root", sha256="1")


def test_too_little_space(tar, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(DownloadError, match="not enough space in .* to unpack voc.tar"):
            extract(tar, tmp_path / "root", sha256="1")
        assert not everything(tmp_path / "root")
    extract(tar, tmp_path / "root", sha256="1")
    with monkeypatch.context() as patch:  # what is there already needs none
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        extract(tar, tmp_path / "root", sha256="1")


def test_a_disk_that_fills_up(tar, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile, "copyfileobj", full)
    with pytest.raises(
        DownloadError, match="cannot be unpacked: the disk of .* is full. Make room"
    ):
        extract(tar, tmp_path / "root", sha256="1")
    assert extracted(tar.name, tmp_path / "root", sha256="1") is None
