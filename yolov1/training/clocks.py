"""What a training looks at the clock for."""

import time


class CheckpointClock:
    """Saves when enough time has passed since it last did."""

    def __init__(self, checkpoints, minutes: float):
        self.checkpoints, self.seconds, self.saved = checkpoints, 60 * minutes, time.monotonic()

    def save_if_due(self, always=False):
        if always or time.monotonic() - self.saved > self.seconds:
            self.checkpoints.save_last()
            self.saved = time.monotonic()
