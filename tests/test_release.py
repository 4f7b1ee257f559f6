"""What a release says of itself is said once, or is the same everywhere."""

import re

import yaml

import yolov1
from tests.shared import ROOT


def test_the_version_is_the_same_everywhere():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = [name for name in re.findall(r"^## (\S+)", changes, re.M) if name != "Unreleased"]
    assert released[0] == yolov1.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == yolov1.__version__


def test_workflows_and_forms_are_read_and_ask_for_the_doctor():
    files = sorted((ROOT / ".github").rglob("*.yml"))
    assert len(files) >= 5 and all(yaml.safe_load(path.read_text()) for path in files)
    bug = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text()
    template = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert "yolov1 doctor" in bug and "yolov1 doctor" in template
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: .ci/run" in ci  # the same steps
