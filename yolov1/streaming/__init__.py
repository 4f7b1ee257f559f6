"""Frames from files, cameras and streams through a detector, and what was found to files.

    detector = inference.load("runs/mine", score_threshold=0.25)
    source = streaming.open_source("street.mp4")
    stream = streaming.run(detector, source)
    with streaming.VideoFile("found.mp4", source) as video:
        for result in stream:
            video.write(result.frame, streaming.draw(result, detector.classes))
    print(stream.figures())

Three stages overlap: decoding and the network have a thread each, and the body of the loop is the
third. What waits between them is bounded, so memory is constant however long a stream lasts.

Films, cameras and addresses are read by PyAV (``pip install 'yolov1[video]'``), which is imported
when one is opened and not before; pictures need it not.
"""

from yolov1.streaming.drawing import draw
from yolov1.streaming.folders import names, pictures, watch
from yolov1.streaming.frames import BrokenOff, Frame, Source, StreamError, from_arrays
from yolov1.streaming.json_lines import JsonLines
from yolov1.streaming.opening import is_stream, open_source
from yolov1.streaming.pipeline import Result, Run, run
from yolov1.streaming.video_file import VideoFile
from yolov1.streaming.window import Window

__all__ = [
    "BrokenOff",
    "Frame",
    "JsonLines",
    "Result",
    "Run",
    "Source",
    "StreamError",
    "VideoFile",
    "Window",
    "draw",
    "from_arrays",
    "is_stream",
    "names",
    "open_source",
    "pictures",
    "run",
    "watch",
]
