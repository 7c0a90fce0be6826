"""Find the nearest of all embeddings to each query, by cosine, without an index."""

from typing import Final, NamedTuple

import numpy as np

from shared.vectors import widen
from workers.vectors import rerank
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Rows, StoredEmbeddings

TIE: Final = 1e-6
"""Cosine similarities closer than this are one value: float32 sums of the same numbers differ by as much."""


# Up to here, comparing in SIMD, some queries a pass, takes less time than one pass of matrix products for all of them.
_FEW_QUERIES: Final = 64
_QUERIES_A_PASS: Final = 8

# How many are kept beyond k while the blocks pass: a matrix product gives equal embeddings values that differ in the
# last bits.
_SLACK = 32


_NOTHING = -2.0  # Below every cosine.


class Neighbours(NamedTuple):
    """The images nearest to each query: ids int64 [q, k] and cosine similarities float32 [q, k], best first.

    If fewer than k were found, the rest of the row is id -1 with similarity -inf.
    """

    ids: Rows
    similarities: Floats


def exact_search(stored: StoredEmbeddings, queries: Floats, k: int) -> Neighbours:
    """The k embeddings of highest cosine similarity to each query (float32 [q, d], length 1), all of them compared.

    Ties are ordered by image id. With fewer than k embeddings, there are as many columns as embeddings. One block of
    embeddings is in memory at a time.
    """
    k = min(k, len(stored))
    if k and 0 < len(queries) <= _FEW_QUERIES and rerank.screens(stored.dim):
        return _in_simd(stored, queries, k)
    keep = min(k + _SLACK, len(stored))
    best = np.full((len(queries), keep), _NOTHING, dtype=np.float32)
    rows = np.full((len(queries), keep), -1, dtype=np.int64)
    for first, half in stored.blocks(BLOCK_ROWS):
        block = widen(half)
        similarities = queries @ block.T
        similarities /= np.sqrt(np.einsum("ij,ij->i", block, block))
        # Rows come in the order of ids, so a later equal one need not be compared. Most blocks change few queries.
        for number in np.flatnonzero(similarities.max(axis=1) > best[:, -1]):
            better = np.flatnonzero(similarities[number] > best[number, -1])
            values = np.concatenate([best[number], similarities[number, better]])
            value_rows = np.concatenate([rows[number], first + better])
            kept = _foremost(values, value_rows, k)[:keep]
            best[number], rows[number] = values[kept], value_rows[kept]
    return _settled(stored, queries, rows, k)


def _in_simd(stored: StoredEmbeddings, queries: Floats, k: int) -> Neighbours:
    passes = [queries[first : first + _QUERIES_A_PASS] for first in range(0, len(queries), _QUERIES_A_PASS)]
    found = [nearest for some in passes for nearest in rerank.nearest_of_all(stored, some, k)]
    return Neighbours(stored.ids[np.stack([rows for rows, _ in found])], np.stack([cosines for _, cosines in found]))


def _foremost(values: Floats, rows: Rows, k: int) -> Rows:
    """The order of `values`, highest first; all that tie with the k-th are ordered by row."""
    kth = values[np.lexsort((rows, -values))[k - 1]]
    return np.lexsort((rows, -np.where(np.abs(values - kth) <= TIE, kth, values)))


def _settled(stored: StoredEmbeddings, queries: Floats, rows: Rows, k: int) -> Neighbours:
    """The first k of `rows`, ordered by the exact similarity that answers give."""
    ids = np.empty((len(queries), k), dtype=np.int64)
    similarities = np.empty((len(queries), k), dtype=np.float32)
    for number, query in enumerate(queries):
        ids[number], similarities[number] = ranked(stored, rows[number], query, k)
        stored.release()  # Each scattered row brings the pages around it.
    return Neighbours(ids, similarities)


def ranked(stored: StoredEmbeddings, rows: Rows, query: Floats, k: int) -> tuple[Rows, Floats]:
    """Image ids and cosine similarities of the best k of `rows`, best first, ties by id."""
    cosines = stored.cosines(rows, query)
    order = np.lexsort((rows, -cosines))[:k]
    return stored.ids[rows[order]], cosines[order]
