"""Weights files: all generations read, memory-mapped, one layer at a time; version 0.2.0 written.

A header, then float32 numbers (little endian) of the layers in order. Three headers exist, and one
of AlexeyAB's Darknet:

=========  =====  ============================================  ====================
kind       bytes  content                                       connected weights
=========  =====  ============================================  ====================
floats     16     float32 learning rate, momentum, decay;       [inputs][outputs]
                  int32 seen (until 2015-12-13)
0.1        16     int32 0, 1, 0; int32 seen (until 2017-06-11)  [outputs][inputs]
0.2        20     int32 0, 2, 0; uint64 seen                    [outputs][inputs]
0.2.5      20     int32 0, 2, 5; uint64 seen (AlexeyAB)         [outputs][inputs]
=========  =====  ============================================  ====================

Source: ``load_weights_upto`` and ``save_weights_upto`` of pjreddie/darknet's parser.c, all commits.
Darknet itself checks nothing; here every size is held against the network first.
"""

import mmap
import os
import struct
import warnings
from pathlib import Path

import numpy as np

from yolov1.darknet import layout
from yolov1.darknet.errors import DarknetError
from yolov1.darknet.plan import Layer, Plan
from yolov1.files import replacing

PIECE = 1 << 22  # numbers looked at before their pages are given back: 16 MiB

# How files begin that are handed over as weights now and then.
NO_WEIGHTS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a zip archive (as .keras files and PyTorch's are)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x80\x02", "a Python pickle (as older PyTorch files are)"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file (as Keras' .h5 are)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"%PDF", "a PDF"),
    (b"version https://git-lfs", "a pointer of git-lfs: fetch the file itself by `git lfs pull`"),
    (b"<", "a page of HTML or XML, as a download that failed leaves it: download it again"),
    (b"[net", "the text of a cfg"),
    (b"{", "a text in JSON"),
    (b"#", "a text"),
)


