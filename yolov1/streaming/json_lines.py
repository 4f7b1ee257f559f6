"""What was found, a line of JSON for every frame."""

import json
import threading
from pathlib import Path

from yolov1.files import naming


class JsonLines:
    """A file that grows by a whole line at a time, so that it can be followed while it is written;
    use it in a ``with``.

    Of a frame: ``{"frame": 0, "seconds": 0.0, "height": .., "width": .., "detections": [{"class":
    .., "score": .., "box_xyxy": [..]}]}``, boxes in pixels of the frame, and ``"file"`` where it
    has one. Of a file that cannot be read: ``{"file": .., "unreadable": reason}``.
    """

    def __init__(self, path, classes):
        self.classes = classes
        self.frames = self.detections = self.unreadable = 0
        self._path = Path(path)
        self._file = self._path.open("w", encoding="utf-8")
        self._lock = threading.Lock()  # files that cannot be read are told by another thread

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with naming(self._path):
            self._file.close()

    def write(self, result, **more) -> dict:
        """Adds what was found in a frame, and returns it; `more` are further entries."""
        frame, size = result.frame, result.frame.image.shape[:2]
        row = {
            "frame": frame.index,
            "seconds": round(frame.seconds, 6),
            **({} if frame.name is None else {"file": frame.name}),
            **more,
            "height": size[0],
            "width": size[1],
            "detections": result.detections.to_json(self.classes, size),
        }
        self.frames += 1
        self.detections += len(result.detections)
        self._add(row)
        return row

    def report(self, entry):
        """Adds a file that cannot be read, ``{"file": ..., "reason": ...}``; from any thread."""
        self.unreadable += 1
        self._add({"file": entry["file"], "unreadable": entry["reason"]})

    def _add(self, row):
        with self._lock, naming(self._path):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
