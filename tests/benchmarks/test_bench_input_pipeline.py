"""Every provider of the input benchmark makes the images that it should; what is missing is left
out in a sentence; the targets are judged rightly."""

import csv
import importlib
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import bench_input_pipeline, input_pipeline_targets
from benchmarks.input_pipeline_providers import EXTRAS, OURS, PROVIDERS, Work, decode, make
from benchmarks.photos import write_photos
from benchmarks.providers import Unavailable
from tests.benchmarks.running import rows_of, run
from tests.shared import ROOT
from yolov1 import data
from yolov1.data.augmentation import GREY, Augmentation
from yolov1.grid import GridSpec

FILES, SIZE = 4, 160  # 500 x 375 may be decoded at half its size
NONE = Augmentation.preset("none")
PLAIN = ("posts_cv2", "posts_pil", "posts_cv2_workers", "simplejpeg_resize", "ours_none_cached")
AUGMENTED = [name for name in PROVIDERS if name not in (*PLAIN, *OURS, "decoding")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The data set, and its images at their size: float32 ``[FILES, SIZE, SIZE, 3]``."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, FILES)
    dataset = data.open(f"voc:{folder}")
    resized = [Image.open(e.path).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for e in dataset]
    return dataset, np.stack([np.asarray(image, np.float32) / 255 for image in resized])


def batch_of(name, dataset, augmentation=NONE, batches=1):
    """The first images that a provider makes, every file as often as the others."""
    work = Work(dataset, GridSpec(image_size=SIZE, C=1), FILES, augmentation)
    try:
        made = make(name, work)()
    except Unavailable as error:
        pytest.skip(str(error))
    images = np.concatenate([np.array(next(made)) for _ in range(batches)])
    made.close()
    assert images.shape == (FILES * batches, SIZE, SIZE, 3)
    assert images.dtype in (np.float32, np.float64)  # the posts divide integers
    assert images.min() >= 0 and images.max() <= 1
    return images


def pairs(images, plain):
    """[(image, the plain one that it resembles most, how much)]: each must be there once."""

    def standard(values):
        flat = values.reshape(len(values), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    likeness = standard(images) @ standard(plain).T
    nearest = likeness.argmax(axis=1)
    assert sorted(nearest) == list(range(len(plain)))
    return [(images[k], plain[n], likeness[k, n]) for k, n in enumerate(nearest)]


@pytest.mark.first_case
@pytest.mark.parametrize("name", dict.fromkeys([*OURS, *PLAIN, *AUGMENTED]))
def test_without_augmentation_it_is_the_resized_image(name, photos):
    dataset, plain = photos
    for image, want, likeness in pairs(batch_of(name, dataset), plain):
        assert likeness > 0.9  # OpenCV and Keras do not filter what they make smaller
        assert np.abs(image - want).mean() < 0.06
        assert np.abs(image - want).mean() < np.abs(image[..., ::-1] - want).mean()  # RGB, not BGR


@pytest.mark.parametrize("name", AUGMENTED)
def test_flips(name, photos):
    dataset, plain = photos
    images = batch_of(name, dataset, Augmentation(0, 0, 1, 1, flip=1))
    if name == "keras":  # flips half of them at most
        mirrored = [np.abs(i[None, :, ::-1] - plain).mean((1, 2, 3)).min() < 0.06 for i in images]
        images = np.where(np.array(mirrored)[:, None, None, None], images, images[:, :, ::-1])
    for _, _, likeness in pairs(images[:, :, ::-1], plain):
        assert likeness > 0.9


@pytest.mark.parametrize("name", AUGMENTED)
def test_windows_leave_the_image(name, photos):
    """Moved by up to half of it, a quarter of each side is outside on average: 7 / 16 in all."""
    dataset, _ = photos
    images = batch_of(name, dataset, Augmentation(0, 0.5, 1, 1, flip=0), batches=8)
    grey = (np.abs(images - GREY / 255) < 1.5 / 255).all(axis=-1).mean(axis=(1, 2))
    assert 0.3 < grey.mean() < 0.6
    assert grey.std() > 0.05


@pytest.mark.parametrize("name", AUGMENTED)
def test_windows_change_their_size(name, photos):
    """The middle, twice as large or half as large: smoother, or grey around."""
    dataset, plain = photos
    images = batch_of(name, dataset, Augmentation(0.5, 0, 1, 1, flip=0), batches=4)
    grey = (np.abs(images - GREY / 255) < 1.5 / 255).all(axis=-1).mean(axis=(1, 2))
    assert grey.max() > 0.2 and grey.min() < 0.05
    off = np.abs(images[:, None] - plain).mean(axis=(2, 3, 4)).min(axis=1)
    assert (off > 0.07).mean() > 0.5


@pytest.mark.parametrize("name", AUGMENTED)
@pytest.mark.parametrize("colour", ["exposure", "saturation"])
def test_colours(name, colour, photos):
    dataset, plain = photos
    colours = {"exposure": 1, "saturation": 1} | {colour: 2}
    images = batch_of(name, dataset, Augmentation(0, 0, flip=0, **colours))
    statistic = {
        "exposure": lambda image: image.mean(),
        "saturation": lambda image: np.ptp(image, axis=-1).mean(),
    }[colour]
    changes = [statistic(i) / statistic(want) for i, want, _ in pairs(images, plain)]
    assert 0.4 < min(changes) < max(changes) < 2.2
    assert np.abs(np.log(changes)).max() > 0.05 and np.ptp(changes) > 0.05


@pytest.mark.parametrize("name", AUGMENTED)
def test_every_batch_is_another(name, photos):
    dataset, _ = photos
    images = batch_of(name, dataset, Augmentation(), batches=2)
    assert np.abs(images[:, None] - images)[~np.eye(len(images), dtype=bool)].mean((1, 2, 3)).min()


def test_decoding_has_the_flags_of_our_pipeline(photos):
    dataset, _ = photos
    encoded = Path(dataset[0].path).read_bytes()
    np.testing.assert_array_equal(decode(encoded, 1), np.asarray(Image.open(dataset[0].path)))
    made = make("decoding", Work(dataset, GridSpec(image_size=SIZE, C=1), FILES))()
    assert list(next(made).numpy()) == [188] * FILES  # half of 375
    made.close()


def test_threads_end_with_a_turn(photos):
    dataset, _ = photos
    before = threading.active_count()
    batch_of("posts_cv2_workers", dataset)
    assert threading.active_count() <= before


@pytest.mark.parametrize("module", EXTRAS)
def test_what_is_missing_is_said_with_its_command(module, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, module.split(".")[0], None)
    for loaded in [m for m in sys.modules if m.startswith(module)]:
        monkeypatch.setitem(sys.modules, loaded, None)
    work = Work(photos[0], GridSpec(image_size=SIZE, C=1), FILES)
    users = [name for name, provider in PROVIDERS.items() if module in provider.modules]
    assert users
    for name in users:
        with pytest.raises(Unavailable, match=rf"{name} uses .*pip install 'yolov1\["):
            make(name, work)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = " ".join(extras["optional-dependencies"][EXTRAS[module]])
    assert {"cv2": "opencv", "nvidia.dali": "nvidia-dali"}.get(module, module) in packages


def test_it_runs_without_what_is_missing(monkeypatch, tmp_path):
    for module in EXTRAS:
        for name in {module.split(".")[0], module}:
            monkeypatch.setitem(sys.modules, name, None)
    gone = [name for name, provider in PROVIDERS.items() if set(provider.modules) & set(EXTRAS)]
    kept = ["posts_pil", "decoding", "ours_paper", "ours_op"]
    size = ["--cases=112", "--files=4", "--batch_size=2", "--turn=0.01", "--rounds=2"]
    size += [f"--providers={','.join(gone + kept)}"]
    rows, printed = rows_of(tmp_path / "rows.csv", "bench_input_pipeline", *size)
    assert all(f"left out: {name} uses" in printed for name in gone)
    rows = {row["provider"]: row for row in rows}
    assert set(rows) == set(kept)
    for row in rows.values():
        speed = float(row["images_per_second"])
        assert 0 < float(row["q20"]) <= speed <= float(row["q80"])
        assert float(row["cpu_ms_per_image"]) > 0 and float(row["against_posts"]) > 0
        assert row["repeats"] == "2" and row["image_size"] == "112" and row["revision"]
    assert float(rows["decoding"]["against_decoding"]) == 1
    assert float(rows["posts_pil"]["against_posts"]) == 1
    assert rows["posts_pil"]["packages"].startswith("PIL ")
    assert "112 px, ours_paper / decoding" in printed
    results = ROOT / "benchmarks" / "results" / "input_pipeline.csv"
    with results.open() as kept:
        assert next(csv.reader(kept)) == list(rows["decoding"])


def test_less_than_a_batch_is_refused():
    done = run("bench_input_pipeline", "--files=8")
    assert done.returncode == 1 and "--files must be at least --batch_size=16" in done.stderr


def test_a_turn_is_timed_from_where_it_has_settled():
    taken = []

    def batches():
        for k in range(100):
            if k < bench_input_pipeline.SETTLED:
                clock.sleep(0.05)  # a start that costs
            taken.append(k)
            clock.sleep(0.002)
            yield k

    clock = importlib.import_module("time")
    wall, cpu = bench_input_pipeline._turn(batches, 4, 0.03)
    assert 0.0005 <= wall < 0.005  # an image, of four
    assert 0 <= cpu < 0.005  # it slept
    assert bench_input_pipeline.SETTLED + 2 <= len(taken) < 40


def test_targets_are_judged_within_rounds():
    rounds = np.array([1.0, 2.0, 4.0])  # a machine that gets busy
    wall = {
        "posts_cv2": 0.004 * rounds,
        "ours_paper": 0.001 * rounds,
        "decoding": 0.0005 * rounds[::-1],
        "grain": 0.0005 * rounds,
    }
    cpu = {"ours_paper_encoded": 1.1 * rounds, "ours_op": rounds}
    lines = input_pipeline_targets.table({448: wall}, {448: cpu})
    found = {line[0]: line[1:] for line in lines}
    assert found["448 px, ours_paper / posts_cv2"] == (
        "at least 5",
        "4",
        "missed by a factor of 1.25",
    )
    assert found["448 px, ours_paper / decoding"][1] == "0.5"  # of 2, 0.5 and 0.125
    assert found["448 px, ours_paper / grain"][1:] == ("0.5", "missed by a factor of 2.00")
    assert found["448 px, ours_paper / dali_cpu"] == ("at least 1", "-", "not measured")
    assert found["448 px, CPU, ours_paper_encoded / ours_op"] == ("at most 1.15", "1.1", "met")
    assert found["112 px, ours_paper / posts_cv2"][2] == "not measured"


def test_targets_name_providers():
    measured = {name: np.ones(3) for name in PROVIDERS}
    lines = input_pipeline_targets.table({448: measured, 112: measured}, {448: measured})
    assert all(line[2] == "1" for line in lines[1:])
