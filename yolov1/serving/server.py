"""Runs an application until it is told to end."""

import signal
import socket

import uvicorn


def listen(host, port) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: the host is none of this machine's, or the port is taken.
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family)


def address(listening) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app, listening):
    """Answers until SIGTERM or Ctrl-C; then takes no more, answers all that came, and returns.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # nothing here depends on who asks
        server_header=False,
    )
    # uvicorn raises the signal that ended it once more, for whoever had it before.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
