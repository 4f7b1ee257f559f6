"""TFRecord files by offset: ``tf.data`` reads them in order only, an image is wanted at random.

A file is a row of frames: length of the data (uint64, little endian), CRC of these eight bytes,
the data, CRC of the data (both uint32). The second CRC is not looked at: an image that was damaged
is found by decoding it.
"""

import struct
from pathlib import Path
from typing import NamedTuple

from yolov1.data.places import Place, read_places, stamp

HEADER_BYTES, FOOTER_BYTES = 12, 4
GZIP = b"\x1f\x8b"


class Frame(NamedTuple):
    """Where the data of one record lie, or why they cannot be found."""

    file: Path
    number: int  # of the record in its file, from 1
    start: int  # of the data, in bytes
    length: int
    stamp: tuple[int, int]  # of the file
    error: str = ""

    def __str__(self):
        return f"{self.file}: record {self.number}"

    def read(self) -> bytes:
        return read_places([self.part(0, self.length)])[0]

    def part(self, start, length) -> Place:
        """Where `length` bytes of the data lie, from the `start`-th."""
        return Place(self.file, self.start + start, length, self.stamp)


def frames(file) -> list[Frame]:
    """The records of a file. Where it is damaged or cut off, the last one says so and ends it."""
    found, start = [], 0
    of_file = stamp(file)
    size = of_file[0]
    with open(file, "rb", buffering=0) as stream:
        while start < size:
            stream.seek(start)
            header = stream.read(HEADER_BYTES)
            place = (Path(file), len(found) + 1, start + HEADER_BYTES)
            length = int.from_bytes(header[:8], "little")
            if len(header) == HEADER_BYTES and header[8:] != struct.pack("<I", crc(header[:8])):
                error = (
                    f"no record begins at byte {start} (wrong CRC); what follows cannot be found"
                )
                if not found and header.startswith(GZIP):
                    error = "the file is compressed; unpack it with gunzip"
                found.append(Frame(*place, 0, of_file, error))
                break
            end = start + HEADER_BYTES + length + FOOTER_BYTES
            if end > size:
                error = f"the file is cut off at byte {size}, in the middle of this record"
                found.append(Frame(*place, 0, of_file, error))
                break
            found.append(Frame(*place, length, of_file))
            start = end
    return found


def crc(data) -> int:
    """CRC-32C, rotated and shifted as TFRecords have it. For eight bytes, not for an image."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
