"""A sample of images as the doctor timed it, and the source that it is of."""

from typing import Any

from coordinator.doctor.source_sample import ListedSource
from coordinator.doctor.timing import TimedSample, timed_sample_of
from shared.images.location import Location
from shared.models import resolve_model
from shared.settings import Settings

SPEC = resolve_model("efficientnet-lite0")
MEASURED: dict[str, Any] = {
    "read": 100, "embedded": 95, "failed": {"vanished": 2, "truncated": 3}, "bytes": 10_000, "bytes_from_disk": 9_000,
    "examples": [{"path": "/photos/a.jpg", "error": "The file was listed, but is no longer there."}],
    "seconds": 10.0, "marks": [[50, 5.0], [100, 10.0]], "spent": {"read": 1.0, "decode": 2.0, "model": 9.0},
    "load": {"busy": {"read": 0.1, "decode": 0.2, "model": 0.9, "write": 0.0},
             "held_up": {"read": 0.0, "decode": 0.0, "model": 0.9, "write": 0.0}},
    "threads": 2, "batch_size": 8, "dim": 1_280, "model_seconds": 1.0, "peak_bytes": 10**8,
    "feature_bytes": 0, "index": {"type": "Flat", "bytes": 10**6},
}  # fmt: skip
LISTED = ListedSource(
    "folder", "/photos", count=1_000, path_bytes=20_000, seconds=0.5, complete=True, sample=[Location("/photos/a.jpg")]
)


def made(**changes: Any) -> TimedSample:
    """What was measured of `LISTED`, but for `changes`."""
    return timed_sample_of(LISTED, MEASURED | changes, SPEC, Settings())
