"""docs/licences.md names every package that pyproject.toml asks for, under its extra."""

import re
import tomllib

from tests.shared import ROOT


def test_every_package_is_listed():
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = file["project"]
    wanted = {("", name) for name in [*project["dependencies"], *file["build-system"]["requires"]]}
    for extra, packages in project["optional-dependencies"].items():
        wanted |= {(extra, name) for name in packages}
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines()]
    listed = set()
    for row in rows:
        for name in row[-2].split(", ") if len(row) > 1 else ():
            listed.add((row[0] if len(row) == 3 else "", name))
    for extra, requirement in wanted:
        name = re.match(r"[\w.\-]+", requirement)[0]
        assert {(extra, name), ("", name)} & listed, f"{extra}: {name}"
