"""Rerank candidates exactly: screen them in SIMD, and order the best in full precision."""

import functools
from typing import Any, Final

import numpy as np

from shared.vectors import widen
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Half, Rows, StoredEmbeddings, cosines

try:
    import numkong
except Exception:  # It is missing, or this machine can't load the wheel.
    numkong = None  # type: ignore[assignment, unused-ignore]

_ERROR: Final = 7e-4
"""How far a screened cosine may be off: 2**-11 for a query that is rounded to float16, 2**-25 for each of its values
that is too small for that, and a margin for the sums."""

# How far the sums alone may be off, which is checked once for each dimension; measured: 1e-6.
_SUM_ERROR: Final = 1e-4
# Fewer rows than this beyond k are compared in full at once: screening them would cost as much.
_WORTH: Final = 32


def nearest(stored: StoredEmbeddings, rows: Rows, query: Floats, k: int) -> tuple[Rows, Floats]:
    """The best k of `rows`, int64 [n], and their cosine similarities to `query` (float32 [d], length 1).

    Best first, ties by row; all of the rows if there are fewer than k. Similarities and order are those of
    `StoredEmbeddings.cosines`: screening only leaves out rows that can't be among the k.
    """
    if len(rows) <= k + _WORTH or not _screens(stored.dim):
        return _first(rows, stored.cosines(rows, query), k)
    half = query.astype(np.float16)[None]
    screened = np.empty(len(rows), dtype=np.float32)
    block = np.empty((0, stored.dim), dtype=np.float16)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = stored.gathered(rows[start : start + BLOCK_ROWS])
        screened[start : start + len(block)] = simd_cosines(block, half)
    kth = np.partition(screened, len(rows) - k)[len(rows) - k]
    # The k best by the screen are no worse than kth - error, so a row below kth - 2 * error is not one of the k. The
    # comparison is negated, so that NaN is never left out.
    near = np.flatnonzero(~(screened < kth - 2 * _ERROR))
    settled = cosines(block[near], query) if len(block) == len(rows) else stored.cosines(rows[near], query)
    return _first(rows[near], settled, k)


def _first(rows: Rows, similarities: Floats, k: int) -> tuple[Rows, Floats]:
    order = np.lexsort((rows, -similarities))[:k]
    return rows[order], similarities[order]


def simd_cosines(rows: Half, query: Half) -> Any:
    """Cosine similarities [n] of float16 [n, d] and float16 [1, d]; 30 us for 200 x 1,792 where NumPy takes 250."""
    return 1 - np.asarray(numkong.cdist(rows, query, metric="angular"))[:, 0]


@functools.cache
def _screens(dim: int) -> bool:
    """Whether this machine has the SIMD routine, and it is exact enough at this dimension."""
    if numkong is None:
        return False
    # All values have one sign, so that sums grow and nothing cancels; half are so small that float16 has them
    # subnormal.
    values = np.random.default_rng(dim).random((64, dim)) + 0.01
    values[:, ::2] *= 1e-4
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    rows = unit.astype(np.float16)
    try:
        found = simd_cosines(rows, rows[:1])
    except Exception:
        return False
    wide = widen(rows).astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    # With this comparison, NaN gives False.
    return bool(np.abs(found - wide @ wide[0]).max() < _SUM_ERROR)
