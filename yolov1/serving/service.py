"""From requests to what was found in their pictures."""

import asyncio
import concurrent.futures
import contextlib
import io
import logging
import os
from typing import NamedTuple

import numpy as np
from PIL import Image
from starlette.requests import ClientDisconnect

from yolov1 import inference
from yolov1.serving.batching import Batcher
from yolov1.serving.metrics import Metrics
from yolov1.serving.uploads import Limits, Refused, Upload, decode, receive

PREVIEW_SIDE = 2048
_log = logging.getLogger("yolov1.serving")


class Seen(NamedTuple):
    """What was found in a picture of a request."""

    name: str | None  # of the file, in a form
    size: tuple[int, int]  # (height, width), upright
    orientation: int
    detections: inference.Detections
    batch_size: int  # pictures that were looked at together


class Service:
    """A detector in a thread of its own, beside threads that decode.

    Args:
        detector: a `Detector`, or what has its `detect`, `grid` and `options`.
        limits: of a request; None: those of `Limits`.
        batch_size: most pictures looked at together.
        queue: most pictures on their way at a time.
    """

    def __init__(self, detector, *, limits=None, batch_size=16, queue=64):
        self.detector, self.limits = detector, limits or Limits()
        self.metrics = Metrics(batch_size, lambda: self.batcher.taken)
        self.batcher = Batcher(
            lambda images: detector.detect(images, batch_size),
            batch_size=batch_size,
            places=queue,
            watch=self.metrics.batch,
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "decode")
        # So many pictures are in memory as pixels, however long the queue is.
        self._decoded = asyncio.Semaphore(2 * batch_size)
        side = detector.grid.image_size
        blank = np.zeros((side, side, 3), np.uint8)
        for count in {1, batch_size}:  # the first look traces and plans
            detector.detect([blank] * count, count)

    def close(self):
        """Once all that waits is answered."""
        self.batcher.close()
        self._pool.shutdown()

    async def look(self, request) -> list[Seen]:
        """What is in the pictures of a request.

        Raises:
            Refused: what was sent is no picture, or the detector failed on it.
            Full: so many pictures are on their way already.
            ClientDisconnect: nobody waits for the answer.
        """
        return await self._of_each(request, self.batcher.places, self._look)

    async def preview(self, request) -> bytes:
        """A picture as the detector sees it, as a JPEG, for a browser that cannot show it so.

        Raises:
            As `look` does.
        """
        (shown,) = await self._of_each(request, 1, self._preview)
        return shown

    async def _of_each(self, request, most, work):
        with contextlib.ExitStack() as places:
            places.enter_context(self.batcher.place())
            uploads = await receive(request, self.limits, most)
            places.enter_context(self.batcher.place(len(uploads) - 1))
            return await _unless_gone(request, [work(upload) for upload in uploads])

    async def _look(self, upload):
        async with self._decoded:
            pixels, size, orientation = await self._in_pool(self._prepared, upload)
            try:
                found = await asyncio.wrap_future(self.batcher.submit(pixels))
            except Exception as error:
                _log.exception("the detector failed on a picture of %d x %d", *size[::-1])
                raise Refused(500, f"The detector failed on this picture: {error}") from error
        return Seen(upload.name, size, orientation, *found)

    async def _preview(self, upload):
        async with self._decoded:
            return await self._in_pool(_jpeg, upload, self.limits)

    def _in_pool(self, work, *arguments):
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def _prepared(self, upload: Upload):
        pixels, orientation = decode(upload, self.limits)
        size = pixels.shape[:2]
        if isinstance(self.detector, inference.Detector):
            # What `detect` would do one after another; of what is prepared it makes the same again.
            pixels = inference.prepare(pixels, self.detector.grid, self.detector.resize)
        return pixels, size, orientation


def _jpeg(upload, limits):
    picture = Image.fromarray(decode(upload, limits)[0])
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


async def _unless_gone(request, work) -> list:
    """The results of coroutines, which are cancelled when one fails or the client goes away."""
    tasks = [asyncio.ensure_future(one) for one in work]
    together, gone = asyncio.gather(*tasks), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((together, gone), return_when=asyncio.FIRST_COMPLETED)
        if not together.done():
            raise ClientDisconnect
        return together.result()
    finally:
        for task in (*tasks, gone):
            task.cancel()
        await asyncio.gather(*tasks, together, gone, return_exceptions=True)


async def _gone(request):
    """Returns when the client has left; of the body, nothing is left to be received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
