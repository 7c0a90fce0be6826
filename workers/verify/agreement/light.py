"""Tell how well one light explains the brightness of two pictures' aligned cells: a copy's to a grey value or two.

The floor under two garments shows the same boards in both photographs. But the camera has chosen another exposure, the
garment throws another shadow, and some boards are a little darker than one curve of light can make them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.verify.agreement.cells import Cells

Array = NDArray[np.float64]

# An uneven light has five terms, which explain any few cells.
_FEWEST_EVEN, _FEWEST_UNEVEN = 6, 20
_ROUNDS = 20
# Grey values: what is nearer than this weighs no more for being nearer still.
_NEAR = 0.5


@dataclass(frozen=True, slots=True)
class Light:
    """How far the aligned cells are from what a light makes of the query: the median, in grey values of 255.

    Attributes
    ----------
    even
        Beside one gain and one offset for the whole picture; infinite where too few cells are aligned to tell.
    uneven
        Beside a curve, and more light on one side: prints that were photographed, and strong filters.
    range
        The median difference of the hit's cells from their median: where all are of one brightness, any light fits.
    """

    even: float
    uneven: float
    range: float


def light_of(cells: Cells) -> Light:
    """The light between the aligned cells of query and hit."""
    query, hit = (part[cells.is_aligned].astype(np.float64) for part in (cells.query, cells.hit))
    rows, columns = (place / max(cells.is_aligned.shape) for place in np.nonzero(cells.is_aligned))
    level, one = query / 255, np.ones(len(query))
    even = _left([one, level], hit) if len(hit) >= _FEWEST_EVEN else np.inf
    uneven = _left([one, level, level**2, rows, columns], hit) if len(hit) >= _FEWEST_UNEVEN else np.inf
    return Light(even, min(even, uneven), float(np.median(np.abs(hit - np.median(hit)))) if len(hit) else 0.0)


def _left(terms: list[Array], hit: Array) -> float:
    """The median of what the best sum of `terms` leaves of `hit`, float64 [n] each: by least absolute differences, as a
    caption over some cells is not of the light."""
    table = np.column_stack(terms)
    weights = np.ones(len(hit))
    left = hit
    for _ in range(_ROUNDS):
        solved, *_ = np.linalg.lstsq(table * weights[:, None], hit * weights, rcond=None)
        left = np.abs(table @ solved - hit)
        weights = 1 / np.sqrt(np.maximum(left, _NEAR))
    return float(np.median(left))
