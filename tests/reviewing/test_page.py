"""The page shows what it says, escapes what others wrote, and stays as small as it is told."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.reviewing.labels import SIZE, dataset, detections, example
from yolov1.data import Dataset
from yolov1.reviewing import page, pictures, suspects

A, B = (0.1, 0.1, 0.3, 0.5), (0.5, 0.1, 0.7, 0.5)


def render(found, labels, **options):
    return page.render(found, labels, title="Review", facts={"labels": 3}, **options)


def test_suspects_in_order_and_the_rest_left_out():
    labels = dataset([("cat", A)], [("cat", A)])
    found = suspects(detections([("dog", A, 0.9)], [("dog", B, 0.8)]), labels)
    text = render(found, labels)
    assert text.count('<figure id="s') == len(found) == 3
    assert text.index('id="s1"') < text.index('id="s2"') < text.index('id="s3"')
    assert ">All<" in text and "rename cat to dog" in text and "add dog" in text
    few = render(found, labels, most=1)
    assert few.count("<figure") == 1 and "The first 1 of 3" in few
    assert "<figure" not in render(found, labels, most=0)


def test_nothing_suspected():
    text = render([], dataset([("cat", A)]))
    assert "<figure" not in text and "What is suspected" in text


def test_what_others_wrote_is_escaped():
    names = ("<i>cat</i>", "dog", "fox")
    one = example("<script>alert(1)</script>", [("cat", A)])
    labels = Dataset([one], names, notes=[("a.xml", "box 1 <b> has no area")])
    text = render(suspects(detections([]), labels), labels, warnings=["<u>mind"])
    assert "<script>" not in text and "<i>cat" not in text and "<u>mind" not in text
    assert "remove &lt;i&gt;cat&lt;/i&gt;" in text and "box 1 &lt;b&gt; has no area" in text
    assert "What the reader noted: 1<" in text


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_picture_shows_the_label_where_it_is(orientation):
    """A red square on grey that is labelled: the frame is around it, whichever way it is turned."""
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    pixels[10:50, 20:60] = (0, 255, 0)
    one = example("a", [("cat", A)])
    one.draw, one.orientation = lambda: pixels, orientation
    (suspect,) = suspects(detections([]), Dataset([one], ("cat", "dog", "fox")))
    picture = pictures.draw(suspect, one, ("cat", "dog", "fox"))
    assert picture.shape == (pictures.SIDE, pictures.SIDE, 3)
    side = pictures.SIDE / pictures.AROUND
    low, high = (pictures.SIDE - side) / 2, (pictures.SIDE + side) / 2
    green = np.argwhere((picture[..., 1] > 200) & (picture[..., 0] < 100))
    assert green.min(axis=0) == pytest.approx([low, low], abs=25)  # the name covers some rows
    assert green.max(axis=0) == pytest.approx([high, high], abs=8)
    with Image.open(io.BytesIO(pictures.jpeg(picture))) as read:
        assert read.format == "JPEG" and read.size == (pictures.SIDE, pictures.SIDE)
