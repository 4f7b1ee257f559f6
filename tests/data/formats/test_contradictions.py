"""Where files of a data set contradict each other, or only seem to mean something."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.data.folders import voc_xml, write_image, write_voc
from yolov1 import data
from yolov1.data import images

CAT, BOX = ("cat", (6, 4, 30, 24), False), "0 0.5 0.5 0.5 0.5\n"


def write_yolo(root, *names, classes="cat\ndog\n"):
    for k, name in enumerate(names):
        write_image(root / "images" / name, seed=k)
        file = (root / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(BOX)
    (root / "classes.txt").write_text(classes)
    return root


def write_coco(root, name, files, boxes=(), categories=({"id": 1, "name": "cat"},)):
    entries = [{"id": k, "file_name": file} for k, file in enumerate(files)]
    annotations = [
        {"id": k, "image_id": image, "category_id": category, "bbox": list(box)}
        for k, (image, category, box) in enumerate(boxes)
    ]
    content = {"images": entries, "categories": list(categories), "annotations": annotations}
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(content))
    return root


def test_a_label_folder_with_names_of_its_own(tmp_path):
    """labelImg writes classes.txt into the folder it saves to, in the order of its own list."""
    root = write_yolo(tmp_path, "train/a.jpg", "val/b.jpg")
    (root / "labels" / "val" / "classes.txt").write_text("dog\ncat\n")
    assert len(data.open(f"yolo:{root}", "train")) == 1
    for split in ("val", None):
        with pytest.raises(ValueError, match="val/classes.txt: it says dog, cat; the names of the"):
            data.open(f"yolo:{root}", split)
    (root / "labels" / "val" / "classes.txt").write_text("cat\ndog\n")
    assert len(data.open(f"yolo:{root}")) == 2
    (root / "data.yaml").write_text("train: images/train\nnames: [dog, cat]\n")
    (root / "labels" / "val" / "classes.txt").unlink()
    dataset = data.open(f"yolo:{root}", "train")
    assert dataset.classes == ("dog", "cat") and "it says cat, dog" in dataset.notes[0][1]


def test_a_yaml_without_names(tmp_path):
    root = write_yolo(tmp_path, "one/a.jpg", "two/b.jpg")
    (root / "data.yaml").write_text("train: images/one\nval: images/two\n")
    assert [e.image_id for e in data.open(f"yolo:{root}", "val")] == ["b"]


def test_two_images_with_one_label_file(tmp_path):
    root = write_yolo(tmp_path, "a.jpg", "a.png", "b.jpg")
    dataset = data.open(f"yolo:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and len(dataset.skipped) == 2
    assert "a.jpg and a.png have one label file" in dataset.skipped[0][1]


def test_one_image_of_two_splits_under_two_paths(tmp_path):
    root = write_yolo(tmp_path, "a.jpg", "b.jpg")
    (root / "train.txt").write_text("images/a.jpg\nimages/b.jpg\n")
    (root / "val.txt").write_text("./images/../images/a.jpg\n")
    assert [e.image_id for e in data.open(f"yolo:{root}", "train+val")] == ["a", "b"]


def test_a_missing_image_is_named_and_not_its_labels(tmp_path):
    root = write_yolo(tmp_path, "a.jpg")
    (root / "train.txt").write_text("images/a.jpg\nimages/none.jpg\n.\n" + "x" * 400 + "\n")
    dataset = data.open(f"yolo:{root}", "train", bad_examples="skip")
    assert len(dataset) == 1 and len(dataset.skipped) == 3
    assert all("does not exist" in why for _, why in dataset.skipped)


def test_paths_are_mapped_all_or_none(tmp_path):
    root = write_coco(tmp_path, "train.json", ["old/1.jpg", "new/2.jpg"])
    for name in ("1.jpg", "new/2.jpg"):  # 1.jpg is another picture than old/1.jpg
        write_image(root / name)
    dataset = data.open(f"coco:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["2"]
    assert "the image old/1.jpg is missing" in dataset.skipped[0][1]
    assert [file for file, _ in dataset.notes] == [str(root / "1.jpg")]
    write_coco(tmp_path, "train.json", ["C:\\set\\1.jpg", "C:\\set\\new\\2.jpg"])
    dataset = data.open(f"coco:{root}")
    assert len(dataset) == 2 and "is not here" in dataset.notes[0][1]


def test_a_file_of_each_class(tmp_path):
    """Two JSON files list the same image, each with the boxes of its class."""
    write_image(tmp_path / "a.jpg")
    both = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})
    write_coco(tmp_path, "cat.json", ["a.jpg"], [(0, 1, (1, 1, 9, 9))], both)
    write_coco(tmp_path, "dog.json", ["a.jpg"], [(0, 2, (9, 9, 9, 9))], both)
    with pytest.raises(data.BadExampleError, match="is in cat.json before, with other boxes"):
        data.open(f"coco:{tmp_path}")
    write_coco(tmp_path, "dog.json", ["a.jpg"], [(0, 1, (1, 1, 9, 9))], both)
    dataset = data.open(f"coco:{tmp_path}")
    assert len(dataset) == 1 and "it counts once" in dataset.notes[0][1]


def test_one_image_under_two_spellings(tmp_path):
    write_image(tmp_path / "a.jpg")
    boxes = [(0, 1, (1, 1, 9, 9)), (1, 1, (9, 9, 9, 9))]
    write_coco(tmp_path, "x.json", ["./a.jpg", "a.jpg"], boxes)
    with pytest.raises(data.BadExampleError, match="with other boxes: each has a part"):
        data.open(f"coco:{tmp_path}")


@pytest.mark.parametrize("name", ["/", ".", "images", "x" * 400, "a\0b"])
def test_file_names_that_are_none(tmp_path, name):
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "b.jpg")
    write_coco(tmp_path, "x.json", [name, "b.jpg"])
    dataset = data.open(f"coco:{tmp_path}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["b"] and "is missing" in dataset.skipped[0][1]


@pytest.mark.parametrize("name", [None, ["a"], True, ""])
def test_category_names_that_are_none(tmp_path, name):
    write_coco(tmp_path, "x.json", ["a.jpg"], categories=[{"id": 1, "name": name}])
    with pytest.raises(ValueError, match="the name of the category 1 must be a text"):
        data.open(f"coco:{tmp_path}")


def test_fractions_where_pixels_are_expected(tmp_path):
    write_image(tmp_path / "a.jpg")
    write_coco(tmp_path, "x.json", ["a.jpg"], [(0, 1, (0.1, 0.1, 0.5, 0.5))])
    with pytest.raises(data.BadExampleError, match="they seem to be fractions of the image"):
        data.open(f"coco:{tmp_path}")
    root = write_voc(tmp_path / "voc", {"a": [("cat", (0.1, 0.2, 0.5, 0.6), False)]})
    with pytest.raises(data.BadExampleError, match="they seem to be fractions of the image"):
        data.open(f"voc:{root}")


def test_voc_folders(tmp_path):
    """The name VOC20xx does not make a data set PASCAL's: the classes of all of it count."""
    hat = ("hat", (1, 1, 9, 9), False)
    root = write_voc(tmp_path / "VOC2028", {"a": [hat], "b": [CAT]}, classes=None)
    for name in ("a", "b"):
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(name)
    for split in ("a", "b", None):
        assert data.open(f"voc:{root}", split).classes == ("cat", "hat")
    (root / "JPEGImages").rename(root / "images")  # as Label Studio has it
    write_image(root / "beside.jpg")
    dataset = data.open(f"voc:{root}")
    assert len(dataset) == 2 and dataset.notes[-1][0] == str(root / "beside.jpg")
    nested = voc_xml([CAT]).replace("<object>", "<objects><object>")
    nested = nested.replace("</annotation>", "</objects></annotation>")
    (root / "Annotations" / "a.xml").write_text(nested)
    with pytest.raises(data.BadExampleError, match="its objects are not where VOC has them"):
        data.open(f"voc:{root}")


