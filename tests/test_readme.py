"""Pages: their Python runs as it stands there, their commands are taken, their links lead on."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from tests import programs
from tests.shared import ROOT, shared

PAGES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "kernels/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
EXTRAS = ("onnxruntime", "ai_edge_litert", "openvino", "jax")  # imported in blocks of some pages
SLOW = ("docs/reproducing-the-posts.md", "docs/export.md")  # 115 million parameters; every format
FOLLOWED = ("docs/start.md", "docs/your-own-data.md", "docs/low-map.md")
SMALL = ("--image_size=64", "--S=8")
SHORT = {
    "experiments.train": ("--epochs=2", *SMALL),
    "experiments.overfit_one_batch": ("--steps=20", *SMALL),
}


def blocks(page, language) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[page], flags=re.DOTALL)


def commands(text) -> list[tuple[str, list[str]]]:
    """(module, arguments) of each ``python -m`` in it."""
    found = re.findall(r"python -m ((?:experiments|benchmarks)(?:\.\w+)+)([^`\n|<>]*)", join(text))
    return [(module, shlex.split(rest, comments=True)) for module, rest in found]


def join(text) -> str:
    """Without the ends of lines that go on."""
    return re.sub(r"\\\n\s*", "", text)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder as the pages speak of it: with the data beside it, and what some blocks read."""
    (tmp_path / "shared").symlink_to(ROOT.parent / "shared")
    work = tmp_path / "work"
    for folder in ("DIR/VOCdevkit", "images/test", "labels/test"):
        (work / folder).mkdir(parents=True)
    (work / "DIR/VOCdevkit/VOC2007").symlink_to(tmp_path / "shared/data/voc2012mini")
    Image.new("RGB", (320, 240), "gray").save(work / "images/test/0001.jpg")
    (work / "labels/test/0001.txt").write_text("0 0.5 0.4 0.2 0.6\n")
    labels = {"0001": [{"label": 0, "bounding_box": [0.4, 0.1, 0.2, 0.6]}]}
    (work / "labels.json").write_text(json.dumps({"classes": ["Person"], "labels": labels}))
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
        for page in PAGES
        if blocks(page, "python")
    ],
)
def test_python_blocks_run(page, place):
    if "DIR" in "".join(blocks(page, "python")):
        shared("data")
    left_out, names = [], {}
    for block in blocks(page, "python"):
        try:
            exec(compile(block, page, "exec"), names)
        except ImportError as error:  # of an extra, which is not installed everywhere
            if (error.name or "") not in EXTRAS:
                raise
            left_out.append(error.name)
    assert len(blocks(page, "python")) > len(left_out), left_out


@pytest.mark.parametrize("page", PAGES)
def test_targets_and_links_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for name in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", TEXTS[page], flags=re.MULTILINE):
        assert "".join(name) in targets, name
    for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", TEXTS[page]):
        if link.startswith("http"):
            continue
        path = (ROOT / page).parent.joinpath(link) if link else ROOT / page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{link}#{anchor}"


def anchors(text) -> set[str]:
    """What the headings of a page are called in links, on GitHub and in the site."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_programs_take_their_commands(page):
    """The flags of every command on every page, with the values that it gives them."""
    for module, arguments in commands(TEXTS[page]):
        handed_on = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
        calls = [(module, arguments)]
        if handed_on and module.startswith("experiments."):  # study and launch hand it on to train
            calls.append(("experiments.train", handed_on))
        for name, words in calls:
            done = programs.parse(name, *words)
            missing = "must have a value other than None" in done.stderr  # named in a sentence
            assert done.returncode == 0 or (missing and not words), (
                name,
                words,
                done.stderr[-600:],
            )


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED)
def test_commands_run(page, place):
    """The commands of a page that is followed from top to bottom, in one folder."""
    shared("data", "bccd")
    if "--format=onnx" in TEXTS[page]:
        pytest.importorskip("tf2onnx")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    called = commands("\n".join(blocks(page, "sh")))
    for module, arguments in called:
        words = [sys.executable, "-m", module, *arguments, *SHORT.get(module, ())]
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    assert called


def test_every_experiment_stands_in_the_table():
    named = re.findall(r"^\| .*\| `(\w+)` \|", TEXTS["docs/experiments.md"], flags=re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "experiments").glob("[a-z]*.py"))


def test_every_package_has_its_api_page():
    told = re.findall(r"automodule:: yolov1\.(\w+)$", "\n".join(TEXTS.values()), re.MULTILINE)
    packages = {path.parent.name for path in (ROOT / "yolov1").glob("*/__init__.py")}
    assert packages <= set(told), packages - set(told)


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    """Sphinx finds nothing to warn of: no link without an end, no page without a place."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [*words, ".", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "docs/index.html").exists() and (tmp_path / "searchindex.js").exists()
    loaded = re.findall(
        r'(?:src|<link[^>]*href)="(https?:[^"]*)"',
        "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")),
    )
    assert not loaded, "a page must need no network"
