"""Put the similarities of two models for the candidates of one query on one scale, and take their mean (pure)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workers.search.cascade.normalised import BEHIND, normalised

Floats = npt.NDArray[np.float32]


def fused(similarities: Sequence[float], finer: Sequence[float | None]) -> Floats:
    """What candidates are ordered by, float32 [n]: how far each stands above the ranks behind, by both models.

    `similarities` are the cosines by the model of the job, `finer` those by the finer model, None where an image was
    not compared by it: there the other alone counts. A cosine of .8 is much by one model and little by another, so each
    is first measured by its own ranks behind.
    """
    found = _standing(np.asarray(similarities, np.float32))
    there = np.array([value is not None for value in finer], bool)
    by_finer = _standing(np.array([value for value in finer if value is not None], np.float32))
    found[there] = (found[there] + by_finer) / 2
    return found


def _standing(values: Floats) -> Floats:
    return normalised(values, np.sort(values)[::-1][BEHIND])
