"""Which revision of the source this is."""

import json
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


def git_revision() -> str | None:
    """Of the checkout that this package lies in, ``-dirty`` where it has changes; of a package that
    was installed from a wheel, that which it was built from. None where nothing knows."""
    if not (PACKAGE.parent / "CMakeLists.txt").exists():  # git would find a repository around it
        return _of_the_build()
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def _of_the_build() -> str | None:
    try:
        return json.loads((PACKAGE / "_build_info.json").read_text())["revision"]
    except (OSError, ValueError, KeyError):
        return None
