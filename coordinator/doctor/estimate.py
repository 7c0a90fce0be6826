"""Predict hours, disk, memory and sessions for the whole source from a timed sample (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SESSION_SECONDS: Final = 12 * 3_600.0
"""How long Colab leaves a machine to its user, at most."""

ROW_BYTES: Final = 50
"""A row of metadata without its path: 32 bytes of SHA-256 that nothing compresses, size, width, height, id. Measured on
50,000 rows as `shared/job/partition/sealing.py` writes them: 44 to 49."""

PATH_SHARE: Final = 1 / 3
"""The share of a path that is left in Parquet. Measured: a tenth for names that are counted up, a third for random
names.
"""

IMAGES_ROW_BYTES: Final = 12
"""An image in `images.arrow` beside its path: the id and where the path ends."""

FEATURE_ROW_BYTES: Final = 40
"""A row of the features of an image beside what was measured of them: its id, its place, a checksum, some bytes of its
SHA-256. What is measured includes its PDQ."""

HEADER_BYTES: Final = 128
MERGE_BYTES: Final = 320_000_000
MERGE_ROW_BYTES: Final = 80
"""What a merge takes beside twice its index, in all and for each embedding. This is above everything that
benchmarks/results/index.json measured on 200,000 to 2,000,000 embeddings of 1,792 dimensions, and at most 1.6 times as
much.
"""

CELERY_BYTES: Final = 75_000_000
"""What Celery and the rest of a worker take beside the stage that a timed sample runs: 74 MB, measured."""

QUARTERS: Final = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """What embedding the whole source takes, in bytes and seconds; `low` and `high` come from the fastest and the
    slowest quarter of the sample. `sessions` is None if not even one chunk would fit into a session.

    `kept` stays on the disk of the job, `disk` is what it takes at its largest. `features` is 0 where none are stored.
    """

    images: int
    rate: float
    seconds: float
    low: float
    high: float
    sessions: int | None
    embeddings: int
    metadata: int
    index: int
    features: int
    kept: int
    disk: int
    embed_memory: int
    merge_memory: int

    @property
    def memory(self) -> int:
        """Bytes of memory of one embed and one merge worker, which run side by side."""
        return self.embed_memory + self.merge_memory


def quarter_rates(marks: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The lowest and the highest rate, in images a second, of the four quarters of the time that `marks` span.

    `marks` are (images done, seconds since the beginning), ascending; between two of them the images are assumed to
    come evenly. Raises ValueError if there is none after the beginning.
    """
    points = [(0, 0.0), *marks]
    end = points[-1][1]
    if end <= 0:
        raise ValueError("A rate needs a mark after the beginning.")
    done = [_done_at(points, end * quarter / QUARTERS) for quarter in range(QUARTERS + 1)]
    rates = [(after - before) / (end / QUARTERS) for before, after in pairwise(done)]
    return min(rates), max(rates)


def _done_at(points: Sequence[tuple[int, float]], moment: float) -> float:
    for (count, at), (next_count, next_at) in pairwise(points):
        if moment <= next_at:
            share = (moment - at) / (next_at - at) if next_at > at else 1.0
            return count + (next_count - count) * share
    return points[-1][0]


def merge_memory(images: int, index_bytes: int) -> int:
    """MERGE_BYTES, twice the index, and MERGE_ROW_BYTES an image."""
    return MERGE_BYTES + 2 * index_bytes + MERGE_ROW_BYTES * images


def predict(
    *,
    images: int,
    marks: Sequence[tuple[int, float]],
    dim: int,
    path_bytes: float,
    index_bytes: int,
    partition_size: int,
    chunk_size: int,
    list_seconds: float,
    model_seconds: float,
    embed_memory: int,
    feature_bytes: float | None = None,
) -> Prediction:
    """Predict what `images` take in one embed worker at the rate of the sample.

    - seconds: `list_seconds` (for listing all) + `model_seconds` (until the model is loaded) + images / rate
    - embeddings: 2 `dim` bytes an image and a header a partition; metadata: ROW_BYTES and PATH_SHARE of a path, and
      PATH_SHARE of it once more in the path list; index: its file, and IMAGES_ROW_BYTES and a path an image
    - features: `feature_bytes` and FEATURE_ROW_BYTES an image, or None if none are stored
    - disk at its largest: all that, and the chunks of a partition that is just being sealed, or the index twice while
      it is saved
    - memory: `embed_memory`, as it was measured, and CELERY_BYTES; a merge as `merge_memory` has it
    - sessions: those of SESSION_SECONDS that it takes, when each loads the model again and the two chunks under way at
      its end are lost

    Raises ValueError if `marks` hold no image.
    """
    done, spent = marks[-1] if marks else (0, 0.0)
    if not done or spent <= 0:
        raise ValueError("A prediction needs at least one image that was timed.")
    rate = done / spent
    slowest, fastest = quarter_rates(marks)
    embeddings = images * 2 * dim + HEADER_BYTES * math.ceil(images / partition_size)
    row = ROW_BYTES + path_bytes * PATH_SHARE
    metadata = round(images * (row + path_bytes * PATH_SHARE))
    index = index_bytes + round(images * (IMAGES_ROW_BYTES + path_bytes))
    stored = 0.0 if feature_bytes is None else feature_bytes + FEATURE_ROW_BYTES
    features = round(images * stored)
    kept = embeddings + metadata + index + features
    under_way = round(min(images, partition_size) * (2 * dim + row + stored))
    before = list_seconds + model_seconds
    useful = SESSION_SECONDS - model_seconds - 2 * chunk_size / rate
    return Prediction(
        images=images,
        rate=rate,
        seconds=before + images / rate,
        low=before + images / fastest,
        high=before + images / slowest if slowest > 0 else math.inf,
        sessions=max(1, math.ceil(images / rate / useful)) if useful > 0 else None,
        embeddings=embeddings,
        metadata=metadata,
        index=index,
        features=features,
        kept=kept,
        disk=kept + max(under_way, index_bytes),
        embed_memory=embed_memory + CELERY_BYTES,
        merge_memory=merge_memory(images, index_bytes),
    )
