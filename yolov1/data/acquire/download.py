"""Large files over HTTP: fetched, resumed where they broke off, and verified."""

import errno
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

CHUNK = 1 << 20  # bytes
TRY_AGAIN = (408, 429, 500, 502, 503, 504)  # what a server answers that may do better in a moment
NETWORK_ERRORS = (OSError, http.client.HTTPException)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class DownloadError(RuntimeError):
    """A file that cannot be fetched, verified or unpacked; the message says what to do."""


class _Broken(Exception):
    """The connection was lost. What came is on the disk, and another attempt may go on."""


# ------------------------------------------------------------------------------------ fetching


def fetch(url, path, *, sha256, size=None, attempts=5, pause=1.0, timeout=60.0, stream=None) -> int:
    """Makes `path` the file at `url`, and returns how many bytes came over the network.

    Bytes gather in ``<path>.partial``, which takes its name only once its checksum is right. A call
    that finds one goes on where it ends, after a dropped connection or a stopped process; it starts
    over where the server cannot send the rest, or says (``ETag``) that the file is another by now.

    Args:
        url: http or https.
        sha256: of the whole file, hexadecimal.
        size: of the whole file in bytes, where it is known: a server with another file is found
            out before anything is read.
        attempts: connections in a row that may bring nothing new; seconds between them: `pause`,
            then twice as many each time.
        timeout: seconds without a byte after which a connection counts as lost.
        stream: where progress is told; by default the standard error.

    Raises:
        DownloadError: no such file, no connection, too little space, another checksum. The file
            with the wrong checksum is out of the way, so that another call fetches it anew.
    """
    path = Path(path)
    if path.exists():
        try:
            verify(path, sha256)
        except DownloadError as error:
            aside = path.with_name(path.name + ".bad")
            os.replace(path, aside)
            raise DownloadError(f"{error} It is now {aside}; call again to fetch it.") from None
        return 0
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"fetch: expected an address with http:// or https://, got {url!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    progress = Progress(path.name, stream)
    best, failures = _size(partial), 0
    while size is None or _size(partial) != size:
        try:
            _attempt(url, partial, size, timeout, progress)
            break
        except _Broken as error:
            reached = _size(partial)
            failures = 0 if reached > best else failures + 1
            best = max(best, reached)
            if failures >= attempts:
                raise DownloadError(
                    f"{url}: {error}; gave up after {attempts} attempts that brought nothing new. "
                    f"{_mb(reached)} are kept in {partial}: call again to go on from there."
                ) from None
            wait = min(pause * 2 ** max(failures - 1, 0), 60.0)
            progress.say(f"{error}; going on at {_mb(reached)} in {wait:g} s")
            time.sleep(wait)
    try:
        verify(partial, sha256)
    except DownloadError as error:
        partial.unlink()
        raise DownloadError(
            f"{url}: {error} It is removed; call again to fetch it anew, from another place if the "
            "checksum stays wrong."
        ) from None
    os.replace(partial, path)
    _tag(partial).unlink(missing_ok=True)
    return progress.fetched


