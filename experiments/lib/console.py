"""The console is the experiment's: what TensorFlow's libraries write to it themselves is held back.

Two dozen words of theirs come before the first line of ours, whatever ``TF_CPP_MIN_LOG_LEVEL``
says, and mean nothing as long as all goes well. So their file descriptor goes to a file, and
`sys.stderr`, with which Python, absl and our own code write, keeps the console. Nothing is lost:
the file is shown with ``--verbosity=1``, when an experiment fails, and, by a shell that waits for
this process to end, when it ends without a word: by a crash, or by the system's lack of memory.
"""

import os
import subprocess
import sys
import tempfile

# Of `read`, the end of this process is the end of its input.
WATCH = 'read word || cat "$0" >&2; rm -f "$0"'

_held = None  # (copy of descriptor 2, the file's name, the shell that watches)


def hold():
    """From now on nothing but Python writes to the console."""
    global _held
    try:
        console = os.dup(2)
        file, name = tempfile.mkstemp(prefix="yolov1-console-")
        watch = subprocess.Popen(
            ["sh", "-c", WATCH, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
    except OSError:
        return  # no shell, no folder for the file, no standard error: nothing is held back
    os.dup2(file, 2)
    os.close(file)
    text = {"encoding": sys.stderr.encoding, "errors": "backslashreplace"}
    sys.stderr = open(console, "w", buffering=1, **text)
    _held = console, name, watch


def release(show=False):
    """Gives the console back to all; does nothing where it was not held.

    Args:
        show: what was held back is shown first.
    """
    global _held
    if _held is None:
        return
    console, name, watch = _held
    _held = None
    if show:
        with open(name, encoding="utf-8", errors="replace") as file:
            sys.stderr.write(file.read())
            sys.stderr.flush()
    os.dup2(console, 2)
    watch.communicate(b"done\n")


def print_anything():
    """Lets names of files through that the terminal's encoding has no characters for, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where something else stands in for it
            stream.reconfigure(errors="backslashreplace")
