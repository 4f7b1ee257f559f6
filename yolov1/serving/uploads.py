"""Pictures in requests: received and read in memory, under limits that hold before the work."""

import asyncio
import dataclasses
from typing import NamedTuple

from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser

from yolov1.data import images

# A body that says nothing of what it holds, or only that it is bytes: its content decides.
UNSAID = ("", "application/octet-stream")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        body_bytes: of the whole body, checked while it comes in.
        pixels: of one picture, checked before it is decoded.
        seconds: in which the body must have come.
    """

    body_bytes: int = 20_000_000
    pixels: int = 50_000_000
    seconds: float = 30.0


class Refused(Exception):
    """A request that gets no boxes: the HTTP status, and a sentence that says why."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status, self.sentence = status, f"{sentence.rstrip('.')}."


class Upload(NamedTuple):
    """One file of a request."""

    name: str | None  # as the client calls it; shown to it, and used for nothing else
    content: bytes


class _Form(MultiPartParser):
    spool_max_size = 0  # of tempfile.SpooledTemporaryFile: never on the disk
    whole = False

    def on_end(self):
        self.whole = True


async def receive(request: Request, limits: Limits, max_files: int) -> list[Upload]:
    """The files of a request: its body, or those of a form.

    Raises:
        Refused: with 400, 408, 413 or 415.
        ClientDisconnect: the client has gone.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = declared == "multipart/form-data"
    if not (form or declared in UNSAID or declared.startswith("image/")):
        raise Refused(
            415,
            f"The content type is {declared!r}, expected a picture (image/jpeg, image/png and so "
            "on), application/octet-stream, or multipart/form-data with pictures as files.",
        )
    body = _limited(request, limits)
    try:
        async with asyncio.timeout(limits.seconds):
            if form:
                uploads = await _files(request, body, max_files)
            else:
                uploads = [Upload(None, b"".join([chunk async for chunk in body]))]
    except TimeoutError:
        raise Refused(
            408, f"The body did not come within {limits.seconds:g} seconds. Send it again."
        ) from None
    for upload in uploads:
        if not upload.content:
            raise Refused(400, f"{_called(upload, 'The body')} is empty, expected a picture.")
    return uploads


async def _limited(request, limits):
    """The chunks of the body, as long as they are within the limit."""
    too_large = Refused(
        413,
        f"The body is larger than {limits.body_bytes:,} bytes, the most that is taken. Make the "
        "picture smaller, or send fewer at once.",
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limits.body_bytes:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.body_bytes:
            raise too_large
        yield chunk


async def _files(request, body, max_files):
    parser = _Form(request.headers, body, max_files=max_files)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"The form cannot be read: {error.message}") from None
    if not parser.whole:
        raise Refused(400, "The form cannot be read: it ends before its last boundary.")
    uploads = []
    for _, value in form.multi_items():
        if not isinstance(value, str):
            uploads.append(Upload(value.filename or None, await value.read()))
            await value.close()
    if not uploads:
        raise Refused(400, "The form has no file, expected one picture or several as files.")
    return uploads


def decode(upload: Upload, limits: Limits):
    """The pixels of a picture as a person sees it, uint8 ``[H, W, 3]``, and its EXIF orientation.

    Raises:
        Refused: with 413, 415 or 422.
    """
    called = _called(upload, "The picture")
    try:
        header = images.read_header(upload.content)
    except images.TooManyPixels:
        raise _too_many_pixels(called, limits) from None
    except ValueError:
        expected = ", ".join(images.FORMATS)
        raise Refused(
            415, f"{called} is not an image that can be read, expected one of {expected}."
        ) from None
    if header.size[0] * header.size[1] > limits.pixels:
        raise _too_many_pixels(called, limits)
    try:
        pixels = images.decode(upload.content)
    except ValueError as error:
        raise Refused(422, f"{called} cannot be read: {error}") from None
    return images.turn(pixels, header.orientation), header.orientation


def _too_many_pixels(called, limits):
    return Refused(
        413,
        f"{called} has more than {limits.pixels:,} pixels, the most that is read. Make it smaller.",
    )


def _called(upload, otherwise):
    return otherwise if upload.name is None else f"The file {upload.name!r}"
