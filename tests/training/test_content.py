"""Data is known again by its content, and only by that."""

import numpy as np
import pytest

from tests.data.folders import voc_xml, write_image, write_voc
from yolov1 import data
from yolov1.training import difference, fingerprint

CAT = [("cat", (6, 4, 30, 24), False)]


@pytest.fixture
def root(tmp_path):
    return write_voc(tmp_path / "voc", {"a": CAT, "b": CAT, "c": []})


def content(root, **options):
    return fingerprint(data.open(f"voc:{root}", split="train", **options))


def test_another_place_is_the_same_content(root, tmp_path):
    before = content(root)
    assert str(root) not in str(before)
    moved = root.rename(tmp_path / "elsewhere")
    assert difference(before, content(moved)) == ""


def change_pixels(root):
    write_image(root / "JPEGImages" / "b.jpg", seed=9)


def change_a_box(root):
    (root / "Annotations" / "a.xml").write_text(voc_xml([("cat", (6, 4, 31, 24), False)]))


def make_difficult(root):
    for name in "ab":
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml([("cat", (6, 4, 30, 24), True)]))


def change_order(root):
    (root / "ImageSets" / "Main" / "train.txt").write_text("b\na\nc")


def leave_one_out(root):
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nb")


def another_image(root):
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (root / folder / f"b.{suffix}").rename(root / folder / f"x.{suffix}")
    (root / "ImageSets" / "Main" / "train.txt").write_text("a\nx\nc")


def more_classes(root):
    (root / "classes.txt").write_text("dog\ncat")


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        (change_pixels, "image 'b' has other pixels"),
        (change_a_box, "image 'a' has other boxes or another size"),
        (make_difficult, "image 'a' has other boxes or another size, and 1 more have"),
        (change_order, "the images are the same ones in another order"),
        (leave_one_out, "there were 3 images, there are 2"),
        (another_image, "image 2 was 'b', is 'x'"),
        (more_classes, "the classes were cat, dog, are dog, cat"),
    ],
)
def test_what_differs_is_said(root, change, clause):
    before = content(root)
    change(root)
    assert difference(before, content(root)) == clause


def test_images_without_a_file():
    """By their pixels, or by what they are drawn from."""
    sets = [data.open("shapes:count=2", image_size=32, seed=seed) for seed in (0, 0, 1)]
    first, same, other = map(fingerprint, sets)
    assert difference(first, same) == "" and difference(first, other)
    first, other = (fingerprint(sets[0], drawn) for drawn in ("0 32", "0 64"))
    assert difference(first, other) == "image 'train-00000' has other pixels, and 1 more have"


def test_no_byte_order_or_layout_is_in_it():
    (example,) = data.open("shapes:count=1", image_size=32).examples
    before = fingerprint(data.Dataset([example], ["a"] * 6))
    example.boxes_cxcywh = np.asfortranarray(example.boxes_cxcywh)
    assert fingerprint(data.Dataset([example], ["a"] * 6)) == before


def test_an_image_that_is_lost_while_it_is_trained_on(root):
    import tensorflow as tf

    dataset = data.open(f"voc:{root}", split="train")
    (root / "JPEGImages" / "b.jpg").write_bytes(b"")
    with pytest.raises(data.BadExampleError, match="image 'b' cannot be read: .*b.jpg"):
        with data.reading(dataset):
            tf.io.decode_jpeg(b"")
    with pytest.raises(tf.errors.OpError):  # a fault that no image explains
        with data.reading(dataset[:1]):
            tf.io.decode_jpeg(b"")
