import threading
import time
import weakref

import numpy as np
import pytest

from yolov1.inference import Detections
from yolov1.serving.batching import Batcher, Full


def scored(value):
    return Detections(np.zeros((1, 4)), np.array([value]), np.array([0]))


class Held:
    """Looks at numbers, once it may."""

    def __init__(self):
        self.go, self.batches = threading.Event(), []

    def __call__(self, numbers):
        assert self.go.wait(30)
        self.batches.append(list(numbers))
        if any(n < 0 for n in numbers):
            raise ValueError("below zero")
        return [scored(n) for n in numbers]


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_what_comes_together_is_looked_at_together_and_each_gets_its_own():
    detect, seen = Held(), []
    batcher = Batcher(detect, batch_size=4, watch=lambda images, seconds: seen.append(images))
    futures = [batcher.submit(0)]
    until(lambda: futures[0].running())
    futures += [batcher.submit(n) for n in range(1, 10)]
    detect.go.set()
    found = [future.result(10) for future in futures]
    assert [one.detections.scores[0] for one in found] == list(range(10))
    assert [len(b) for b in detect.batches] == [1, 4, 4, 1] == seen
    assert [one.batch_size for one in found] == [1, 4, 4, 4, 4, 4, 4, 4, 4, 1]
    batcher.close()


def test_places_are_given_back():
    batcher = Batcher(Held(), places=3)
    with batcher.place(2):
        with batcher.place():
            with pytest.raises(Full), batcher.place():
                pass
        with pytest.raises(Full), batcher.place(2):
            pass
        assert batcher.taken == 2
    with pytest.raises(RuntimeError), batcher.place(3):
        raise RuntimeError
    assert batcher.taken == 0
    batcher.close()


def test_one_picture_that_fails_is_not_the_others_fault():
    detect = Held()
    batcher = Batcher(detect)
    futures = [batcher.submit(5)]
    until(lambda: futures[0].running())
    futures += [batcher.submit(n) for n in (1, -1, 2)]
    detect.go.set()
    assert [futures[k].result(10).detections.scores[0] for k in (0, 1, 3)] == [5, 1, 2]
    with pytest.raises(ValueError, match="below zero"):
        futures[2].result(10)
    assert detect.batches == [[5], [1, -1, 2], [1], [-1], [2]]
    assert batcher.alive()
    batcher.close()


def test_what_is_cancelled_is_not_looked_at():
    detect = Held()
    batcher = Batcher(detect)
    first = batcher.submit(1)
    until(first.running)
    second, third = batcher.submit(2), batcher.submit(3)
    assert second.cancel()
    detect.go.set()
    assert third.result(10).detections.scores[0] == 3
    assert 2 not in sum(detect.batches, [])
    batcher.close()


def test_what_waits_is_answered_before_the_end():
    detect = Held()
    batcher = Batcher(detect, batch_size=2)
    futures = [batcher.submit(n) for n in range(5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    detect.go.set()
    closing.join(10)
    assert [future.result(0).detections.scores[0] for future in futures] == list(range(5))
    assert not batcher.alive()


def test_no_picture_is_kept_once_it_is_answered():
    batcher = Batcher(lambda pictures: [scored(1) for _ in pictures])
    pictures = [np.zeros((2, 2, 3), np.uint8) for _ in range(3)]
    kept = [weakref.ref(picture) for picture in pictures]
    futures = [batcher.submit(pictures.pop()) for _ in range(3)]
    assert all(future.result(10).detections.scores == 1 for future in futures)
    until(lambda: not any(reference() is not None for reference in kept))
    batcher.close()
