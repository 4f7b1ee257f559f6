"""When Ctrl-C, SIGTERM and the end of the time are taken."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.programs import interrupt
from yolov1.interrupts import (
    HANDLERS,
    Interrupts,
    Terminated,
    TimeIsUp,
    Wishes,
    exit_status,
    terminating,
)
from yolov1.training.clocks import Stopwatch, TimeLimit


@pytest.fixture(autouse=True)
def pythons_own():
    """The handlers of a program in the foreground, also where these tests run in the background,
    which ignores Ctrl-C."""
    before = {number: signal.signal(number, handler) for number, handler in HANDLERS.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler or signal.SIG_DFL)


def test_one_waits_and_a_second_does_not():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts.check()
        interrupt()
        assert interrupts.came is KeyboardInterrupt and not interrupts.impatient
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            pytest.fail("it came before")
        interrupt()
    assert interrupts.impatient
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_at_once():
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            interrupt()
            pytest.fail("it comes at once")
        assert interrupts.came is KeyboardInterrupt


def test_where_it_is_somebody_elses():
    """Ignored, it stays ignored; in another thread nothing is done."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            interrupt()
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
    entered = []

    def elsewhere():
        with Interrupts() as interrupts:
            entered.append(interrupts.came)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [None]


def test_sigterm_waits_however_often_it_comes():
    with pytest.raises(Terminated) as stop, Interrupts() as interrupts:
        for _ in range(3):
            interrupt(signal.SIGTERM)
        assert interrupts.came is Terminated and not interrupts.impatient
        interrupts.check()
    assert exit_status(stop.value) == 143 and exit_status(KeyboardInterrupt()) == 130
    with pytest.raises(Terminated), Interrupts() as interrupts, interrupts.at_once():
        interrupt(signal.SIGTERM)
        pytest.fail("it comes at once")
    assert signal.getsignal(signal.SIGTERM) is HANDLERS[signal.SIGTERM]


def test_ctrl_c_after_sigterm_does_not_wait():
    with pytest.raises(Terminated), Interrupts() as interrupts:
        interrupt(signal.SIGTERM)
        interrupt()
        pytest.fail("it comes at once")
    assert interrupts.impatient


def test_sigterm_after_a_second_ctrl_c_makes_nobody_patient():
    with Interrupts() as interrupts:
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        interrupt(signal.SIGTERM)
        assert interrupts.impatient


def test_terminating_stands_in_for_the_systems_handler_alone():
    def own(number, frame):
        raise KeyError

    signal.signal(signal.SIGTERM, own)
    with pytest.raises(KeyError), terminating():
        interrupt(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(Terminated), terminating():
        interrupt(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_one_worker_wants_stops_all(monkeypatch):
    """Two workers that ask each other: one has a signal, then one has no time."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    asked, met = [(), ()], threading.Barrier(2)

    def agreement(k):
        def agree(*wishes):
            asked[k] = wishes
            met.wait(timeout=60)
            found = [any(pair) for pair in zip(*asked, strict=True)]
            met.wait(timeout=60)
            return found

        return agree

    spent = Stopwatch()
    spent.last |= {"training": 20.0, "checkpoint": 30.0}
    limits = TimeLimit(0, spent), TimeLimit(1, spent)
    interrupts = Interrupts(), Interrupts()
    workers = [Wishes(interrupts[k], limits[k], agreement(k)) for k in (0, 1)]

    def ask(*wishes):
        """What both know, each wanting one of these."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda f, wish: f("training", wish), workers, wishes)
        assert first == second
        return first

    assert ask(False, False) == [None, False]
    assert ask(True, False) == ask(False, True) == [None, True]
    interrupts[0].came = Terminated
    assert ask(False, False) == [Terminated, False]
    interrupts[0].came = None
    now[0] = 3600.0 - 51.0  # a step and a checkpoint take 50
    assert ask(False, False) == [None, False]
    now[0] += 2.0
    assert ask(False, False) == [TimeIsUp, False]
    assert exit_status(TimeIsUp()) == 0