def test_folders_of_years_with_different_names(tmp_path):
    for year, names in (("VOC2007", ("cat",)), ("VOC2012", ("cat", "dog"))):
        write_voc(tmp_path / year, {"a": [CAT]}, classes=names)
    with pytest.raises(ValueError, match="VOC2007/classes.txt says cat, .* says cat, dog"):
        data.open(f"voc:{tmp_path}")


def test_ids_of_whole_paths(tmp_path):
    keys = []
    for folder in ("a", "b"):
        write_image(tmp_path / folder / "x.jpg")
        keys.append(str(tmp_path / folder / "x.jpg"))
    content = {"classes": ["cat"], "labels": dict.fromkeys(keys, [])}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert [e.image_id for e in data.open(f"fiftyone:{tmp_path / 'labels.json'}")] == ["x", "x#2"]


def test_capital_names_of_splits(tmp_path):
    for split in ("Training", "Testing"):
        for name in ("cat", "dog"):
            write_image(tmp_path / split / name / "x.jpg")
    assert data.open(f"folders:{tmp_path}").classes == ("cat", "dog")
    assert len(data.open(f"folders:{tmp_path}", "train")) == 2


@pytest.mark.parametrize("split", ["train+", "+", "..", "../x", "/"])
@pytest.mark.parametrize("kind", ["yolo", "voc", "coco", "fiftyone", "folders", "records"])
def test_splits_that_are_no_names(tmp_path, kind, split):
    with pytest.raises(ValueError, match="a split must be a name"):
        data.open(f"{kind}:{tmp_path}", split)


