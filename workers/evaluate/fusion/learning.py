"""Learn a projection of pooled levels from altered copies: what alterations change counts less, what images differ by
counts more.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.models.projection import Projection

DIMENSIONS: Final = 512
"""The most dimensions of a fused embedding. More find no more copies, and take more of the disk."""
_SHRINKAGE: Final = 3.0
_LEAST_VARIANCE: Final = 1e-9

Floats = NDArray[np.float64]


def learn(
    images: NDArray[np.float32], copies: NDArray[np.float32], originals: NDArray[np.intp], dim: int = DIMENSIONS
) -> Projection:
    """The projection learned from pooled levels of `images` [n, width] and of altered `copies` [m, width].

    `originals` [m] says of which image each copy was made. It whitens by what differs between a copy and its original,
    shrunk towards equal variances, as there are fewer copies than values. Of the rest it keeps the `dim` directions in
    which images and copies differ most, or fewer where there are no more.
    """
    whole = images.astype(np.float64)
    mean = whole.mean(axis=0)
    changes = copies.astype(np.float64) - whole[originals]
    # The variances of all directions together are this; where copies are their originals, any value will do.
    equal = _SHRINKAGE * (float((changes**2).sum()) / len(changes) or 1.0) / images.shape[1]
    variances, directions = _principal(changes, len(changes))
    factors = 1 / np.sqrt(variances + equal) - 1 / np.sqrt(equal)

    def whitened(rows: Floats) -> Floats:
        found: Floats = rows / np.sqrt(equal) + ((rows @ directions.T) * factors) @ directions
        return found

    seen = whitened(np.concatenate([whole, copies.astype(np.float64)]) - mean)
    _, kept = _principal(seen, dim)
    matrix = whitened(kept)
    # What comes out is brought to length 1 later, and float32 holds values near 1 best.
    largest = np.abs(matrix).max() if matrix.size else 1.0
    return Projection(mean.astype(np.float32), (matrix / largest).astype(np.float32))


def _principal(rows: Floats, most: int) -> tuple[Floats, Floats]:
    """The variances [k] of `rows` [n, width] about 0, the largest first, and their directions [k, width], `most` at
    most.
    """
    # Over the rows: of a few hundred this takes seconds, where over the thousands of values it would take minutes.
    found, mixed = np.linalg.eigh(rows @ rows.T / len(rows))
    order = np.argsort(-found, kind="stable")[:most]
    order = order[found[order] > _LEAST_VARIANCE * max(float(found.max(initial=0.0)), np.finfo(float).tiny)]
    directions = mixed[:, order].T @ rows / np.sqrt(found[order] * len(rows))[:, None]
    return found[order], directions
