"""Runs an application until it is told to end."""

import logging
import signal
import socket

import uvicorn


def listen(host, port) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        OSError: the host is none of this machine's, or the port is taken.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    family, kind, protocol, _, place = found[0]
    # With its protocol said, as `socket.create_server` does not: only then asyncio sends an answer
    # at once, and not when the other side has confirmed its first half, 40 ms later.
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


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
        log_level="error",
        access_log=False,
        proxy_headers=False,  # nothing here depends on who asks
        server_header=False,
    )
    for remarks_on_what_clients_send in ("python_multipart", "PIL"):
        logging.getLogger(remarks_on_what_clients_send).setLevel("CRITICAL")
    # uvicorn raises the signal that ended it once more, for whoever had it before.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
