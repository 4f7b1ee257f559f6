"""The small pieces under the report."""

import math
import re
import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from yolov1.reporting.charts import curves, stacked, to_svg
from yolov1.reporting.html import Html, bar, duration, escape, number, percent, table, tag


def test_everything_but_html_is_escaped():
    assert escape("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert escape(Html("<b>")) == "<b>"
    assert tag("p", "<", Html("<b>"), title='"') == '<p title="&quot;">&lt;<b></p>'
    assert '<td class="t">&lt;i&gt;</td><td class="n">3</td>' in table(None, [["<i>", 3]])


@pytest.mark.parametrize(
    "value, text",
    [(None, "–"), (math.nan, "–"), (12345, "12,345"), (0.123456, "0.1235"), (12345.6, "12,346"),
     (3.0, "3"), (0.0, "0"), (1e-7, "1e-07"), (True, "True"), ("x", "x")],
)  # fmt: skip
def test_number(value, text):
    assert number(value) == text


def test_percent_and_duration():
    assert percent(0.4567) == "45.7 %" and percent(None) == percent(math.nan) == "–"
    assert duration(61.4) == "1 min 01 s" and duration(7260) == "2 h 01 min"
    assert duration(7.4) == "7 s" and duration(None) == "–"


def test_bars_stay_on_their_track():
    assert "width:100.0%" in bar(1.7, "170 %") and "width:0.0%" in bar(-1, "")
    assert bar(None, "–") == bar(math.nan, "–") == "–"


def test_curves_leave_out_what_is_not_finite():
    x = [1, 2, 3]
    assert curves({}, title="t") == curves({"a": (x, [math.nan] * 3)}, title="t") == ""
    svg = curves({"a": (x, [1, math.nan, 3]), "b": (x, [0, -1, 2])}, title="<t>", log=True)
    assert svg.startswith("<svg ") and svg.rstrip().endswith("</svg>")
    assert 'aria-label="&lt;t&gt;"' in svg and "currentColor" in svg
    assert "#010203" not in svg and "http" not in svg


def test_parts_are_stacked():
    """Each part is an area, on top of what is below it."""
    parts = {"a": [2.0, 2.0], "nothing": [0.0, math.nan], "b": [math.nan, 8.0]}
    svg = stacked([1.0, 2.0], parts, title="t")
    assert ">a</text>" in svg and ">b</text>" in svg and "nothing" not in svg
    areas = re.findall(r'<path d="([^"]*)"[^>]* style="fill: #', svg)
    heights = [[float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", area)] for area in areas]
    (bottom, top), (low, high) = ((max(ys), min(ys)) for ys in heights)
    assert low == pytest.approx(top) and (low - high) == pytest.approx(4 * (bottom - top))


@pytest.mark.parametrize(
    "epochs, values", [([1.0], [0.0]), ([2.0, 1.0], [1.0, 1.0]), ([math.nan], [1.0])]
)
def test_nothing_to_stack(epochs, values):
    assert stacked(epochs, {"a": values}, title="t") == ""


def test_logarithmic_axes_have_plain_numbers():
    svg = curves({"loss": ([1, 2, 3], [0.02, 0.3, 4.0])}, title="loss", log=True)
    assert ">0.1<" in svg and ">0.5<" in svg and "mathdefault" not in svg


def test_epochs_are_whole():
    assert ">1.2<" not in curves({"loss": ([1, 2], [1.0, 2.0])}, title="loss", limits=(0, 1))


@pytest.mark.parametrize("names", [["_a $x$"], ["_a $x$", "$\\frac{$"]])
def test_other_figures_take_the_same_look(names):
    figure = Figure(figsize=(9, 9), layout="constrained")
    axes = figure.add_subplot()
    for name in names:
        axes.plot([0, 1], [1, 0], label=name)
    axes.legend(axes.get_lines(), ["" for _ in names])
    svg = to_svg(figure, "lines")
    assert 'viewBox="0 0 388.8 223.2"' in svg  # 5.4 x 3.1 inches in points
    for name in names:
        assert svg.count(f"{name}</text>") == 1


def test_names_that_are_no_utf8_are_drawn_as_far_as_they_are():
    figure = Figure()
    axes = figure.add_subplot()
    for name in ("caf\udce9", "b"):
        axes.plot([0, 1], [1, 0], label=name)
    assert to_svg(figure, "lines").count("caf?</text>") == 1


def test_reporting_needs_no_tensorflow():
    code = "import sys, yolov1.reporting; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
