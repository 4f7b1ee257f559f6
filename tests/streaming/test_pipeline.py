import itertools
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from tests.streaming.films import Brightness, greys, number_of, resident_bytes
from yolov1 import streaming
from yolov1.streaming import pipeline
from yolov1.streaming.latencies import Latencies


def threads_of_streams():
    return [t for t in threading.enumerate() if t.name.startswith("yolov1-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not threads_of_streams()


def endless():
    return itertools.repeat(np.zeros((4, 4, 3), np.uint8))


def live_source(images, pause=0.0):
    source = streaming.from_arrays(images)
    source.live = True
    frames = source.frames

    def paced(stop):
        for frame in frames(stop):
            time.sleep(pause)
            yield frame

    source.frames = paced
    return source


def test_every_frame_comes_in_order_and_batches_of_a_file_are_full():
    detector = Brightness()
    run = streaming.run(detector, streaming.from_arrays(greys(21), rate=Fraction(30000, 1001)), 8)
    results = list(run)
    assert [r.frame.index for r in results] == list(range(21))
    assert [number_of(r.frame.image) for r in results] == list(range(21))
    for r in results:
        assert r.detections.scores[0] == pytest.approx(np.mean(r.frame.image) / 255)
        assert r.frame.time == r.frame.index * Fraction(1001, 30000)
    assert detector.batches == [8, 8, 5]
    figures = run.figures()
    assert figures["frames"] == 21 and figures["dropped"] == 0
    assert figures["frames_per_second"] == pytest.approx(21 / figures["seconds"])
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]


def test_a_run_is_run_once_and_wants_a_batch():
    run = streaming.run(Brightness(), streaming.from_arrays(greys(2)))
    assert len(list(run)) == 2
    with pytest.raises(ValueError, match="make another run"):
        list(run)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        streaming.run(Brightness(), streaming.from_arrays([]), 0)


def test_the_three_stages_overlap():
    """Each stage sleeps for a while: together they take as long as one, not as three."""
    pause, count = 0.02, 20

    def slowly():
        for image in greys(count):
            time.sleep(pause)
            yield image

    run = streaming.run(Brightness(pause), streaming.from_arrays(slowly()), 1)
    for _ in run:
        time.sleep(pause)
    figures = run.figures()
    one = pause * count
    assert all(share * figures["seconds"] >= one * 0.9 for share in figures["stages"].values())
    assert figures["seconds"] < 2 * one


def test_a_source_that_is_faster_waits_and_nothing_is_dropped():
    ahead = most = count = 0

    def counted():
        nonlocal ahead, most
        for image in greys(60):
            ahead += 1
            most = max(most, ahead)
            yield image

    run = streaming.run(Brightness(0.005), streaming.from_arrays(counted()), 4)
    for _ in run:
        ahead -= 1
        count += 1
        time.sleep(0.001)
    assert count == 60 and run.figures()["dropped"] == 0
    # Waiting before the network and after it, in the network, in the decoder's hand and in ours.
    assert 4 < most <= 3 * 4 + 2


def test_live_drops_the_oldest_and_counts():
    detector = Brightness(0.05)
    run = streaming.run(detector, live_source(greys(60), 0.01), 8, live=True)
    indices = [result.frame.index for result in run]
    figures = run.figures()
    assert indices == sorted(indices) and indices[-1] == 59  # the newest always comes
    assert figures["dropped"] == 60 - len(indices) > 20
    assert set(detector.batches) == {1}
    # No frame waits for more than the turn of the network before its own.
    assert figures["latency_ms"]["p50"] < 3 * 50


def test_a_file_shown_live_keeps_its_speed():
    run = streaming.run(Brightness(), streaming.from_arrays(greys(11), rate=50), live=True)
    indices = [result.frame.index for result in run]
    assert 0.2 <= run.figures()["seconds"] < 2 and indices[-1] == 10
    assert len(indices) + run.figures()["dropped"] == 11


def test_a_live_source_is_looked_at_at_once():
    detector = Brightness()
    looked_at = threading.Event()

    def waits():
        yield greys(1)[0]
        assert looked_at.wait(10)
        yield greys(2)[1]

    for _ in streaming.run(detector, live_source(waits()), 8):
        looked_at.set()
    assert detector.batches == [1, 1]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_error_of_the_source_comes_after_what_it_gave(batch_size):
    def breaks():
        yield from greys(6)
        raise streaming.BrokenOff("the cable is cut")

    seen = []
    with pytest.raises(streaming.BrokenOff, match="the cable is cut"):
        for result in streaming.run(Brightness(), streaming.from_arrays(breaks()), batch_size):
            seen.append(result.frame.index)
    assert seen == list(range(6))


def test_an_error_before_the_first_frame():
    source = streaming.Source("wrong", lambda stop: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(streaming.run(Brightness(), source))


def test_an_error_of_the_network_comes_after_what_it_found():
    class Breaks(Brightness):
        def detect(self, images, batch_size=32, watch=None):
            if len(self.batches) == 3:
                raise ValueError("NaN")
            return super().detect(images)

    seen = []
    with pytest.raises(ValueError, match="NaN"):
        for result in streaming.run(Breaks(), streaming.from_arrays(endless()), 2):
            seen.append(result.frame.index)
    assert seen == list(range(6))


def test_a_loop_that_is_left_ends_the_stages():
    for result in streaming.run(Brightness(), streaming.from_arrays(endless()), 2):
        if result.frame.index == 5:
            break
    with pytest.raises(KeyError):
        for _ in streaming.run(Brightness(), streaming.from_arrays(endless()), 2):
            raise KeyError


def test_stop_ends_the_source_and_keeps_what_it_gave():
    given = seen = 0

    def counted():
        nonlocal given
        for image in endless():
            given += 1
            yield image

    run = streaming.run(Brightness(0.01), streaming.from_arrays(counted()), 4)
    for result in run:
        seen += 1
        if result.frame.index == 9:
            run.stop()
    # All but those that the decoder had in hand when its line ended.
    assert 10 <= seen and given - 2 <= seen <= given


def test_a_source_that_hangs_does_not_hold_up_the_stop(monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", 0.05)
    hang = threading.Event()

    def hangs():
        yield from greys(3)
        hang.wait(20)

    run = streaming.run(Brightness(), live_source(hangs()), 4)
    begin, seen = time.monotonic(), 0
    for _ in run:
        seen += 1
        if seen == 3:
            run.stop()
    assert time.monotonic() - begin < 5
    hang.set()
    for thread in threads_of_streams():
        thread.join(10)


def test_limits():
    run = streaming.run(Brightness(), streaming.from_arrays(endless()), 4, max_frames=7)
    assert [r.frame.index for r in run] == list(range(7))

    def hangs():  # after the last frame that is wanted, none is waited for
        yield from greys(3)
        raise AssertionError

    run = streaming.run(Brightness(), streaming.from_arrays(hangs()), 4, max_frames=3)
    assert [r.frame.index for r in run] == [0, 1, 2]
    source = streaming.from_arrays(endless(), rate=10)
    assert len(list(streaming.run(Brightness(), source, 4, seconds=0.5))) == 5
    run = streaming.run(Brightness(), live_source(endless(), 0.01), 4, seconds=0.3)
    assert 3 <= len(list(run)) and 0.3 <= run.figures()["seconds"] < 3


def test_percentiles():
    durations = np.random.default_rng(0).lognormal(-4, 1, 20_000)
    latencies = Latencies()
    assert latencies.percentiles_ms(50) == {"p50": None}
    for duration in durations:
        latencies.add(duration)
    for percent in (1, 50, 99, 100):
        want = np.percentile(durations, percent, method="inverted_cdf")
        assert latencies.percentile(percent) == pytest.approx(want, rel=0.0101)
    for beyond in (0.0, 1e9):  # no error
        latencies.add(beyond)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length():
    """Ten thousand frames of a megapixel, 30 GB in all."""
    sizes = []

    def frames():
        for k in range(10_000):
            yield np.full((1000, 1000, 3), k % 256, np.uint8)

    for result in streaming.run(Brightness(), streaming.from_arrays(frames()), 8):
        if result.frame.index % 500 == 499:
            sizes.append(resident_bytes())
    assert len(sizes) == 20
    assert max(sizes[2:]) - sizes[1] < 50 * 2**20
