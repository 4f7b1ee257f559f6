"""What `darknet yolo test` does with paths of images, without a network.

Its clock is the C library's, and it takes its time without work for the processor.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

_, command, task, cfg, weights, flag, threshold = sys.argv
clock = ctypes.CDLL(None).clock
clock.restype = ctypes.c_long


def main():
    assert (command, task, flag) == ("yolo", "test", "-thresh")
    if not Path(weights).is_file():
        print(f"Couldn't open file: {weights}", file=sys.stderr)
        return
    assert Path("data/labels/name.txt").is_file()  # the folder that it draws with
    Path("predictions.jpg").write_text("a picture")
    while True:
        print("Enter Image Path: ", end="", flush=True)
        path = sys.stdin.readline().strip()
        if not path:
            return
        begin = clock()
        time.sleep(0.02)
        seconds = (clock() - begin) / 1e6
        print(f"{path}: Predicted in {seconds:f} seconds.")
        print(f"dog: {100 * float(threshold):.0f}%\ntvmonitor: {os.environ['OMP_NUM_THREADS']}%")


main()
