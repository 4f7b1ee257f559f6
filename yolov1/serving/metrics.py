"""What a server counts and times, as Prometheus reads it."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Seconds: a batch of a small network takes two milliseconds, of the paper's on a CPU some seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """The figures of one server.

    Args:
        batch_size: most pictures of a batch.
        waiting: a function that gives the pictures on their way.
    """

    def __init__(self, batch_size, waiting):
        prometheus_client.disable_created_metrics()  # a series more for each, of when it began
        self.registry = registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)  # memory and CPU time, on Linux
        self.requests = Counter(
            "yolov1_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "yolov1_request_seconds",
            "From a request's first byte to its answer.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.images = Counter("yolov1_images", "Pictures looked at.", registry=registry)
        self.batch_images = Histogram(
            "yolov1_batch_images",
            "Pictures looked at together.",
            buckets=_doubling(batch_size),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "yolov1_batch_seconds", "Of the detector alone.", buckets=SECONDS, registry=registry
        )
        waiting_now = Gauge(
            "yolov1_images_waiting",
            "Pictures on their way: being received, waiting, being looked at.",
            registry=registry,
        )
        waiting_now.set_function(waiting)

    def batch(self, images, seconds):
        self.images.inc(images)
        self.batch_images.observe(images)
        self.batch_seconds.observe(seconds)

    def request(self, path, status, seconds):
        self.requests.labels(path, status).inc()
        self.request_seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self.registry)


def _doubling(most):
    """1, 2, 4 and so on, and the most."""
    return sorted({most, *(1 << k for k in range(most.bit_length()))})
