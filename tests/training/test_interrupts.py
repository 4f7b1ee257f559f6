"""When Ctrl-C is taken."""

import signal
import threading

import pytest

from tests.programs import interrupt
from yolov1.training.interrupts import Interrupts


@pytest.fixture(autouse=True)
def pythons_own():
    """Python's own handler, also where these tests run in the background, which ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def test_one_waits_and_a_second_does_not():
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        interrupts.check()
        interrupt()
        assert interrupts.count == 1
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            pytest.fail("it came before")
        interrupt()
    assert interrupts.count == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_at_once():
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            interrupt()
            pytest.fail("it comes at once")
        assert interrupts.count == 1


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
            entered.append(interrupts.count)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered == [0]
