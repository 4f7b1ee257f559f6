"""TFRecord files by offset: ``tf.data`` reads them in order only, an image is wanted at random.

A file is a row of frames: length of the data (uint64, little endian), CRC of these eight bytes,
the data, CRC of the data (both uint32). The second CRC is not looked at: an image that was damaged
is found by decoding it.
"""

import struct
from pathlib import Path
from typing import NamedTuple

HEADER_BYTES, FOOTER_BYTES = 12, 4
GZIP = b"\x1f\x8b"


class Frame(NamedTuple):
    """Where the data of one record lie, or why they cannot be found."""

    file: Path
    number: int  # of the record in its file, from 1
    start: int  # of the data, in bytes
    length: int
    error: str = ""

    def __str__(self):
        return f"{self.file}: record {self.number}"

    def read(self) -> bytes:
        return read(self.file, self.start, self.length)


def read(file, start, length) -> bytes:
    """`length` bytes of a file."""
    with open(file, "rb") as stream:
        stream.seek(start)
        return stream.read(length)


def frames(file) -> list[Frame]:
    """The records of a file. Where it is damaged or cut off, the last one says so and ends it."""
    found, start = [], 0
    size = Path(file).stat().st_size
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
                found.append(Frame(*place, 0, error))
                break
            end = start + HEADER_BYTES + length + FOOTER_BYTES
            if end > size:
                error = f"the file is cut off at byte {size}, in the middle of this record"
                found.append(Frame(*place, 0, error))
                break
            found.append(Frame(*place, length))
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