def verify(path, sha256):
    """Compares a file's SHA-256 with the one given.

    Raises:
        DownloadError: they differ.
    """
    with open(path, "rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != sha256:
        raise DownloadError(
            f"{path} of {_size(path)} bytes has the wrong checksum: SHA-256 expected {sha256}, "
            f"got {got}."
        )


def _attempt(url, partial, size, timeout, progress):
    """One connection: appends to `partial` what is missing.

    Raises:
        _Broken: it ended early.
        DownloadError: it is of no use to try again.
    """
    have = _size(partial)
    headers = {"User-Agent": "yolov1", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag(partial).exists():
            headers["If-Range"] = _tag(partial).read_text()
    with _connect(url, headers, timeout, partial) as response:
        start, total = _extent(response)
        total = size if total is None else total
        if size not in (None, total):
            raise DownloadError(
                f"{url}: the server has a file of {total} bytes there, expected {size}: it is "
                "another file. Fetch it from another place."
            )
        if start not in (0, have):
            partial.unlink()
            raise _Broken(f"the server sent bytes from {start} instead of {have}; starting over")
        if have and not start:
            progress.say("the server sends no rest, or has another file by now; starting over")
        if total is not None:
            require_space(partial.parent, total - have, f"to fetch {url}")
        progress.start(start, total)
        try:
            with open(partial, "ab" if start else "wb") as file:
                if not start:
                    _write_tag(partial, response.headers)
                while chunk := _read(response):
                    file.write(chunk)
                    progress.add(len(chunk))
        except OSError as error:  # of the disk: those of the network are _Broken by now
            if error.errno not in DISK_FULL:
                raise
            missing = "an unknown number of" if total is None else total - _size(partial)
            raise DownloadError(
                f"the disk of {partial} is full: {missing} more bytes are needed. What came is "
                "kept; make room and call again to go on from there."
            ) from None
        finally:
            progress.end()
    if total is not None and _size(partial) < total:
        raise _Broken(f"the connection ended {total - _size(partial)} bytes early")


def _connect(url, headers, timeout, partial):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # there are fewer bytes than we have: it is another file by now
            partial.unlink(missing_ok=True)
            raise _Broken("the file is another by now; starting over") from None
        if error.code in TRY_AGAIN:
            raise _Broken(f"the server answered {error.code} {error.reason}") from None
        raise DownloadError(
            f"{url}: the server answered {error.code} {error.reason}. Fetch it from another place."
        ) from None
    except NETWORK_ERRORS as error:
        raise _Broken(f"no connection ({getattr(error, 'reason', error)!r})") from None


def _read(response):
    try:
        return response.read1(CHUNK)  # what has arrived, so that a lost connection loses no byte
    except NETWORK_ERRORS as error:
        raise _Broken(f"the connection was lost ({error!r})") from None


def _extent(response):
    """(first byte of the answer, size of the whole file or None)."""
    if response.status != 206:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None
    span = response.headers.get("Content-Range", "").removeprefix("bytes ")  # "0-9/10", "0-9/*"
    try:
        places, _, total = span.partition("/")
        return int(places.partition("-")[0]), int(total) if total != "*" else None
    except ValueError:
        raise DownloadError(f"{response.url}: Content-Range {span!r} cannot be read.") from None


def _tag(partial):
    return partial.with_name(partial.name + ".tag")


def _write_tag(partial, headers):
    """Keeps what tells this version of the file from another, for ``If-Range``."""
    tag = headers.get("ETag", "")
    if not tag or tag.startswith("W/"):  # a weak one does not promise the same bytes
        tag = headers.get("Last-Modified", "")
    if tag:
        _tag(partial).write_text(tag)
    else:
        _tag(partial).unlink(missing_ok=True)


def require_space(folder, needed, what):
    """Raises `DownloadError` where the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"not enough space in {folder} {what}: {_mb(needed)} are needed, {_mb(free)} are free, "
            f"{_mb(needed - free)} are missing. Make room and call again."
        )


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _mb(count):
    return f"{count / 1e6:,.1f} MB"


class Progress:
    """One line that a terminal rewrites; in a file a line for every tenth.

    Attributes:
        fetched: bytes that came, over all connections.
    """

    def __init__(self, name, stream=None):
        self.name, self.fetched = name, 0
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()

    def start(self, have, total):
        self.have, self.total, self.came = have, total, 0
        self.started = self.told = time.monotonic()
        self.tenth = self._tenth()

    def add(self, count):
        self.have += count
        self.came += count
        self.fetched += count
        now = time.monotonic()
        due = now - self.told > 0.2 if self.terminal else self._tenth() > self.tenth
        if due:
            self.told, self.tenth = now, self._tenth()
            self._show("\r" if self.terminal else "", "" if self.terminal else "\n")

    def end(self):
        if self.terminal and self.came:
            self._show("\r", "\n")

    def say(self, text):
        print(f"{self.name}: {text}", file=self.stream, flush=True)

    def _tenth(self):
        return self.have * 10 // self.total if self.total else self.have // 100_000_000

    def _show(self, before, after):
        rate = self.came / max(time.monotonic() - self.started, 1e-9)
        text = f"{self.name}: {_mb(self.have)}"
        if self.total:
            left = (self.total - self.have) / max(rate, 1e-9)
            text += f" of {_mb(self.total)} ({self.have / self.total:.0%})"
            text += f", {_mb(rate)}/s, {int(left) // 60}:{int(left) % 60:02} left"
        self.stream.write(f"{before}{text:79}".rstrip(" " if after else "") + after)
        self.stream.flush()
