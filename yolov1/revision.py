"""Which revision of the source this is."""

import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """Of the checkout that this package lies in, ``-dirty`` where it has changes; None without."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
