"""The other detector of `bench_detectors`: Ultralytics' YOLO, by its own interpreter.

    PEER_PYTHON -I benchmarks/detectors_peer.py train JOB.json
    PEER_PYTHON -I benchmarks/detectors_peer.py serve WEIGHTS IMAGE_SIZE THREADS SETTINGS

It is nobody's dependency: neither this project nor its benchmarks are installed beside it, so that
this file imports the standard library and, when it is run, `ultralytics` by its public names.

`serve` answers requests, a line of JSON each, on standard output; what else is printed goes to
standard error. The same for ours, `benchmarks.detectors_ours`:

    {"do": "describe", "image": PATH}             -> parameters, multiply_adds, input, program
    {"do": "detect", "images": [PATH, ..]}        -> found: of each image [[x0, y0, x1, y1, score,
                                                     label], ..] in pixels, with AP's threshold
    {"do": "time", "images": [..], "threshold": T} -> seconds an image, one after another, from
                                                     pixels in memory to boxes; said: the program's
                                                     own account of it, where it has one
"""

import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

THRESHOLD = 0.001  # of what average precision wants to see
DONE = "summary.json"


def serve(make):
    """Answers requests until there are no more.

    Args:
        make: function of nothing to the detector, which has `find(paths)` to a list of [x0, y0, x1,
            y1, score, label] of each image; `read(path)` to pixels, `detect(pixels, threshold)`,
            and of what that found `said` to seconds or None; and `describe(pixels)` to a dict.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    detector, kept = make(), {}

    def look(do, images=(), image=None, threshold=THRESHOLD):
        if do == "describe":
            return detector.describe(detector.read(image))
        if do == "detect":
            return {"found": detector.find(images)}
        pixels = [kept[p] if p in kept else kept.setdefault(p, detector.read(p)) for p in images]
        detector.detect(pixels[0], threshold)  # threads that slept while others had their turn
        seconds, said = [], []
        for one in pixels:
            begin = time.perf_counter()
            found = detector.detect(one, threshold)
            seconds.append(time.perf_counter() - begin)
            said.append(detector.said(found))
        return {"seconds": seconds, "said": said}

    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(look(**json.loads(line))), file=answers, flush=True)


class Peer:
    """A trained network, as its users call it: ``model.predict`` with its own suppression."""

    def __init__(self, weights, image_size, threads):
        import cv2
        import numpy as np
        import torch
        from ultralytics import YOLO

        self._cv2, self._torch, self._threads = cv2, torch, threads
        self._options = {"imgsz": image_size, "device": "cpu", "max_det": 300, "verbose": False}
        self._model = YOLO(weights)
        # Before it predicts for the first time, which folds batch normalisation into the kernels.
        self._parameters = sum(p.numel() for p in self._model.model.parameters())
        self.detect(np.zeros((image_size, image_size, 3), np.uint8), THRESHOLD)

    def read(self, path):
        flags = self._cv2.IMREAD_COLOR | self._cv2.IMREAD_IGNORE_ORIENTATION
        pixels = self._cv2.imread(path, flags)
        if pixels is None:
            raise SystemExit(f"{path} cannot be read")
        return pixels

    def detect(self, pixels, threshold):
        (found,) = self._model.predict(pixels, conf=threshold, **self._options)
        if self._torch.get_num_threads() != self._threads:
            self._torch.set_num_threads(self._threads)  # its first call takes a core less
        return found

    def find(self, paths):
        found = (self.detect(self.read(path), THRESHOLD) for path in paths)
        return [one.boxes.data.tolist() for one in found]

    def said(self, found):
        return sum(found.speed[part] for part in ("preprocess", "inference", "postprocess")) / 1000

    def describe(self, pixels):
        """Multiply-adds as `yolov1.models.multiply_adds` has them: of convolutions and dense
        layers, weights of the kernel times the places where it is laid."""
        nn, counts, inputs = self._torch.nn, [], []

        def hook(module, given, result):
            if not isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                return
            source = given[0] if isinstance(module, nn.ConvTranspose2d) else result
            places = source[0, 0].numel() if source.ndim == 4 else source[0, ..., 0].numel()
            counts.append(module.weight.numel() * places)
            inputs.append(list(given[0].shape[-2:]))

        # Of every module there is: where the network is inside of theirs is their own business.
        hooked = self._torch.nn.modules.module.register_module_forward_hook(hook)
        self.detect(pixels, THRESHOLD)
        hooked.remove()
        return {
            "parameters": self._parameters,
            "multiply_adds": sum(counts),
            "input": inputs[0],
            "program": program(),
        }


def program() -> str:
    """The versions that a row names."""
    names = ("ultralytics", "torch")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def train(job):
    """Trains from scratch, or goes on where it was stopped; ``summary.json`` is there at the end.

    Args:
        job: ``network`` (a yaml of theirs), ``folder``, ``options`` of ``model.train``.
    """
    from ultralytics import YOLO

    folder = Path(job["folder"])
    last = folder / "weights" / "last.pt"
    if last.exists():
        YOLO(str(last)).train(resume=True)
    else:
        place = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
        YOLO(job["network"]).train(**job["options"], **place)
    partial = folder / f"{DONE}.partial"
    partial.write_text(json.dumps({"job": job, "program": program()}, indent=1))
    partial.replace(folder / DONE)


def alone(folder):
    """Keeps the program to itself: no downloads, no reports, no settings of the user's."""
    os.environ |= {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(folder),
    }
    from ultralytics import settings

    settings.update({"sync": False})


def main(do, *arguments):
    if do == "train":
        job = json.loads(Path(arguments[0]).read_text())
        alone(job["settings"])
        train(job)
    else:
        serve(lambda: peer(*arguments))


def peer(weights, image_size, threads, settings) -> Peer:
    alone(settings)
    return Peer(weights, int(image_size), int(threads))


if __name__ == "__main__":
    main(*sys.argv[1:])
