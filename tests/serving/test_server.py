"""A server on loopback: clients that are many, slow, gone, or there when it ends."""

import concurrent.futures
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")

import uvicorn

from tests.serving.conftest import picture
from tests.shared import ROOT
from yolov1.serving import server
from yolov1.serving.app import create_app
from yolov1.serving.service import Service
from yolov1.serving.uploads import Limits


@contextlib.contextmanager
def running(service):
    """(host, port) of a server in a thread of this process."""
    listening = server.listen("127.0.0.1", 0)
    serving = uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning"))
    thread = threading.Thread(target=serving.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        serving.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def ask(place, content=None, path="/detect", method="POST", **headers):
    connection = http.client.HTTPConnection(*place, timeout=30)
    connection.request(method, path, content, {"Content-Type": "image/png"} | headers)
    response = connection.getresponse()
    with contextlib.closing(connection):
        return response.status, response.headers, response.read()


def boxes(place, content):
    status, _, text = ask(place, content, "/detect")
    assert status == 200, text
    return json.loads(text)


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_many_clients_get_the_boxes_of_their_own_pictures(colours):
    service = Service(colours, batch_size=4, queue=64)
    colours.batches.clear()
    with running(service) as place, concurrent.futures.ThreadPoolExecutor(16) as pool:
        pictures = [picture(red=20 + 2 * k, green=255 - k) for k in range(100)]
        for k, found in enumerate(pool.map(lambda p: boxes(place, p), pictures)):
            (result,) = found
            assert result["score"] == pytest.approx((20 + 2 * k) / 255, abs=1e-5)
            assert result["bbox"][2] == pytest.approx(20 * (255 - k) / 255, abs=1e-2)
    assert sum(colours.batches) == 100 and 1 < max(colours.batches) <= 4
    assert service.batcher.taken == 0 and not service.batcher.alive()


def test_a_full_queue_asks_to_come_again(colours):
    service = Service(colours, batch_size=1, queue=3)
    with running(service) as place, concurrent.futures.ThreadPoolExecutor(3) as pool:
        with colours.held():
            waiting = [pool.submit(boxes, place, picture()) for _ in range(3)]
            until(lambda: service.batcher.taken == 3)
            status, headers, text = ask(place, picture())
            assert status == 503 and headers["retry-after"] == "1"
            assert "no place" in json.loads(text)["error"]
            assert ask(place, method="GET", path="/healthz")[0] == 200
        assert all(len(one.result()) == 1 for one in waiting)
        assert len(boxes(place, picture())) == 1


def test_a_client_that_has_left_holds_no_place_and_is_not_looked_at(colours):
    service = Service(colours, batch_size=1, queue=3)
    colours.batches.clear()
    head = (
        b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    )
    content = picture()
    with running(service) as place, concurrent.futures.ThreadPoolExecutor(1) as pool:
        with colours.held():
            first = pool.submit(boxes, place, content)
            assert colours.looking.wait(10)
            waits, sends = (socket.create_connection(place) for _ in range(2))
            waits.sendall(head % len(content) + content)
            sends.sendall(head % len(content) + content[:9])
            until(lambda: service.batcher.taken == 3)
            waits.close()
            sends.close()
            until(lambda: service.batcher.taken == 1)
        assert len(first.result()) == 1
        assert len(boxes(place, content)) == 1
        assert colours.batches == [1, 1]
        text = ask(place, method="GET", path="/metrics")[2].decode()
        assert 'yolov1_requests_total{path="/detect",status="499"} 2.0' in text


def test_a_body_that_does_not_come(colours):
    service = Service(colours, limits=Limits(seconds=0.2))
    with running(service) as place, socket.create_connection(place) as client:
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert client.recv(9999).startswith(b"HTTP/1.1 408")
        until(lambda: service.batcher.taken == 0)


def test_a_body_without_an_end_is_not_kept(colours):
    limits = Limits(body_bytes=100_000)
    with (
        running(Service(colours, limits=limits)) as place,
        socket.create_connection(place) as client,
    ):
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            client.sendall(b"8000\r\n" + b"\0" * 0x8000 + b"\r\n")
        assert client.recv(9999).startswith(b"HTTP/1.1 413")


def test_it_answers_at_once(colours):
    """Not when the client's system has confirmed half of the answer, 40 ms later."""
    with running(Service(colours)) as place:
        connection, content = http.client.HTTPConnection(*place), picture()
        seconds = []
        for _ in range(20):
            begin = time.perf_counter()
            connection.request("POST", "/detect", content, {"Content-Type": "image/png"})
            connection.getresponse().read()
            seconds.append(time.perf_counter() - begin)
        assert min(seconds[1:]) < 0.03
        connection.close()


def test_a_port_that_is_taken_and_a_host_of_another_machine():
    taken = server.listen("127.0.0.1", 0)
    with taken, pytest.raises(OSError):
        server.listen(*taken.getsockname())
    with pytest.raises(OSError):
        server.listen("192.0.2.1", 0)


@pytest.mark.slow
def test_the_experiment_from_its_start_to_its_end(known_run):
    """SIGTERM comes while requests are on their way: each is answered."""
    command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={known_run}", "--port=0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    assert "known at http://127.0.0.1:" in line, line + process.stderr.read()
    place = ("127.0.0.1", int(re.search(r":(\d+);", line)[1]))
    (box, *_) = found = boxes(place, picture(size=(64, 32)))
    assert len(found) == 4 and box["score"] == pytest.approx(0.8, abs=1e-5)
    assert np.allclose(sorted(r["bbox"] for r in found)[0], [8, 4, 16, 8], atol=1e-2)
    health = json.loads(ask(place, method="GET", path="/healthz")[2])
    assert health["model"].endswith("known") and health["image_size"] == 32

    sending = [http.client.HTTPConnection(*place, timeout=30) for _ in range(8)]
    content = picture(size=(1500, 1500))
    for connection in sending:
        connection.request("POST", "/detect", content, {"Content-Type": "image/png"})
    waiting = "yolov1_images_waiting 8.0"
    until(lambda: waiting in ask(place, method="GET", path="/metrics")[2].decode())
    process.send_signal(signal.SIGTERM)
    for connection in sending:
        response = connection.getresponse()
        assert response.status == 200 and len(json.loads(response.read())) == 4
        connection.close()
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and "all that came was answered" in out, out + errors
    assert "Traceback" not in errors


def test_what_cannot_be_served(known_run, call_experiment, tmp_path):
    taken = server.listen("127.0.0.1", 0)
    with taken:
        port = taken.getsockname()[1]
        done = call_experiment("serve", f"--checkpoint={known_run}", f"--port={port}")
    assert done.returncode == 1 and "in use" in done.stderr and "another --port" in done.stderr
    done = call_experiment("serve", f"--checkpoint={tmp_path}")
    assert done.returncode == 1 and "error: " in done.stderr


def test_without_the_extra(known_run, call_experiment, monkeypatch):
    for module in [m for m in sys.modules if m.startswith("yolov1.serving")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    done = call_experiment("serve", f"--checkpoint={known_run}")
    assert done.returncode == 1 and "pip install 'yolov1[serve]'" in done.stderr
