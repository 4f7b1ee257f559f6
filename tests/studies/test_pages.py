"""Tables and pages of made up trials."""

import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("scipy", reason="the extra study is not installed")

from yolov1.studies import page, parts, plan, results, search_page


def trial(variant, seed, figure, state="finished"):
    return results.Trial(
        variant.name,
        seed,
        f"{variant.folder}/seed-{seed}",
        dict(variant.flags),
        state=state,
        figures={"map_area": figure, "seconds": 100.0} if state == "finished" else {},
        error=["error: <b>full</b>", "(exit status 1; x.log)"] if state == "failed" else [],
        environment={"git_revision": f"r{seed % 2}", "gpus": []},
    )


@pytest.fixture(scope="module")
def study():
    """(what its summary.json holds, the curves)."""
    variants = plan.with_folders(plan.grid({"x": ["1", "2", "<i>"]}))
    base = [0.5, 0.52, 0.54]
    rows = [trial(variants[0], seed, figure) for seed, figure in enumerate(base)]
    rows += [trial(variants[1], seed, f + 0.1 + seed / 1e3) for seed, f in enumerate(base)]
    rows += [trial(variants[2], 0, 0.5), trial(variants[2], 1, 0, "failed")]
    found = results.summarise(rows, variants, "x=1", "map_area")
    found |= {
        "trials": results.trials_as_dicts(rows),
        "environment": results.environments(rows),
        "command": "study",
    }
    curves = {r.path: {"map_area": [(1, 0.1), (2, 0.5 + r.seed / 10)]} for r in rows[:-1]}
    return found, curves, rows


class Checked(HTMLParser):
    """Elements that are closed in order; what is linked, and loaded."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.loads = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs["href"]] if tag == "a" else []
        self.loads += [attrs[k] for k in ("src", "srcset") if k in attrs]
        if tag not in ("meta", "img", "br", "input", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def checked(text):
    parser = Checked()
    parser.feed(text)
    assert not parser.open and not parser.loads and "<script" not in text
    return parser


def test_the_table(study):
    found, _, _ = study
    lines = results.table(found, "map_area").splitlines()
    assert lines[1].split()[:3] == ["x=1", "3", "0.5200"] and "baseline" in lines[1]
    assert "+0.1010" in lines[2] and lines[3].split()[:4] == ["x=<i>", "1", "(1", "failed)"]
    assert "It is better." in found["variants"]["x=2"]["sentence"]


def test_less_may_be_better(study):
    found = results.summarise(study[2], plan.grid({"x": ["1", "2"]}), "x=2", "map_area")
    assert found["variants"]["x=1"]["sentence"].endswith("It is worse.")
    rows = [trial(v, s, 0.0) for v in plan.grid({"x": ["1", "2"]}) for s in range(3)]
    for row, seconds in zip(rows, (9.0, 9.1, 9.3, 7.0, 7.2, 7.3), strict=True):
        row.figures["seconds"] = seconds
    found = results.summarise(rows, plan.grid({"x": ["1", "2"]}), "x=1", "seconds")
    assert found["variants"]["x=2"]["sentence"].endswith("It is better.")


def test_the_page(study):
    found, curves, _ = study
    text = page.of_study("study", found, curves)
    links = checked(text).links
    assert links == [f"x%3D{x}/seed-{s}/report.html" for x in (1, 2) for s in range(3)] + [
        f"{study[2][6].path.split('/')[0].replace('=', '%3D')}/seed-{s}/report.html" for s in (0, 1)
    ]
    assert text.count("<circle") == 3 + 3 + 1 + 3 + 1  # figures, and differences
    assert "&lt;b&gt;full&lt;/b&gt;" in text and "<b>full" not in text
    assert "The trials are of several revisions." in text and "r0, r1" in text
    assert found["variants"]["x=2"]["sentence"].split(";")[0] in text
    # The dots of one strip lie as the figures do.
    (strip,) = re.findall(
        r'<svg class="strip"[^>]*aria-label="0.5000, 0.5200, 0.5400".*?</svg>', text
    )
    x = [float(found) for found in re.findall(r'cx="([0-9.]+)"', strip)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2) and x[0] < x[1]


def test_a_single_point_is_no_curve(study):
    found, curves, _ = study
    single = {path: {"map_area": [(10, 0.5)]} for path in curves}
    assert "Learning curves" not in page.of_study("study", found, single)
    assert "Learning curves" in page.of_study("study", found, curves)


def test_a_page_of_nothing():
    """As it is written when the first trial fails."""
    variants = plan.with_folders(plan.grid({"x": ["1", "2"]}))
    rows = [trial(v, 0, 0, "failed") for v in variants]
    found = results.summarise(rows, variants, "x=1", "map_area")
    more = {"trials": results.trials_as_dicts(rows), "environment": {}, "command": ""}
    checked(page.of_study("study", found | more, {row.path: {} for row in rows}))
    assert results.table(found, "map_area").count("(1 failed)") == 2


def test_the_mean_is_of_the_epochs_that_all_have():
    assert parts.mean_curve([[(1, 0.0), (2, 1.0)], [(1, 2.0)]]) == [(1, 1.0)]
    assert parts.mean_curve([]) == []


def test_the_page_of_a_search():
    rows = [trial(plan.Variant((("x", str(k)),), f"trial-00{k}"), 0, 0.1 * k) for k in (1, 2)]
    for k, row in enumerate(rows):
        row.variant = f"trial-00{k}"
    attempts = [
        {"trial": r.variant, "flags": {"x": "1e-3", "y": "a"}, "state": "finished", "value": v}
        | {"error": ""}
        for r, v in zip(rows, (0.1, 0.2), strict=True)
    ]
    attempts.append(attempts[0] | {"trial": "trial-002", "state": "pruned", "value": None})
    found = {
        **{"measure": "map_area", "varied": ["x", "y"], "attempts": attempts, "command": ""},
        "importance": {"x": 0.75, "y": 0.25},
        "best": {"trial": "trial-001", "value": 0.2, "flags": {"x": "1e-3", "y": "a"}},
        **{"trials": results.trials_as_dicts(rows), "environment": {}},
    }
    curves = {row.path: {"map_area": [(1, 0.1), (2, 0.2)]} for row in rows}
    text = search_page.of_search("search", found, curves)
    checked(text)
    assert "2 finished, 1 pruned" in text and "--x=1e-3 --y=a" in text and "75.0 %" in text
    lines = results.table_of_search(found).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["trial-001", "trial-000", "trial-002"]


def test_figures_of_a_summary():
    found = results.figures_of({"a": 1, "b": {"c": 0.5, "d": None, "e": True}, "f": "x"})
    assert found == {"a": 1, "b.c": 0.5}
    results.require_figure("ap_per_class.circle")
    with pytest.raises(ValueError, match="--measure must be a figure"):
        results.require_figure("map")
