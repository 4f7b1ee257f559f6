import warnings

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
    assert images.read_header(tmp_path / "a.jpg")[:2] == ((40, 60), False)
    write_image(tmp_path / "b.jpg", progressive=True)
    assert images.read_header(tmp_path / "b.jpg")[:2] == ((40, 60), True)


def test_a_file_that_another_program_would_draw_is_no_image(tmp_path):
    """Pillow has Ghostscript draw an EPS file, whatever its name says."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    for source in (path, path.read_bytes()):
        with pytest.raises(ValueError, match="not an image that can be read"):
            images.read_header(source)


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
        assert images.read_header(path).orientation == orientation
        np.testing.assert_array_equal(images.decode(path, upright=True), upright)
        np.testing.assert_array_equal(images.decode(path), turn(upright))
    Image.fromarray(upright).save(tmp_path / "none.png")
    assert images.read_header(tmp_path / "none.png").orientation == 1


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


# ------------------------------------------------------------------------------- pixels of depth


def ramp(dtype, high):
    return np.tile(np.linspace(0, high, 60), (40, 1)).astype(dtype)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_that_are_used(tmp_path, suffix, bits):
    """Cameras and scanners put 10 to 14 bits into 16: all show the same picture."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(ramp(np.uint16, (1 << bits) - 1)).save(path)
    pixels = images.decode(path)
    assert np.abs(pixels.astype(int) - ramp(np.uint8, 255)[..., None]).max() <= 1
    remarks = images.verify(path)
    assert [f"use {bits} bits" in r for r in remarks] == [True] * (bits < 16)


def test_floating_point(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(ramp(np.float32, 1)).save(path)
    assert np.abs(images.decode(path)[0, :, 0].astype(int) - ramp(np.uint8, 255)[0]).max() <= 1
    assert "taken as [0, 1]" in images.verify(path)[0]
    for low, high in ((0, 255), (-1, 1), (0, np.nan)):
        Image.fromarray(np.array([[low, high]], np.float32)).save(path)
        with pytest.raises(ValueError, match=r"a\.tif has floating-point pixels from .*\[0, 1\]"):
            images.decode(path)


def test_more_than_16_bits(tmp_path):
    path = tmp_path / "a.tif"
    for value in (-1, 1 << 16):
        Image.fromarray(np.array([[0, value]], np.int32)).save(path)
        with pytest.raises(ValueError, match="expected at most 16 bits"):
            images.verify(path)


def test_deep_colours_of_few_bits_are_refused(tmp_path):
    """Pillow keeps the upper half of 16-bit colours; of 12 bits in 16 that is almost nothing."""
    import tensorflow as tf

    path = tmp_path / "a.png"
    for high in (4095, 65535):
        colours = np.repeat(ramp(np.uint16, high)[..., None], 3, axis=-1)
        path.write_bytes(tf.io.encode_png(colours).numpy())
        if high == 65535:
            assert images.decode(path).max() == 255
        else:
            with pytest.raises(ValueError, match=r"a\.png has colours of 16 bits of which it uses"):
                images.verify(path)


def test_turned_photos_are_noted_and_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    root = write_voc(tmp_path, {"a": [("cat", (6, 4, 30, 24), False)]})
    file = root / "JPEGImages" / "a.jpg"
    write_image(file, exif=exif)
    dataset = data.open(f"voc:{root}")
    ((_, note),) = dataset.notes
    assert note.startswith("EXIF orientation 6 is ignored") and dataset[0].size == (40, 60)
    upright = images.decode(file, upright=True)
    np.testing.assert_array_equal(upright, np.rot90(images.decode(file), -1))
    # An annotation of the turned picture says so by its size.
    (root / "Annotations" / "a.xml").write_text(voc_xml([], (60, 40)))
    with pytest.raises(data.BadExampleError, match="EXIF orientation 6: the boxes were drawn on"):
        data.open(f"voc:{root}")


def test_further_frames_are_noted(tmp_path):
    root = write_voc(tmp_path, {"a": []})
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue", "green")]
    frames[0].save(root / "JPEGImages" / "a.gif", save_all=True, append_images=frames[1:])
    (root / "JPEGImages" / "a.jpg").unlink()
    dataset = data.open(f"voc:{root}")
    assert dataset.notes[0][1] == "has 3 frames or pages; the first is taken"
    assert dataset[0].image[0, 0].tolist() == [255, 0, 0]


def test_what_passed_the_check_never_stops_a_training(tmp_path):
    """Damage of many kinds: what `verify` takes, the pipeline decodes, in every window."""
    import tensorflow as tf

    write_image(tmp_path / "a.jpg", (64, 96), progressive=False)
    whole = (tmp_path / "a.jpg").read_bytes()
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(2, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        cut = rng.integers(len(whole) // 2, len(whole)) if rng.random() < 0.2 else None
        content = bytes(damaged[:cut])
        try:
            header = images.read_header(content)
            images.verify(content)
        except ValueError:
            continue
        taken += 1
        if not header.jpeg:
            images.decode(content)
            continue
        height, width = header.size
        for window in ([0, 0, height, width], [height // 3, width // 3, 8, 8]):
            tf.image.decode_and_crop_jpeg(content, window, channels=3)
    assert 30 < taken < 140


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".ppm", ".pgm", ".dib", ".jp2", ".avif"])
def test_further_suffixes(tmp_path, suffix):
    root = write_voc(tmp_path, {"a": []})
    picture = Image.open(root / "JPEGImages" / "a.jpg").convert("L" if suffix == ".pgm" else "RGB")
    picture.load()
    picture.save(root / "JPEGImages" / f"a{suffix}")
    (root / "JPEGImages" / "a.jpg").unlink()
    (example,) = data.open(f"voc:{root}")
    assert example.image.shape == (40, 60, 3)


def test_reading_in_threads_loses_no_later_warning(tmp_path):
    """Threads that each restore the filters of warnings leave those of another behind."""
    objects = [("cat", (6, 4, 30, 24), False)]
    root = write_voc(tmp_path, {str(k): objects for k in range(60)})
    for _ in range(3):
        data.open(f"voc:{root}")
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)
    assert ("ignore", None, Warning, None, 0) not in warnings.filters
