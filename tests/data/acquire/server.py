"""A web server for one test: sends bytes, knows ranges, and drops connections when told to."""

import contextlib
import http.server
import threading


class FileServer:
    """Serves `files` at `url`; use it in a ``with``.

    Attributes:
        files: {path: bytes}. etags, modified: {path: header}, where the server gives one.
        log: (path, Range, If-Range, status, bytes sent) of each request.
        cuts: after how many bytes each of the next connections is dropped.
        codes: statuses that answer the next requests instead.
        ranges: whether the server understands them. lengths: whether it says how long a file is.
        stall: set to make a dropped connection hang until the server stops.
    """

    def __init__(self, files):
        self.files, self.etags, self.modified = dict(files), {}, {}
        self.log, self.cuts, self.codes = [], [], []
        self.ranges = self.lengths = True
        self.stall = False
        self.stopped = threading.Event()

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.stopped.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, request):
        path, headers = request.path, request.headers
        body = self.files.get(path)
        status, start = (200 if body is not None else 404), 0
        tag = self.etags.get(path) or self.modified.get(path)
        if status == 200 and self.ranges and "Range" in headers:
            if headers.get("If-Range", tag) == tag:
                start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
                status = 206 if start < len(body) else 416
        if self.codes:
            status = self.codes.pop(0)
        body = body[start:] if status in (200, 206) else b""
        cut = self.cuts.pop(0) if self.cuts and status in (200, 206) else len(body)
        row = (path, headers.get("Range"), headers.get("If-Range"), status, min(cut, len(body)))
        self.log.append(row)
        request.send_response(status)
        if status == 206:
            whole = start + len(body)
            request.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if self.lengths:
            request.send_header("Content-Length", str(len(body)))
        for name, values in (("ETag", self.etags), ("Last-Modified", self.modified)):
            if path in values:
                request.send_header(name, values[path])
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # a client with a full disk hangs up
            request.wfile.write(body[:cut])
        if self.stall and cut < len(body):
            self.stopped.wait(10)