class WeightsFile:
    """What a weights file says of itself, and how it fits a network.

    Args:
        path: the file.
        plan: the network, of `yolov1.darknet.plan`; without it only the header is read.

    Attributes:
        version: (major, minor, revision), or None before December 2015.
        kind: ``floats``, ``0.1``, ``0.2`` or ``0.2.5``.
        seen: images of its training.
        settings: (learning rate, momentum, decay) of a header of kind ``floats``, else None.
        header_bytes: 16 or 20.
        floats: whole numbers behind the header.
        left_bytes: 0 to 3 bytes behind these.
        transposed: whether connected weights stand as [inputs][outputs].
        expected: how many numbers the network wants; None without `plan`.
        complete: the layers (of `Layer`) that are there in full.
        cut: the layer inside which the file ends, else None.

    Raises:
        DarknetError: not a weights file, or a key of the network that is not offered.
        OSError: the file cannot be read.
    """

    def __init__(self, path, plan: Plan | None = None):
        self.path, self.plan = Path(path), plan
        with self.path.open("rb") as file:
            start = file.read(64)
            size = os.fstat(file.fileno()).st_size
        self._read_header(start)
        self.floats, self.left_bytes = divmod(size - self.header_bytes, 4)
        self.expected, self.complete, self.cut, self._parts = None, (), None, []
        if plan is not None:
            self._fit(plan)

    def _read_header(self, start):
        if len(start) < 20:
            raise DarknetError(
                f"{self.path} is not weights of Darknet's: it has {len(start)} bytes, of which a "
                "header alone takes 16 or 20. Download it again?"
            )
        numbers = struct.unpack("<3i", start[:12])
        self.version = self.settings = None
        self.transposed = _is_settings(start)
        if self.transposed:
            self.settings = struct.unpack("<3f", start[:12])
            self.kind = "floats"
        elif all(0 <= n < 10_000 for n in numbers) and any(numbers):
            self.version = numbers
            # The rules of load_weights_upto; a version beyond 1000 marks a file turned by hand.
            self.transposed = max(numbers[:2]) > 1000
            long = 10 * numbers[0] + numbers[1] >= 2 and max(numbers[:2]) < 1000
            self.kind = "0.1" if not long else "0.2.5" if numbers == (0, 2, 5) else "0.2"
        else:
            raise DarknetError(f"{self.path} is not weights of Darknet's: {_what(start)}.")
        seen = "<Q" if self.kind.startswith("0.2") else "<i"
        self.header_bytes = 12 + struct.calcsize(seen)
        (self.seen,) = struct.unpack(seen, start[12 : self.header_bytes])

    def _fit(self, plan):
        choices = [layout.to_read(plan)]
        if any(layer.kind == "batchnorm" for layer in plan.layers):
            choices.append(layout.to_read(plan, batchnorm_biases=True))
            choices.sort(key=_floats, reverse=self.kind == "0.2.5")
        # By size, where one fits: both Darknets have written each header.
        self._parts = next((p for p in choices if _floats(p) == self.floats), choices[0])
        self.expected = _floats(self._parts)
        self.complete = tuple(p.layer for p in self._parts if p.end <= self.floats)
        last = next((p for p in self._parts if p.start <= self.floats < p.end), None)
        inside = last and (last.start < self.floats or self.left_bytes)
        self.cut = last.layer if inside else None

    def __repr__(self):
        return f"WeightsFile({str(self.path)!r}, kind={self.kind!r}, floats={self.floats})"

    def check(self, partial=False, trailing=False):
        """Raises DarknetError where the file's size is not the network's.

        Args:
            partial: whether it may end earlier, then with at least one complete layer.
            trailing: whether more may follow.
        """
        surplus = 4 * (self.floats - self.expected) + self.left_bytes
        if surplus > 0 and self.floats >= self.expected and not trailing:
            last = f", up to {self._parts[-1].layer}," if self._parts else ""
            raise DarknetError(
                f"{self._misfit('long')}: its layers{last} want {self.expected} numbers, but there "
                f"are {self.floats} ({surplus} bytes too many). {self._whose()} If what follows is "
                "to be ignored, as Darknet does, ask for trailing=True."
            )
        if self.floats >= self.expected or (partial and self.complete):
            return
        part = next(p for p in self._parts if p.end > self.floats)
        left = self.floats - part.start
        where = f"{part.layer} wanted {part.floats} numbers{self._block(part, left)}"
        raise DarknetError(
            f"{self._misfit('short')}: {where}, but there were {left} left. "
            f"The file holds {self.floats} of {self.expected} numbers, {len(self.complete)} of "
            f"{len(self._parts)} layers in full. {self._whose()} Download it again if it was cut "
            f"off{'' if partial else '; for the complete layers alone ask for partial=True'}."
        )

    def _misfit(self, how):
        return f"{self.path} is too {how} for {self.plan.cfg.source}"

    def _block(self, part, left):
        end = part.skipped
        for block in part.blocks:
            end += block.size
            if left < end:
                return f" (its {block.name}, in which the file ends, {block.size})" if left else ""
        return ""

    def _whose(self):
        name = layout.KNOWN.get(self.floats)
        return f"It has as many numbers as {name}." if name else "It may be of another network."

    def blocks(self, partial=False, trailing=False):
        """`read_blocks` of this file."""
        if self.plan is None:
            raise ValueError("WeightsFile.blocks needs a plan: WeightsFile(path, plan).")
        self.check(partial, trailing)
        if self.cut is not None:
            warnings.warn(
                f"{self.path} ends inside {self.cut}: it was cut off, or is of another network. "
                f"{len(self.complete)} layers before it are taken.",
                stacklevel=3,
            )
        return self._layers()

    def _layers(self):
        with self.path.open("rb") as file:
            for part in self._parts[: len(self.complete)]:
                offset = self.header_bytes + 4 * part.start
                # A map of its own for each layer: its pages go when its arrays do.
                mapped = np.memmap(file, "<f4", "r", offset, (part.floats,))
                arrays = layout.arrays(part, np.asarray(mapped), self.transposed)
                if not _all_finite(mapped):
                    _warn_of_non_finite(self.path, part, arrays)
                yield part.layer, arrays


