"""The README's Python runs as it stands there; commands on every page name what exists."""

import re

import pytest

from tests.shared import ROOT

EXTRAS = ("onnxruntime", "ai_edge_litert", "openvino")  # imported in blocks of docs/export.md
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/data.md", "docs/darknet.md", "docs/export.md"])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    left_out = []
    for block in blocks:
        try:
            exec(compile(block, page, "exec"), {})
        except ImportError as error:  # of an extra, which is not installed everywhere
            if (error.name or "") not in EXTRAS:
                raise
            left_out.append(error.name)
    assert len(blocks) > len(left_out), left_out


PAGES = ["README.md", "benchmarks/README.md"]
PAGES += [*sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_files_exist(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r"python -m experiments\.(\w+)", text):
        assert (ROOT / "experiments" / f"{name}.py").exists(), name
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for name in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", text, flags=re.MULTILINE):
        assert "".join(name) in targets, name
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_flags_of_commands_exist(page):
    from yolov1.training import TrainConfig

    fields = set(TrainConfig.__dataclass_fields__)
    text = (ROOT / page).read_text()
    for name, command in re.findall(r"python -m experiments\.(\w+)((?:[^`\n]*\\\n)*[^`\n]*)", text):
        source = (ROOT / "experiments" / f"{name}.py").read_text()
        for shared in ("posts", "detectors", "recipes", "saving", "streams"):
            if f"{shared}.define(" in source:
                source += (ROOT / "experiments" / "lib" / f"{shared}.py").read_text()
        if "posts.define(" in source:
            source += "experiment_flags.define()"
        # What stands after -- is another program's: experiments.study hands it on to train.
        command, _, handed_on = command.partition(" -- ")
        assert set(re.findall(r"--(\w+)", handed_on)) <= fields | {"debug", "recipe"}, handed_on
        own = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source)) | {"debug", "help"}
        taken = fields if "flags.define()" in source else {f for f in fields if f'"{f}"' in source}
        for flag in re.findall(r"--(\w+)", command):
            assert flag in own | taken, f"experiments.{name} has no --{flag}"
