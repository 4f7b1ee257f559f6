import numpy as np
import pytest

from tests.evaluation.test_average_precision import random_images
from tests.evaluation.test_matching import truth
from yolov1 import fonts
from yolov1.evaluation import evaluate, plots
from yolov1.inference import Detections

CLASSES = ("cat", "dog", "car", "bottle")


@pytest.fixture(scope="module")
def result():
    found, truths = random_images(np.random.default_rng(0), images=30)
    return evaluate(found, truths, classes=CLASSES)


@pytest.fixture(scope="module")
def nothing():
    return evaluate([Detections.empty()], [truth([])], classes=CLASSES)


def test_a_curve_per_class_with_objects(result):
    (axes,) = plots.precision_recall(result).axes
    labels = [line.get_label() for line in axes.lines]
    assert sorted(label.split()[0] for label in labels) == ["car", "cat", "dog"]
    for line in axes.lines:
        name, area = line.get_label().split()
        assert float(area) == pytest.approx(result["classes"][name]["ap_area"], abs=5e-4)
        np.testing.assert_array_equal(line.get_xdata()[1:], result["classes"][name]["recall"])
        np.testing.assert_array_equal(line.get_ydata()[1:], result["classes"][name]["precision"])
        assert line.get_xdata()[0] == 0


def test_chosen_classes(result):
    (axes,) = plots.precision_recall(result, ["dog"]).axes
    assert len(axes.lines) == 1
    with pytest.raises(ValueError, match="no class horse; there are cat, dog, car, bottle"):
        plots.precision_recall(result, ["horse"])


def test_bars_are_the_values(result):
    (axes,) = plots.average_precision_bars(result).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert set(names) == {"cat", "dog", "car"}
    for container, metric in zip(axes.containers, ("voc07", "area", "coco"), strict=True):
        widths = [bar.get_width() for bar in container]
        assert widths == [result["classes"][name][f"ap_{metric}"] for name in names]
    assert [line.get_xdata()[0] for line in axes.lines] == [
        result[f"map_{metric}"] for metric in ("voc07", "area", "coco")
    ]


def test_shares_of_errors_fill_the_bar(result):
    (axes,) = plots.error_bars(result).axes
    assert len(axes.containers) == 5
    totals = np.sum([[bar.get_width() for bar in kind] for kind in axes.containers], axis=0)
    np.testing.assert_allclose(totals, 1)
    assert len(totals) == 4  # three classes and their mean


@pytest.mark.parametrize("which", ["result", "nothing"])
def test_files_are_written(which, request, tmp_path):
    paths = plots.write(request.getfixturevalue(which), tmp_path / "plots")
    assert [path.name for path in paths] == [
        "precision_recall.png",
        "average_precision.png",
        "errors.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


ODD = ("US$ and CA$", "$$", "a$_$b", "_hidden", "mean", "a/b:c.d", r"\$\frac{$", "猫")


@pytest.fixture(scope="module")
def odd():
    """What a few images give, each class with figures of its own."""
    found, truths = random_images(np.random.default_rng(0), images=30)
    result = evaluate(found, truths, classes=CLASSES)
    figures = [result["classes"][name] for name in ("cat", "dog", "car")]
    classes = {name: figures[k % 3] | {"truth": 50 - k} for k, name in enumerate(ODD)}
    return result | {"classes": classes}


def drawn(texts):
    """What is drawn of texts, mathematics and escapes resolved."""
    return [text._preprocess_math(text.get_text()) for text in texts]


@pytest.mark.filterwarnings("error")
def test_names_are_shown_as_they_are(odd, no_other_font, tmp_path):
    with pytest.warns(UserWarning, match="class names 猫"):
        names = fonts.readable(ODD)
    assert names == (*ODD[:-1], "class 7")
    (axes,) = plots.precision_recall(odd).axes
    legend = drawn(axes.get_legend().get_texts())
    areas = [f"{odd['classes'][name]['ap_area']:.3f}" for name in ODD]
    assert legend == [(f"{n} {a}", False) for n, a in zip(names, areas, strict=True)]
    (axes,) = plots.average_precision_bars(odd).axes
    assert sorted(drawn(axes.get_yticklabels())) == sorted((name, False) for name in names)
    figure = plots.error_bars(odd)
    (axes,) = figure.axes
    expected = [*names[::-1], "mean of the classes"]
    assert drawn(axes.get_yticklabels()) == [(name, False) for name in expected]
    for container, kind in zip(axes.containers, odd["errors"], strict=True):
        shares = [odd["classes"][name]["errors"][kind] for name in ODD[::-1]]
        widths = [bar.get_width() for bar in container]
        assert widths == pytest.approx([*shares, odd["errors"][kind]])
    assert len(plots.write(odd, tmp_path)) == 3
    figure.savefig(tmp_path / "again.png")  # outside of what made it
    assert drawn(axes.get_yticklabels()) == [(name, False) for name in expected]
