"""Asks a server of experiments.serve for what is in pictures, over and over; a process of its own.

    python -m benchmarks.serve_client JOB.json

The job: {"host", "port", "connections", "requests", "pictures": [files], "answers": [of each, the
list of COCO results that is right]}. Each connection stays open and asks again as soon as it is
answered. Prints {"seconds", "wrong", "refused", "unanswered", "p50_ms", "p99_ms", "cpu_seconds"}.

It is a plain one, of sockets and the standard library, because it takes time from the server that
it measures.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

# Two batches of other sizes differ in the last bits of a box, in pixels, or of a score.
TOLERANCE = 0.02


def same(found, right) -> bool:
    """Whether two lists of COCO results are one, whatever the ids of the images."""
    return len(found) == len(right) and all(
        a["category_id"] == b["category_id"]
        and abs(a["score"] - b["score"]) <= TOLERANCE / 100
        and all(abs(x - y) <= TOLERANCE for x, y in zip(a["bbox"], b["bbox"], strict=True))
        for a, b in zip(found, right, strict=True)
    )


async def ask(reader, writer, body):
    """(status, content) of one request on an open connection."""
    writer.write(
        b"POST /detect HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    writer.write(body)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def work(job):
    pictures = [Path(file).read_bytes() for file in job["pictures"]]
    turns = iter(range(job["requests"]))
    wrong = refused = answered = 0
    seconds = []

    async def one():
        nonlocal wrong, refused, answered
        reader, writer = await asyncio.open_connection(job["host"], job["port"])
        for turn in turns:
            which = turn % len(pictures)
            begin = time.perf_counter()
            status, content = await ask(reader, writer, pictures[which])
            seconds.append(time.perf_counter() - begin)
            answered += 1
            if status != 200:
                refused += 1
            elif not same(json.loads(content), job["answers"][which]):
                wrong += 1
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(job["connections"])))
    seconds.sort()
    return {
        "seconds": time.perf_counter() - begin,
        "wrong": wrong,
        "refused": refused,
        "unanswered": job["requests"] - answered,
        "p50_ms": 1e3 * seconds[len(seconds) // 2],
        "p99_ms": 1e3 * seconds[len(seconds) * 99 // 100],
        "cpu_seconds": time.process_time(),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(work(json.loads(Path(sys.argv[1]).read_text())))))
