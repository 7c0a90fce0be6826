"""The cosine of the job's model, by one view of a query or by six."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmarks.truth.methods.compared import Compared, Floats
from benchmarks.truth.methods.views import squares
from workers.models.embedder import Embedder

_BYTES_OF_A_VALUE = 2  # A job stores float16.


def cosine(embedder: Embedder, views: int, how: str) -> Compared:
    """The method of a model; `how` says how its images are decoded."""
    describe = partial(_described, embedder, how)
    name = "cosine" if views == 1 else f"cosine, {views} views"
    about = f"{embedder.fingerprint}, " + (
        "the whole query" if views == 1 else "the whole query, the pictures in it, its centre, its corners"
    )
    return Compared(name, about, partial(describe, 1), partial(describe, views), embedder.dim * _BYTES_OF_A_VALUE)


def _described(embedder: Embedder, how: str, views: int, files: Sequence[bytes]) -> Floats:
    shown = np.concatenate([squares(data, embedder.image_size, views, how) for data in files])
    step = embedder.batch_size
    rows = [embedder.embed(shown[start : start + step]) for start in range(0, len(shown), step)]
    # A row that is not a number is a picture in which the model sees nothing: it is like no other.
    found = np.nan_to_num(np.concatenate(rows))
    return np.asarray(found.reshape(len(files), views, -1), np.float32)
