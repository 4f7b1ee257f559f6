"""The command ``yolov1``: the experiments, and the doctor, by name.

yolov1                      # what there is
yolov1 train --epochs=3     # python -m experiments.train --epochs=3 in a checkout
"""

import ast
import difflib
import importlib.util
import runpy
import sys
from pathlib import Path

UNKNOWN = 2  # what a shell calls a command line that is wrong


def main() -> int:
    name, *arguments = sys.argv[1:] or ["--help"]
    known = programs()
    if name in ("--help", "-h", "help"):
        return show(known)
    if name not in known:
        close = difflib.get_close_matches(name, known)
        meant = f"Did you mean {' or '.join(close)}? " if close else ""
        print(f"yolov1: no program {name!r}. {meant}`yolov1` lists them.", file=sys.stderr)
        return UNKNOWN
    # As of ``python -m``: the package of the experiments looks for it, see there.
    sys.argv = ["-m", *arguments]
    runpy.run_module(known[name][0], run_name="__main__", alter_sys=True)
    return 0


def programs() -> dict[str, tuple[str, Path]]:
    """Module and file of each program, by name; nothing is imported."""
    found = {"doctor": ("yolov1.doctor", Path(__file__).with_name("doctor.py"))}
    # Installed, the experiments are a part of the package; in a checkout they lie beside it.
    for package in ("yolov1.experiments", "experiments"):
        if spec := importlib.util.find_spec(package):
            for path in Path(spec.submodule_search_locations[0]).glob("[a-z]*.py"):
                found[path.stem] = (f"{package}.{path.stem}", path)
            break
    return dict(sorted(found.items()))


def show(known) -> int:
    width = max(map(len, known))
    lines = ["yolov1 NAME [--FLAG=VALUE ...]; yolov1 NAME --help has the flags.", ""]
    for name, (_, path) in known.items():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        lines.append(f"  {name:{width}}  {text.partition(chr(10))[0]}")
    lines += ["", "Where a text says `python -m experiments.NAME`, the command is `yolov1 NAME`."]
    print("\n".join(lines))  # in one piece: `yolov1 | head` is no error
    return 0


if __name__ == "__main__":
    sys.exit(main())
