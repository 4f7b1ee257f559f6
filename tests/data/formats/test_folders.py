import numpy as np
import pytest

from tests.data.folders import write_image
from yolov1 import data
from yolov1.grid import GridSpec


def write_tree(root, *files):
    for k, file in enumerate(files):
        write_image(root / file, seed=k)
    return root


def ids(dataset):
    return [e.image_id for e in dataset]


def test_one_folder_per_class(tmp_path):
    write_tree(tmp_path, "dog/a.jpg", "dog/b.png", "cat/a.jpg", "cat/more/c.jpg")
    dataset = data.open(f"folders:{tmp_path}")
    assert dataset.classes == ("cat", "dog") and not dataset.notes and not dataset.skipped
    assert ids(dataset) == ["cat/a", "cat/more/c", "dog/a", "dog/b"]
    assert [e.labels.tolist() for e in dataset] == [[0], [0], [1], [1]]
    for example in dataset:
        np.testing.assert_array_equal(example.boxes_cxcywh, [[0.5, 0.5, 1, 1]])
        assert example.path.is_file() and not example.difficult.any()
    only = data.open(f"folders:{tmp_path}", classes="dog")
    assert ids(only) == ["dog/a", "dog/b"] and [e.labels.tolist() for e in only] == [[0], [0]]
    with pytest.raises(FileNotFoundError, match="no split 'train'.*leave the split out"):
        data.open(f"folders:{tmp_path}", "train")


def test_splits(tmp_path):
    files = ("train/dog/a.jpg", "train/cat/a.jpg", "validation/dog/a.jpg", "validation/emu/b.jpg")
    write_tree(tmp_path, *files)
    train = data.open(f"folders:{tmp_path}", "train")
    val = data.open(f"folders:{tmp_path}", "val")
    assert train.classes == val.classes == ("cat", "dog", "emu")  # though train has no emu
    assert ids(train) == ["cat/a", "dog/a"] and ids(val) == ["dog/a", "emu/b"]
    assert [e.labels.tolist() for e in val] == [[1], [2]]
    both = data.open(f"folders:{tmp_path}", "train+val")
    assert ids(both) == ["train/cat/a", "train/dog/a", "validation/dog/a", "validation/emu/b"]
    assert ids(data.open(f"folders:{tmp_path}")) == ids(both)
    assert ids(data.open(f"folders:{tmp_path}", "val+validation")) == ids(val)  # one folder
    with pytest.raises(FileNotFoundError, match="no split 'test' .*there are: train, validation"):
        data.open(f"folders:{tmp_path}", "train+test")
    write_tree(tmp_path, "fold3/dog/z.jpg")  # any name is a split when it is asked for
    assert ids(data.open(f"folders:{tmp_path}", "fold3")) == ["dog/z"]


def test_a_class_may_be_called_train(tmp_path):
    write_tree(tmp_path, "train/a.jpg", "car/b.jpg")
    assert data.open(f"folders:{tmp_path}").classes == ("car", "train")


def test_two_files_of_one_stem(tmp_path):
    write_tree(tmp_path, "cat/a.jpg", "cat/a.png", "cat/b.c.jpg", "dog/a.jpg")
    dataset = data.open(f"folders:{tmp_path}")
    assert ids(dataset) == ["cat/a.jpg", "cat/a.png", "cat/b.c", "dog/a"]
    write_tree(tmp_path, "cat/a.jpg.png")  # whose stem is another's name
    dataset = data.open(f"folders:{tmp_path}")
    assert ids(dataset) == ["cat/a.jpg", "cat/a.jpg#2", "cat/a.png", "cat/b.c", "dog/a"]


def test_what_is_there_besides(tmp_path):
    write_tree(tmp_path, "train/cat/a.jpg", "train/b.jpg", "val/cat/c.jpg", ".trash/x/d.jpg")
    (tmp_path / "train" / "empty").mkdir()
    (tmp_path / "train" / "cat" / "list.txt").write_text("a.jpg")
    (tmp_path / "train" / "cat" / ".DS_Store").write_text("")
    (tmp_path / "README.md").write_text("")
    dataset = data.open(f"folders:{tmp_path}", "train")
    assert dataset.classes == ("cat", "empty") and ids(dataset) == ["cat/a"]
    train = tmp_path / "train"
    assert dataset.notes == [
        (str(train / "b.jpg"), "an image that lies in no class's folder; it is left out"),
        (str(train / "cat" / "list.txt"), "not an image; it is left out"),
        (str(train / "empty"), "no image of this class"),
    ]


def test_images_that_cannot_be_read(tmp_path):
    write_tree(tmp_path, "cat/a.jpg", "cat/b.jpg", "dog/c.jpg")
    (tmp_path / "cat" / "b.jpg").write_text("<html>not found</html>")
    (tmp_path / "dog" / "c.jpg").write_bytes((tmp_path / "cat" / "a.jpg").read_bytes()[:-40])
    with pytest.raises(data.BadExampleError) as error:
        data.open(f"folders:{tmp_path}")
    assert "2 of 3 images" in str(error.value) and "c.jpg is damaged" in str(error.value)
    dataset = data.open(f"folders:{tmp_path}", bad_examples="skip")
    assert ids(dataset) == ["cat/a"] and dataset.classes == ("cat", "dog")
    assert [file for file, _ in dataset.skipped] == [
        str(tmp_path / "cat" / "b.jpg"),
        str(tmp_path / "dog" / "c.jpg"),
    ]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of a class"):
        data.open(f"folders:{tmp_path}")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        data.open(f"folders:{tmp_path / 'none'}")
    (tmp_path / "cat").mkdir()
    with pytest.raises(data.BadExampleError, match="no usable image"):
        data.open(f"folders:{tmp_path}")


def test_the_targets_are_the_label_whatever_the_window(tmp_path):
    files = [f"{name}/{k}.jpg" for name in ("cat", "dog", "emu") for k in range(2)]
    dataset = data.open(f"folders:{write_tree(tmp_path, *files)}")
    grid = GridSpec(S=1, B=1, C=3, image_size=224)
    labels = np.array([e.labels[0] for e in dataset])
    stream = data.training_batches(dataset, grid, 12, seed=0, steps=25, augmentation="paper")
    clipped = 0
    for images, targets, indices in stream:
        assert images.shape == (12, 224, 224, 3) and targets.shape == (12, 1, 1, 8)
        np.testing.assert_array_equal(targets[:, 0, 0, :3], np.eye(3)[labels[indices]])
        assert (targets.numpy()[:, 0, 0, 3] == 1).all()
        clipped += int((targets.numpy()[:, 0, 0, 6:] < 1).any(axis=1).sum())
    assert clipped > 100  # the windows do move: most show grey beside the image
    whole = data.training_batches(dataset, grid, 6, seed=0, steps=1, augmentation="none")
    for _, targets, _ in whole:
        assert (targets.numpy()[:, 0, 0, 3:] == [1, 0.5, 0.5, 1, 1]).all()
