import numpy as np
import pytest
from PIL import Image

from tests.data.folders import voc_xml, write_image, write_voc
from tests.shared import shared
from yolov1 import data
from yolov1.data import images


def test_content_decides_and_not_the_name(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert images.read_header(tmp_path / "a.jpg") == ((40, 60), False)
    write_image(tmp_path / "b.jpg", progressive=True)
    assert images.read_header(tmp_path / "b.jpg") == ((40, 60), True)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    grey = Image.fromarray(np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (40, 1)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = (grey if mode == "P" else grey.convert("RGB")).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    decoded = images.decode(path)
    assert decoded.shape == (40, 60, 3) and decoded.dtype == np.uint8
    difference = decoded.astype(int) - np.asarray(grey)[..., None]
    if mode == "1":  # black and white dots, as dense as the grey
        assert set(np.unique(decoded)) == {0, 255} and abs(difference.mean()) < 8
    else:
        assert np.abs(difference).max() <= 4


def test_transparent_parts_are_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    decoded = images.decode(tmp_path / "a.png")
    assert (decoded[:2] == 0).all() and (decoded[2:] == 255).all()


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be shown turned by 90 degrees
    write_image(tmp_path / "a.jpg", exif=exif)
    assert images.read_header(tmp_path / "a.jpg").size == (40, 60)
    assert images.decode(tmp_path / "a.jpg").shape == (40, 60, 3)


def test_a_photo_is_turned_upright_where_asked(tmp_path):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:8, :11, 0] = 255
    upright[12:, 20:, 1] = 255
    turns = [
        *(lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1]),
        *(lambda a: a.swapaxes(0, 1), lambda a: np.rot90(a, 1)),
        *(lambda a: a[::-1, ::-1].swapaxes(0, 1), lambda a: np.rot90(a, -1)),
    ]
    for orientation, turn in enumerate(turns, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(np.ascontiguousarray(turn(upright))).save(path, exif=exif)
        assert images.orientation(path) == orientation
        np.testing.assert_array_equal(images.decode(path, upright=True), upright)
        np.testing.assert_array_equal(images.decode(path), turn(upright))
    Image.fromarray(upright).save(tmp_path / "none.png")
    assert images.orientation(tmp_path / "none.png") == 1


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "text": b"<html>not found</html>",
            "no end": content[:-20],
            "header": content[:200],
        }[how]
    )


@pytest.mark.parametrize(
    "suffix, how",
    # A PNG without its last bytes still has every pixel.
    [(s, h) for s in (".jpg", ".png") for h in ("truncated", "empty", "text")]
    + [(".jpg", "no end"), (".jpg", "header")],
)
def test_damaged_files_are_found_when_opened(tmp_path, suffix, how):
    cat = [("cat", (6, 4, 30, 24), False)]
    root = write_voc(tmp_path, {"a": cat, "b": cat})
    (root / "JPEGImages" / "b.jpg").unlink()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    noise.save(root / "JPEGImages" / f"b{suffix}")
    damage(root / "JPEGImages" / f"b{suffix}", how)
    with pytest.raises(
        data.BadExampleError, match=rf"b\.xml: .*b{suffix} is (damaged|not an image)"
    ):
        data.open(f"voc:{root}")
    dataset = data.open(f"voc:{root}", bad_examples="skip")
    assert [e.image_id for e in dataset] == ["a"] and len(dataset.skipped) == 1


def test_shrinking_averages():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    mean = image.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    assert np.abs(images.shrink(image, 2) - mean).max() <= 0.5
    assert images.shrink(image, 1) is image


def test_hard_inputs():
    """PNG and palettes named .jpg, RGBA, progressive JPEG, odd EXIF, annotations of size 0 x 0."""
    dataset = data.open(f"voc:{shared('data', 'hard_inputs')}")
    assert len(dataset) == 32 and not dataset.skipped and not dataset.notes
    assert dataset.classes == ("apple", "banana", "orange")
    assert sum(e.jpeg for e in dataset) == 11
    for example in dataset:
        assert example.image.shape == (*example.size, 3) and len(example.labels)


def test_hard_inputs_go_through_the_pipeline():
    from yolov1.grid import GridSpec

    dataset = data.open(f"voc:{shared('data', 'hard_inputs')}")[:12]
    grid = GridSpec(S=7, B=2, C=3, image_size=64)
    for cache in (True, False):
        stream = data.training_batches(dataset, grid, 6, seed=0, steps=2, cache=cache)
        assert sum(int(t[..., 3].numpy().sum()) > 0 for _, t, _ in stream) == 2


def test_missing_image(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        images.read_header(tmp_path / "a.jpg")


def test_annotation_can_name_an_image_of_another_name(tmp_path):
    root = write_voc(tmp_path, {"a": voc_xml([], filename="other.jpg")})
    (root / "JPEGImages" / "a.jpg").rename(root / "JPEGImages" / "other.jpg")
    assert data.open(f"voc:{root}")[0].path.name == "other.jpg"
