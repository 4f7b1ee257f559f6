"""The files that other machines read (workflows, image) and what they call hang together; what a
release says of itself is the same everywhere."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml

import yolov1
from tests.shared import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def pythons():
    """Those of pyproject.toml: '>=3.11,<3.14' is 3.11, 3.12 and 3.13."""
    low, high = re.findall(r"3\.(\d+)", PROJECT["project"]["requires-python"])
    return [f"3.{minor}" for minor in range(int(low), int(high))]


def jobs(name):
    return yaml.safe_load((ROOT / ".github/workflows" / name).read_text())["jobs"]


def steps(job, key):
    return [step[key] for step in job["steps"] if key in step]


def test_ci_runs_what_a_developer_runs_with_every_python():
    (job,) = jobs("ci.yml").values()
    assert steps(job, "run") == [".ci/run"]
    assert job["strategy"]["matrix"]["python"] == pythons()
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"  # which the Makefile takes
    assert "PYTHON ?=" in (ROOT / "Makefile").read_text()


def test_a_release_has_a_wheel_for_every_python():
    release = jobs("release.yml")
    assert release["wheels"]["strategy"]["matrix"]["python"] == pythons()
    built = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp{version.replace('.', '')}-*" for version in pythons()]
    assert PROJECT["tool"]["cibuildwheel"]["repair-wheel-command"].startswith(".ci/repair_wheel ")
    assert set(release["release"]["needs"]) == set(release) - {"release"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_whole_and_its_actions_are_pinned(path):
    workflow = yaml.safe_load(path.read_text())
    assert set(workflow) == {"name", True, "permissions", "jobs"}  # YAML takes `on` for a boolean
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] == "ubuntu-24.04", name  # `latest` is another one some day
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
        for action in steps(job, "uses"):
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("script", [".ci/run", ".ci/repair_wheel"])
def test_the_scripts_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_what_ci_asks_for_exists():
    text = (ROOT / ".ci/run").read_text()
    extras = re.search(r'^extras="([^"]+)"', text, re.MULTILINE)[1].split()
    assert 'EXTRAS="$extras"' in text
    assert "dev" in extras and set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    targets = re.findall(r'^make "\$@" ([a-z-]+)', text, re.MULTILINE)
    assert targets and set(targets) <= set(TARGETS)


def dockerfile():
    """[(instruction, its words)], as Docker splits it: comments away, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_image_is_made_by_the_two_commands():
    known = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT"}
    written = dockerfile()
    assert {name for name, _ in written} == known
    commands = [words for name, words in written if name == "RUN" and words.startswith("make ")]
    readme = (ROOT / "README.md").read_text()
    two = re.search(r"## Two commands.*?```sh\n(.*?)```", readme, re.DOTALL)[1]
    assert commands == re.findall(r"^(make \S+)", two, re.MULTILINE)
    (base,) = (words for name, words in written if words.startswith("BASE="))
    assert re.match(r"BASE=python:(3\.\d+)-slim", base)[1] in pythons()


def test_stages_begin_with_those_above_and_the_last_one_knows_the_command():
    stages = []
    for name, words in dockerfile():
        if name == "FROM":
            source, *named = words.split(" AS ")
            assert source in ("${BASE}", *stages)
            stages += named or ["last"]
        elif name == "ENTRYPOINT":
            assert stages[-1] == "last"
            (program,) = yaml.safe_load(words)
            assert program in PROJECT["project"]["scripts"]
    assert stages == ["base", "trained", "tested", "last"]


def test_what_git_ignores_stays_out_of_the_image():
    def patterns(name):
        written = (ROOT / name).read_text().splitlines()
        return {
            line.strip("/").removeprefix("**/") for line in written if line[:1] not in ("", "#")
        }

    assert patterns(".dockerignore") == patterns(".gitignore")


def test_the_version_is_the_same_everywhere():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = [name for name in re.findall(r"^## (\S+)", changes, re.M) if name != "Unreleased"]
    assert released[0] == yolov1.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == yolov1.__version__


def test_forms_ask_for_the_doctor():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 2 and all(yaml.safe_load(path.read_text()) for path in forms)
    bug = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    template = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert "yolov1 doctor" in bug and "yolov1 doctor" in template
