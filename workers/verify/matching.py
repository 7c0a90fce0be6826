"""Match the bits of two images' keypoints, one to one: by bits alone, or where a transform brings them together."""

import numpy as np
from numpy.typing import NDArray

# Of 128 bits. Descriptors of unrelated spots differ in 50 to 64.
MOST_BITS = 38
RATIO = 0.85
MOST_BITS_NEAR = 36


def matched(query: NDArray[np.uint8], hit: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Pairs of keypoints that match, int [m, 2]: the row in `query` and in `hit` (uint8 [n, 16] each).

    Each row of the hit asks for the two nearest of the query. Where the second is nearly as near as the first, as in a
    texture that repeats, nothing says which of them it is, and it has no match.
    """
    if len(query) < 2 or not len(hit):
        return np.zeros((0, 2), np.intp)
    nearest, first, second = _two_nearest(hit, query)
    (rows,) = np.nonzero((first <= MOST_BITS) & (first < RATIO * second))
    rows = rows[np.argsort(first[rows], kind="stable")]
    chosen = nearest[rows]
    # The first of each query row is the nearest that asked for it.
    _, kept = np.unique(chosen, return_index=True)
    return np.stack([chosen[kept], rows[kept]], axis=1).astype(np.intp)


def _two_nearest(
    some: NDArray[np.uint8], among: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.uint8]]:
    """For each row, uint8 [n, 16], the nearest row of `among`, and in how many bits that and the next differ from it.

    OpenCV's batchDistance finds the same in twice the time.
    """
    ours, others = (np.ascontiguousarray(rows).view("<u8") for rows in (some, among))
    bits = np.bitwise_count(ours[:, None, 0] ^ others[None, :, 0])
    bits += np.bitwise_count(ours[:, None, 1] ^ others[None, :, 1])
    rows, nearest = np.arange(len(bits)), bits.argmin(axis=1)
    first = bits[rows, nearest]
    bits[rows, nearest] = np.iinfo(np.uint8).max
    return nearest, first, bits.min(axis=1)


def matched_near(
    query: NDArray[np.uint8],
    hit: NDArray[np.uint8],
    brought: NDArray[np.float64],
    points: NDArray[np.float64],
    near: float,
) -> NDArray[np.intp]:
    """Pairs of keypoints that match and lie within `near` of each other, int [m, 2], as `matched` gives them.

    `brought`, float64 [n, 2], is where a transform brings the keypoints of the query, and `points` where those of the
    hit are. Where a place is known, the nearest needs not be much nearer than the next.
    """
    away = ((brought[:, None].astype(np.float32) - points.astype(np.float32)) ** 2).sum(axis=2)
    ours, theirs = np.nonzero(away <= near * near)
    distances = np.bitwise_count(query[ours] ^ hit[theirs]).sum(axis=1)
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= MOST_BITS_NEAR]
    _, first = np.unique(theirs[order], return_index=True)
    order = order[np.sort(first)]
    _, first = np.unique(ours[order], return_index=True)
    kept = order[np.sort(first)]
    return np.stack([ours[kept], theirs[kept]], axis=1).astype(np.intp)
