"""What the input pipeline is meant to reach, as ratios within one run, and whether it does."""

import numpy as np

from benchmarks import targets


class Ratios:
    """Ratios of what one run measured; what was not measured makes a ratio None.

    Args:
        wall: {image size: {provider: seconds an image, of each round}}.
        cpu: the same, of all threads together.
    """

    def __init__(self, wall, cpu):
        self._wall, self._cpu = wall, cpu

    def times(self, fast, slow, size):
        """How many times as fast the one is as the other, within a round."""
        return within(self._wall.get(size, {}), fast, slow)

    def cpu(self, much, little, size):
        """How many times as much CPU time an image takes."""
        return within(self._cpu.get(size, {}), little, much)


def within(seconds, fast, slow):
    """The median over the rounds of one provider's speed against another's, or None."""
    if fast not in seconds or slow not in seconds:
        return None
    return float(np.median(seconds[slow] / seconds[fast]))


def _rules(r):
    """(case, measured, "at most" or "at least", target); without a target where none is set."""
    # 1.25: 2500 images/s where decoding alone does 2000.
    for fast, slow, size, target in (
        ("ours_paper", "posts_cv2", 448, 5),
        ("ours_paper", "decoding", 448, 0.75),
        ("ours_paper_cached", "posts_cv2", 448, 10),
        ("ours_paper_cached", "decoding", 448, 1.25),
        ("ours_paper", "posts_cv2", 112, 12),
        ("decoding", "posts_cv2", 112, None),  # what a way that decodes can reach
        ("ours_paper", "decoding", 112, None),
        ("ours_paper_cached", "posts_cv2", 112, None),
    ):
        yield f"{size} px, {fast} / {slow}", r.times(fast, slow, size), "at least", target
    for size in (448, 112):
        for peer in ("dali_cpu", "grain"):
            measured = r.times("ours_paper", peer, size)
            yield f"{size} px, ours_paper / {peer}", measured, "at least", 1
        for peer in ("simplejpeg", "keras", "posts_cv2_workers", "ours_paper_reference"):
            yield f"{size} px, ours_paper / {peer}", r.times("ours_paper", peer, size), "", None
    for piped, bare in (("ours_paper_encoded", "ours_op"), ("ours_paper_cached", "ours_op_cached")):
        yield f"448 px, CPU, {piped} / {bare}", r.cpu(piped, bare, 448), "at most", 1.15


def table(wall: dict, cpu: dict) -> list[tuple[str, str, str, str]]:
    """(case, target, measured, verdict) of every target, as text; arguments of `Ratios`."""
    return targets.table(_rules(Ratios(wall, cpu)))
