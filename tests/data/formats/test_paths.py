import pytest

from yolov1.data.formats.paths import locate, numbered, unique_ids


@pytest.fixture
def root(tmp_path):
    for name in ("images/train/a.jpg", "images/train/b.jpg", "images/val/c.jpg", "cam1/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(root, texts, *more):
    places = locate(texts, (root, *more)).places
    return [p and p.relative_to(root).as_posix() for p in places]


def test_paths_mean_what_they_say(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root / "images"))
    texts = ["images/train/a.jpg", "./images/val/c.jpg", str(root / "cam1/x.jpg"), "~/val/c.jpg"]
    assert found(root, texts) == ["images/train/a.jpg", "images/val/c.jpg", "cam1/x.jpg",
                                  "images/val/c.jpg"]  # fmt: skip
    assert found(root, ["images\\train\\a.jpg", "images/none.jpg"]) == ["images/train/a.jpg", None]
    (root / "odd\\name.jpg").touch()
    assert found(root, ["odd\\name.jpg"]) == ["odd\\name.jpg"]


def test_paths_of_another_machine(root):
    texts = ["/kaggle/set/images/train/a.jpg", "/kaggle/set/images/val/c.jpg"]
    assert found(root, texts) == ["images/train/a.jpg", "images/val/c.jpg"]
    assert found(root, ["D:\\set\\images\\train\\b.jpg"]) == ["images/train/b.jpg"]
    assert found(root, ["/kaggle/images/train", "/kaggle/images/val"]) == [
        "images/train", "images/val",
    ]  # fmt: skip
    # What is not there stays so, whatever its neighbours are.
    assert found(root, [*texts, "/kaggle/set/images/val/none.jpg"])[2] is None


@pytest.mark.parametrize(
    "texts",
    [
        # Two paths, one place.
        ["/kaggle/train/images", "/kaggle/valid/images"],
        ["/a/cam1/x.jpg", "/b/cam1/x.jpg"],
        # A folder around what another path leads to.
        ["/kaggle/images", "/kaggle/images/val"],
        ["images/val", "/kaggle/test/images"],
    ],
)
def test_no_guess_where_paths_fall_together(root, texts):
    assert [place for text, place in zip(texts, found(root, texts), strict=True)
            if text.startswith("/")] == [None] * sum(t.startswith("/") for t in texts)  # fmt: skip


def test_the_anchor_under_which_most_are_there(root):
    (root / "val").mkdir()
    (root / "val" / "a.jpg").touch()
    texts = ["a.jpg", "b.jpg"]
    assert found(root, texts, root / "val", root / "images/train") == [
        "images/train/a.jpg", "images/train/b.jpg",
    ]  # fmt: skip


def test_ids_are_stems_where_stems_differ():
    assert unique_ids(["/d/images/a.jpg", "/d/images/g.tar.jpg"]) == ["a", "g.tar"]
    paths = ["/d/cam1/x.jpg", "/d/cam2/x.jpg", "/d/cam2/y.jpg", "/d/cam2/y.png", "/d/cam2/z.jpg"]
    assert unique_ids(paths) == ["cam1/x", "cam2/x", "cam2/y.jpg", "cam2/y.png", "z"]
    assert unique_ids(["/d/a.jpg", "/d/b.jpg", "/d/a.jpg", "/d/a.jpg"]) == ["a", "b", "a#2", "a#3"]
    assert unique_ids([]) == []
    assert numbered(["0", "0", "0#2"]) == ["0", "0#3", "0#2"]
