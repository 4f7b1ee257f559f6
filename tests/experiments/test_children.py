"""`experiments.lib.children`: what Ctrl-C and SIGTERM do to who starts programs."""

import signal
import sys

import pytest

from experiments.lib import children
from tests import programs
from yolov1.interrupts import Terminated

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_breaks_nothing_off_but_a_pause(tmp_path, number, raised):
    """What the starter does between its looks, such as the writing of a journal, is finished."""
    before = signal.getsignal(number)
    finished = False
    with pytest.raises(raised) as came, children.Pool(1) as pool:
        child = pool.start(None, SLEEPS, tmp_path / "log")
        programs.interrupt(number)
        finished = True
        pool.pause()
    assert finished and type(came.value) is raised
    assert child.process.returncode and not pool.running
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt), children.Pool(1) as pool:
        pool.start(None, SLEEPS, tmp_path / "log")
        programs.interrupt(signal.SIGINT)
        programs.interrupt(signal.SIGINT)
        pytest.fail("went on")
    assert not pool.running
