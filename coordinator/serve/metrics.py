"""Count what the server does, as Prometheus reads it."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server."""

    def __init__(self, searches: Callable[[], int], streams: Callable[[], int]) -> None:
        """`searches` and `streams` say how many searches are under way, and how many streams of events are open."""
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "lookalike_http_answers", "Answers by operation and status; 499 where the client went away.",
            ["operation", "status"], registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "lookalike_http_seconds", "Seconds from the head of a request to the end of its answer.", ["operation"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        for name, what, read in (
            ("lookalike_http_searches", "Searches that wait or are being answered.", searches),
            ("lookalike_http_streams", "Streams of events that are open.", streams),
        ):
            Gauge(name, what, registry=self._registry).set_function(read)

    def seen(self, operation: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._answers.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
