"""What experiments.detect does with a stream: lines of JSON, a film, a window, pictures."""

import contextlib
import signal
import sys
import time

import numpy as np
from absl import app, flags

from yolov1 import streaming, training
from yolov1.files import user_path
from yolov1.interrupts import STATUS
from yolov1.streaming.drawing import picture_name, save

from . import common, pictures
from .flags import BROKE_OFF, UserError

# The flags belong to the experiment that calls `define`: ``--help`` shows the main module's only.
flags.disclaim_key_flags()

FLAGS = ("video", "show", "live", "max_frames", "seconds")
PROGRESS = 5.0  # seconds from one line on the console to the next


def define():
    """Defines the flags of streams."""
    flags.DEFINE_string(
        "video", "", "Of a stream: also write it with its boxes, to this .mp4, .mkv or .webm."
    )
    flags.DEFINE_boolean("show", False, "Of a stream: show it in a window meanwhile.")
    flags.DEFINE_boolean(
        "live", False, "Of a stream: drop frames that the network has no time for, and count them."
    )
    flags.DEFINE_integer("max_frames", None, "Of a stream: end after as many.", lower_bound=1)
    flags.DEFINE_float(
        "seconds", None, "Of a stream: end after as many, of a film's or else of the clock's.", 1e-3
    )


def among(places):
    """The one of the places that is a stream; None where all are pictures in files.

    Raises:
        UserError: a stream beside something else.
        UsageError: a flag of streams without one.
    """
    found = [place for place in places if streaming.is_stream(place)]
    if found and len(places) > 1:
        raise UserError(
            f"--images={found[0]} is a stream, which is looked at alone, got {len(places)} places. "
            "Run it once for each."
        )
    given = [name for name in FLAGS if flags.FLAGS[name].value]
    if given and not found:
        raise app.UsageError(
            f"--{given[0]} is of streams, got pictures in files: --images={places[0]}."
        )
    return found[0] if found else None


def detect(detector, place, output, batch_size, max_frames=None) -> int:
    """Looks at a stream until it ends, or somebody ends it.

    Writes detections.jsonl, summary.json, pictures/ of a stream of files, and what the flags say.

    Args:
        place: the stream.
        max_frames: unless ``--max_frames`` says how many.

    Returns:
        The exit code.
    """
    given = flags.FLAGS
    # The first call traces the network, for which no camera waits.
    detector.detect([np.zeros((8, 8, 3), np.uint8)], 1)

    def report(entry):
        lines.report(entry)
        print(pictures.unreadable(entry), flush=True)

    source = streaming.open_source(place, report=report, leave_out=[output / "pictures"])
    stream = streaming.run(
        detector,
        source,
        batch_size,
        live=given.live,
        max_frames=given.max_frames or max_frames,
        seconds=given.seconds,
    )
    shows = []  # what is done with each picture that is drawn
    summary = {"source": source.name, "live": given.live, "video": given.video or None}
    with contextlib.ExitStack() as stack:
        if given.video:
            film = streaming.VideoFile(user_path(given.video), source)
            shows.append(stack.enter_context(film).write)
        if given.show:
            window = streaming.Window(source.name, stream.stop)
            shows.append(stack.enter_context(window).show)
        lines = stack.enter_context(
            streaming.JsonLines(output / "detections.jsonl", detector.classes)
        )
        # However the stream ends, the summary says what there is.
        stack.callback(lambda: _write_summary(output, summary, stream, lines))
        summary["ended"] = "by an error"
        summary["ended"], code = _look(stream, lines, shows, output)
    _say(stream, lines, output)
    if code is None:
        code = 0 if lines.frames or (source.live and not lines.unreadable) else 1
    elif code in STATUS.values() and source.live:
        code = 0  # there is no other end
    return code


def _look(stream, lines, shows, output):
    """(what ended the stream, the exit code that it asks for)."""
    said = time.monotonic()
    with _ended_by_signals(stream) as caught:
        try:
            for result in stream:
                _take(result, lines, shows, output)
                if result.frame.name is None and time.monotonic() > said + PROGRESS:
                    said = time.monotonic()
                    _say_progress(result, stream)
        except streaming.BrokenOff as error:
            print(f"error: {error}", file=sys.stderr)
            return str(error), BROKE_OFF if lines.frames else 1
    return ("by a signal", STATUS[caught[0]]) if caught else ("at its end", None)


def _take(result, lines, shows, output):
    """Writes what was found in a frame before anything is drawn of it."""
    frame, classes = result.frame, lines.classes
    if frame.name is not None:
        picture = picture_name(frame.index, frame.name)
        lines.write(result, picture=picture)
        found = pictures.count_by_class(result.detections, classes) or "nothing found"
        print(f"{frame.name}: {found}", flush=True)
    else:
        lines.write(result)
    if shows or frame.name is not None:
        drawn = streaming.draw(result, classes, pictures.MIN_SIDE)
    if frame.name is not None:
        with common.drawing(output / picture):
            save(drawn, output / picture)
    for show in shows:
        show(frame, drawn)


@contextlib.contextmanager
def _ended_by_signals(stream):
    """Inside, the first Ctrl-C, or the system's wish that the program ends, ends the stream; the
    next one is as ever. Gives the list of signals that came."""
    caught = []

    def end(number, _):
        signal.signal(number, before[number])
        caught.append(number)
        stream.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_summary(output, summary, stream, lines):
    counts = {"detections": lines.detections, "unreadable": lines.unreadable}
    training.write_json(output / "summary.json", summary | stream.figures() | counts)


def _say_progress(result, stream):
    figures = stream.figures()
    print(
        f"frame {result.frame.index}, {result.frame.seconds:.1f} s: "
        f"{figures['frames_per_second']:.1f} frames/s, {figures['dropped']} dropped",
        flush=True,
    )


def _say(stream, lines, output):
    figures = stream.figures()
    if lines.frames:
        p50, p99 = (figures["latency_ms"][name] for name in ("p50", "p99"))
        shares = ", ".join(f"{name} {share:.0%}" for name, share in figures["stages"].items())
        print(
            f"{figures['frames_per_second']:.1f} frames/s; latency p50 {p50:.0f} ms, "
            f"p99 {p99:.0f} ms; at work: {shares}"
        )
    counts = {name: figures[name] for name in ("dropped", "damaged")}
    counts["unreadable"] = lines.unreadable
    more = "".join(f", {n} {name}" for name, n in counts.items() if n)
    print(f"{lines.frames} frames, {lines.detections} boxes{more}; written to {output}")