def test_an_empty_split_is_everything(tmp_path):
    root = write_yolo(tmp_path, "train/a.jpg", "val/b.jpg")
    assert [e.image_id for e in data.open(f"yolo:{root}", "")] == ["a", "b"]


def test_links_to_themselves(tmp_path):
    root = write_yolo(tmp_path, "a.jpg")
    (root / "images" / "loop.jpg").symlink_to("loop.jpg")
    dataset = data.open(f"yolo:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["a"] and "loop.jpg" in dataset.skipped[0][0]


def test_settings_without_end(tmp_path):
    root = write_yolo(tmp_path, "a.jpg")
    (root / "data.yaml").write_text("names: " + "[" * 3000)
    with pytest.raises(ValueError, match="data.yaml cannot be read"):
        data.open(f"yolo:{root}")


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\rb", "\ufeffa"])
@pytest.mark.parametrize("write", ["write_yolo", "write_fiftyone", "write_records"])
def test_class_names_that_would_not_come_back(tmp_path, name, write):
    dataset = data.open("shapes:count=1,classes=2", image_size=32)
    dataset.classes = (name, "b")
    more = {"write_yolo": [tmp_path, "train"], "write_fiftyone": [tmp_path]}
    with pytest.raises(ValueError, match=f"{write}: the class name .* is empty, begins or ends"):
        getattr(data, write)(dataset, *more.get(write, [tmp_path / "x.tfrecord"]))
    assert not any(tmp_path.iterdir())


def test_a_turned_tiff(tmp_path):
    """Pillow turns a TIFF by itself: nothing is said to be ignored."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:10, :10] = 255
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={images.ORIENTATION: 6})
    header = images.read_header(tmp_path / "a.tif")
    decoded = images.decode(tmp_path / "a.tif")
    assert header.orientation == 1 and header.size == decoded.shape[:2]
    np.testing.assert_array_equal(decoded, images.decode(tmp_path / "a.tif", upright=True))


def test_a_picture_beyond_the_limit(tmp_path):
    Image.new("1", (14000, 14000)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="more than are read. Cut it into parts"):
        images.read_header(tmp_path / "a.png")
