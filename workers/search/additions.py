"""Candidates among the images that were sealed after a build: all of them are compared, until a build covers them."""

from typing import Any

import numpy as np

from shared.vectors import widen
from workers.vectors.ann import faiss_index
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Rows, StoredEmbeddings


class Additions:
    """The rows that an index does not hold, int64 ascending, and what each query has to be compared with.

    An index that reduces its vectors reduces these as well, and keeps them in memory: 0.5 KB an image, where whole
    embeddings are read from the disk. Without an index that does so, all of them are candidates of every query.
    """

    def __init__(self, index: Any, stored: StoredEmbeddings, rows: Rows) -> None:
        self._rows = rows
        self._ids = stored.ids[rows]
        self._index = index
        blocks = [
            faiss_index.reduced(index, widen(stored.rows(rows[start : start + BLOCK_ROWS])))
            for start in range(0, len(rows), BLOCK_ROWS)
        ]
        whole = [block for block in blocks if block is not None]
        self._reduced = np.concatenate(whole) if whole else None
        self._squares = None if self._reduced is None else np.einsum("ij,ij->i", self._reduced, self._reduced)

    def without(self, ids: Rows) -> Rows:
        """Those of `ids`, int64 ascending, that the index holds: ids go on, so they come before these."""
        return ids[: np.searchsorted(ids, self._ids[0])]

    def candidates(self, units: Floats, depth: int, only: Rows | None = None) -> list[Rows]:
        """For each query, float32 [q, d], the up to `depth` rows nearest to it by their reduced vectors.

        With `only`, image ids int64 ascending, none of any other image.
        """
        places = np.arange(len(self._rows)) if only is None else np.flatnonzero(np.isin(self._ids, only))
        rows = self._rows[places]
        if self._reduced is None or self._squares is None or len(rows) <= depth:
            return [rows] * len(units)
        queries = faiss_index.reduced(self._index, units)
        assert queries is not None
        # The queries' own lengths order nothing.
        distances = self._squares[places] - 2 * (queries @ self._reduced[places].T)
        return [rows[np.argpartition(row, depth)[:depth]] for row in distances]
