"""Serves a trained detector: a page on which pictures are dropped, and answers to programs.

    python -m experiments.serve --checkpoint=runs/shapes
    curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8000/detect

Needs the extra `serve`. Answers are in the COCO results form; requests that come together are
looked at in one batch. It knows no users and no passwords, and so listens to this machine alone
unless `--host` says otherwise. Ctrl-C or SIGTERM ends it, once what came is answered. See
docs/serve.md.
"""

from absl import flags

from yolov1.files import user_path
from yolov1.revision import git_revision

from .lib import detectors
from .lib import flags as experiment_flags

HOST = flags.DEFINE_string("host", "127.0.0.1", "Where it listens; 0.0.0.0 is to everyone.")
PORT = flags.DEFINE_integer("port", 8000, "Port; 0 takes a free one.", 0, 65535)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images at once, at most.", 1)
QUEUE = flags.DEFINE_integer(
    "queue", 64, "Pictures on their way at a time; more are asked to come again.", 1
)
MAX_MB = flags.DEFINE_float("max_mb", 20, "Largest body of a request, in millions of bytes.", 0.001)
MAX_PIXELS = flags.DEFINE_integer("max_pixels", 50_000_000, "Largest picture.", 1)
BODY_SECONDS = flags.DEFINE_float("body_seconds", 30, "In which a body must have come.", 0.1)
flags.DEFINE_boolean("debug", False, "No difference: it listens within seconds, until stopped.")
detectors.define(score_threshold=0.05)


def main(argv):
    del argv
    try:
        from yolov1.serving import app, server, service, uploads
    except ModuleNotFoundError as error:
        raise experiment_flags.UserError(
            f"experiments.serve needs {error.name}: pip install 'yolov1[serve]'"
        ) from error
    detector = detectors.load_detector()
    try:
        listening = server.listen(HOST.value, PORT.value)
    except OSError as error:
        raise experiment_flags.UserError(
            f"--host={HOST.value} --port={PORT.value}: {error.strerror}. Give another --port (0 "
            "takes a free one), or an address of this machine."
        ) from error
    limits = uploads.Limits(int(MAX_MB.value * 1e6), MAX_PIXELS.value, BODY_SECONDS.value)
    sizes = {"batch_size": BATCH_SIZE.value, "queue": QUEUE.value}
    name = user_path(flags.FLAGS.checkpoint).resolve().name
    about = {"model": name, "revision": git_revision()}
    served = app.create_app(service.Service(detector, limits=limits, **sizes), about)
    print(f"{name} at {server.address(listening)}; Ctrl-C ends it.", flush=True)
    server.serve(served, listening)
    print("Ended; all that came was answered.")


if __name__ == "__main__":
    experiment_flags.run(main)
