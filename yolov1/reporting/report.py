"""The page as a whole."""

from pathlib import Path

from yolov1.files import replacing
from yolov1.reporting.html import tag
from yolov1.reporting.page import page
from yolov1.reporting.run_files import RunFiles, read_run
from yolov1.reporting.sections import SECTIONS, headline, subtitle

NAME = "report.html"


def write_report(run_dir) -> Path:
    """Writes ``report.html`` into a run directory: one page, complete in itself.

    Parts that the run does not have (yet) are left out and named at the foot of the page, so it can
    be called at any time, also while training goes on.

    Args:
        run_dir: the directory that `experiments.train` writes.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    run = read_run(run_dir)
    path = run.path / NAME
    with replacing(path, errors="replace") as file:  # file names may be bytes
        file.write(render(run))
    return path


def render(run: RunFiles) -> str:
    """The page as text."""
    title = run.path.resolve().name
    parts = [tag("h1", title), subtitle(run), headline(run)]
    for heading, part in SECTIONS:
        content = part(run)
        if content:
            parts.append(tag("section", tag("h2", heading), content))
    if run.missing:
        absent = "; ".join(f"{name} ({why})" for name, why in run.missing)
        parts.append(tag("footer", "Not shown: ", absent, "."))
    return page(title, parts)
