"""Which revision of the source this is."""

import hashlib
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


def digest_of_package() -> str:
    """Of the package's Python files, and of what its native libraries were built from."""
    total = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        total.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    info = PACKAGE / "_build_info.json"
    if info.exists():
        total.update(json.loads(info.read_text())["sources"].encode())
    return total.hexdigest()[:16]


def _of_the_build() -> str | None:
    try:
        return json.loads((PACKAGE / "_build_info.json").read_text())["revision"]
    except (OSError, ValueError, KeyError):
        return None
