"""Normalise the similarities of one query: how far each stands above the ranks behind the hits (pure)."""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BEHIND: Final = slice(4, 20)
"""The ranks behind the hits, in the order of similarity: an image has seldom more than four copies."""
SPREAD: Final = 0.02
"""The standard deviation that the ranks behind are taken to have where nothing is known of them."""
# So many values of that spread are added to those that are known: two or three alone would say anything, and where all
# images are equal, the last bit of a float would count as many deviations.
_ADDED: Final = 4


def normalised(similarities: Floats, behind: Floats) -> Floats:
    """How many standard deviations each similarity stands above those of the ranks behind the hits of its query.

    `similarities` float32 [n] are cosines of hits, and `behind` float32 [m] those of the ranks behind them, such as
    `BEHIND`; the result is float32 [n], in the same order, and higher where the similarity is. The deviation is that of
    `behind` and of four more values of the spread `SPREAD`: it is never 0. With nothing behind, it is `SPREAD`, and
    what the hits stand above is the least of them: that orders them, and says nothing of how far they stand out.
    """
    if not len(similarities):
        return np.empty(0, np.float32)
    level = float(np.mean(behind, dtype=np.float64)) if len(behind) else float(np.min(similarities))
    squares = float(np.sum((behind.astype(np.float64) - level) ** 2))
    deviation = np.sqrt((squares + _ADDED * SPREAD**2) / (len(behind) + _ADDED))
    return np.asarray((similarities.astype(np.float64) - level) / deviation, np.float32)