def _floats(parts):
    return parts[-1].end if parts else 0


def _is_settings(start):
    """Whether a header begins with a learning rate, a momentum and a decay.

    As an integer, such a float is beyond every version; as a float, a version is below 1e-41.
    """
    values = struct.unpack("<3f", start[:12])
    return any(values) and all(v == 0 or 1e-12 < v < 1e3 for v in values)


def _what(start):
    for beginning, what in NO_WEIGHTS:
        if start.startswith(beginning):
            return f"it is {what}"
    return (
        f"its first 12 bytes, {start[:12].hex(' ', -4)}, are neither a version (as 0, 2, 0) nor a "
        "learning rate, momentum and decay (of 2015)"
    )


def _all_finite(mapped):
    """Whether all numbers of a map are; its pages are given back piece by piece."""
    for start in range(0, mapped.size, PIECE):
        piece = np.asarray(mapped[start : start + PIECE])
        extremes = np.array([piece.min(), piece.max()])  # NaN, if there is one
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped._mmap.madvise(mmap.MADV_DONTNEED)
        if not np.isfinite(extremes).all():
            return False
    return True


def _warn_of_non_finite(path, part, arrays):
    for name, array in arrays.items():
        if wrong := np.count_nonzero(~np.isfinite(array)):
            warnings.warn(
                f"{path}: {wrong} of the {array.size} {name} of {part.layer} are not finite: "
                "the training diverged, or the file is damaged or of another network.",
                stacklevel=4,
            )


def read_blocks(path, plan: Plan, *, partial: bool = False, trailing: bool = False):
    """Reads a weights file, one layer at a time.

    Args:
        path: the file, of any generation.
        plan: the network, of `yolov1.darknet.plan`.
        partial: whether it may end before the last layer, as one of ``darknet partial`` (such as
            extraction.conv.weights) does: the complete layers are given. One that ends inside a
            layer is warned of.
        trailing: whether bytes behind the last layer are ignored, as Darknet does.

    Returns:
        Iterator of (`Layer`, {name of the block: array}), for the layers that the file holds. The
        arrays are float32, read-only views of the file in the shapes of the plan's blocks
        (connected weights (outputs, inputs) however they stand there); their memory is the file's
        and goes with them. Numbers that are not finite are warned of.

    Raises:
        DarknetError: not weights, or of another size than the network's; before any layer is given.
        OSError: the file cannot be read.
    """
    return WeightsFile(path, plan).blocks(partial, trailing)


def write_weights(path, plan: Plan, blocks_of, seen: int = 0) -> None:
    """Writes a weights file of version 0.2.0; it takes its place once it is whole.

    Args:
        path: where.
        plan: the network, of `yolov1.darknet.plan`.
        blocks_of: `Layer` -> {name of the block: array in its shape}; called once for each layer
            that has parameters, in order, so that one layer at a time is in memory.
        seen: images of its training.

    Raises:
        DarknetError: an array that is absent, too many or of another shape; a key of the network
            that is not offered.
    """
    if not 0 <= seen < 2**64:
        raise ValueError(f"write_weights: seen must be from 0 to 2^64 - 1, got {seen}.")
    parts = layout.to_write(plan)
    with replacing(path, binary=True) as file:
        file.write(struct.pack("<3iQ", 0, 2, 0, seen))
        for part in parts:
            arrays = blocks_of(part.layer)
            _require_blocks(plan, part.layer, arrays)
            for block in part.blocks:
                file.write(np.ascontiguousarray(arrays[block.name], "<f4").data)


def _require_blocks(plan: Plan, layer: Layer, arrays):
    expected = {block.name: block.shape for block in layer.blocks}
    got = {name: np.shape(array) for name, array in arrays.items()}
    if got != expected:
        raise DarknetError(
            f"write_weights: {plan.cfg.source}: {layer} needs arrays of the shapes {expected}, got "
            f"{got}."
        )
