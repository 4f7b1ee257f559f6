"""Darknet's own C program as a baseline: ``darknet yolo test``, which reads paths of images."""

import dataclasses
import os
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks import memory, native

PROMPT = b"Enter Image Path: "
_SECONDS = re.compile(r": Predicted in ([\d.]+) (seconds|milli-seconds)")
_BOX = re.compile(r"^([\w ]+): (\d+)%$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the program says of one image.

    Attributes:
        seconds: of the network alone, by the wall (see ``wall_clock.cc``).
        boxes: (name, whole per cent) of every box and class above its threshold.
    """

    seconds: float
    boxes: list[tuple[str, int]]


class Program:
    """One process, which loads a network at once and then waits for images.

    A call with the path of an image gives the `Answer`. The program also decodes and resizes the
    file, draws the boxes and writes the picture (into a temporary folder), which is in the time of
    a call but not in `Answer.seconds`.

    Args:
        path: of the program; its folder must have the ``data/labels`` that it draws with.
        cfg, weights: the network's files.
        threads: as many threads as a build with OpenMP takes; one without takes one.
        threshold: least score of a box.

    Raises:
        RuntimeError: it ended; with what it said.
    """

    def __init__(self, path, cfg, weights, *, threads, threshold):
        path = Path(path).resolve()
        if not path.is_file():
            raise RuntimeError(f"there is no program {path}; give the one that was built.")
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = folder = Path(self._temporary.name)
        (folder / "data").symlink_to(path.parent / "data")
        self._log = folder / "stderr"
        files = [str(Path(file).resolve()) for file in (cfg, weights)]
        preload = f"{native.build('wall_clock.cc')}:{os.environ.get('LD_PRELOAD', '')}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(path), "yolo", "test", *files, "-thresh", str(threshold)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "LD_PRELOAD": preload},
            )
        self._read()

    def __call__(self, image) -> Answer:
        self._process.stdin.write(f"{Path(image).resolve()}\n".encode())
        self._process.stdin.flush()
        text = self._read()
        seconds = _SECONDS.search(text)
        if not seconds:
            raise RuntimeError(f"darknet: expected a line 'Predicted in', got {text!r}.")
        unit = 1000 if seconds[2].startswith("milli") else 1
        return Answer(float(seconds[1]) / unit, [(n, int(p)) for n, p in _BOX.findall(text)])

    def peak_mb(self) -> float:
        """The most memory that the process has had, in MB (10^6)."""
        return memory.resident("VmHWM", self._process.pid) / 1e6

    def close(self):
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._temporary.cleanup()

    def _read(self):
        """What it writes until it asks for the next image."""
        text = b""
        while not text.endswith(PROMPT):
            part = os.read(self._process.stdout.fileno(), 1 << 16)
            if not part:
                said = (text + self._log.read_bytes()).decode(errors="replace").strip()
                self.close()
                raise RuntimeError(f"darknet ended; its last words: {said[-300:]!r}")
            text += part
        return text[: -len(PROMPT)].decode(errors="replace")
