"""The report's section on watched images: what it shows, and that it stays small."""

import base64
import io
import re

import numpy as np
from PIL import Image

from tests.reporting.test_report import read
from yolov1.data import Example
from yolov1.grid import GridSpec
from yolov1.microscope.record import describe
from yolov1.reporting import watched
from yolov1.reporting.run_files import read_run
from yolov1.semantics import LossSemantics

GRID = GridSpec(S=3, B=2, C=2, image_size=48)
NAMES = ("<b>a</b>", "猫")


def record(images=2, evaluations=14):
    """Two objects in the first cell, one of them lost; box 1 is responsible from evaluation 5 on;
    nothing else changes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    boxes = [[0.1, 0.1, 0.2, 0.2], [0.15, 0.1, 0.3, 0.2]]
    examples = [
        Example(f"<i>{k}", boxes, [0, 1], [False] * 2, (40, 60), draw=lambda: pixels)
        for k in range(images)
    ]
    sets = ["evaluation"] * images
    made = describe(examples, sets, NAMES, GRID, LossSemantics(), "first", watch="hard:<2>")
    for e in range(evaluations):
        shape = images, GRID.cells
        responsible = np.zeros((*shape, 2), bool)
        responsible[:, 0, int(e >= 5)] = True
        detections = np.full((images, 30, 6), np.nan, np.float32)
        detections[:, 0] = 0, 0, 0.5, 0.5, 0.9, 0
        seen = {
            "terms": np.full((*shape, 5), 1 / (e + 1), np.float32),
            "gradient": np.ones(shape, np.float32),
            "responsible": responsible,
            "iou": np.full((*shape, 2), 0.8, np.float32),
            "confidence": np.full((*shape, 2), 0.4, np.float32),
            "detections": detections,
        }
        made = made.added(10 * (e + 1), 100 * (e + 1), seen)
    return made


def strips(run_dir):
    text = (run_dir / "report.html").read_text()
    section = text.partition("<h2>Watched images</h2>")[2].partition("</section>")[0]
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", section)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_a_run_with_watched_images(run_dir):
    record().write(run_dir / "watched.npz")
    page = read(run_dir)
    assert "Watched images" in page.headings and not page.tags & {"i", "script"}
    for text in (
        "hard:<2>: 2 images with 4 objects, of which 2 lost their cell to another; 14 evaluations.",
        "<i>0: loss 45 → 3.21",  # nine cells and five terms: 45 / 1 and 45 / 14
        "evaluation set; objects: 2; cell 0, 0: 猫 lost to <b>a</b>; churn, mean: 7.7 %",
    ):
        assert text in page.text, text
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert {
        *("Object cells whose responsible box changed", "Responsible boxes: confidence over IoU"),
        *("Responsible boxes: IoU and confidence", "Terms of a watched image", "Terms of <i>1"),
    } < set(labels)
    sizes = {picture.size for picture in strips(run_dir)}
    assert sizes == {(10 * 102 + 9 * 3, 16 + 2 * 102 + 3)}  # ten evaluations of fourteen
    first = (run_dir / "report.html").read_bytes()
    read(run_dir)
    assert (run_dir / "report.html").read_bytes() == first


def test_a_frame_is_where_another_box_became_responsible():
    made = record(1)
    moved = {e: list(watched._moved(made, 0, e)) for e in range(len(made))}
    assert moved == dict.fromkeys(range(len(made)), []) | {5: [0]}


def test_an_evaluation_alone(run_dir):
    record(1, 1).write(run_dir / "watched.npz")
    page = read(run_dir)
    assert "1 evaluations" in page.text and "churn, mean" not in page.text
    assert [picture.size for picture in strips(run_dir)] == [(102, 223)]


def test_the_page_stays_small(run_dir, monkeypatch):
    monkeypatch.setattr(watched, "MAX_BYTES", 400_000)
    record(5, 14).write(run_dir / "watched.npz")
    page = read(run_dir)
    shown = len(strips(run_dir))
    assert 1 <= shown < 5 and f"{5 - shown} more in watched.npz." in page.text


def test_a_damaged_record_is_named(run_dir):
    for content in (b"PK\3\4", b"{}", b""):
        (run_dir / "watched.npz").write_bytes(content)
        run = read_run(run_dir)
        assert run.watched is None
        assert dict(run.missing)["watched.npz"].startswith("unreadable"), content
    page = read(run_dir)
    assert "Watched images" not in page.headings and "watched.npz (unreadable" in page.text
