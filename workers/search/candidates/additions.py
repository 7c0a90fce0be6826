"""Candidates among the images that came after a build: all of them are compared, until a build covers them."""

from typing import Any

import numpy as np

from shared.vectors import widen
from workers.vectors.ann.screen import Screen, screen_beside
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Rows, StoredEmbeddings


class Additions:
    """The rows that an index does not hold, int64 ascending, and what each query has to be compared with.

    An index that reduces its vectors reduces these as well, and keeps them in memory in a byte a value: 256 bytes an
    image. Beside an index that does not, all of them are candidates of every query.
    """

    def __init__(self, index: Any, stored: StoredEmbeddings, rows: Rows, former: "Additions | None" = None) -> None:
        """What `former` additions to the same index have reduced is not reduced again."""
        self.rows = rows
        self._ids = stored.ids[rows]
        self._screen: Screen | None = screen_beside(index) if former is None else former._screen
        self._all = True
        if self._screen is not None:
            missing = np.flatnonzero(~np.isin(self._ids, self._screen.ids))
            if len(missing):
                starts = range(0, len(missing), BLOCK_ROWS)
                blocks = (widen(stored.rows(rows[missing[start : start + BLOCK_ROWS]])) for start in starts)
                self._screen = self._screen.grown(self._ids[missing], blocks)
            # It may hold images that were removed since, or whose checkpoint was taken back.
            self._all = len(self._screen.ids) == len(rows)

    def without(self, ids: Rows) -> Rows:
        """Those of `ids`, int64 ascending, that the index holds: ids go on, so they come before these."""
        return ids[: np.searchsorted(ids, self._ids[0])]

    def candidates(self, units: Floats, depth: int, only: Rows | None = None) -> list[Rows]:
        """For each query, float32 [q, d], the up to `depth` rows nearest to it by their reduced vectors.

        With `only`, image ids int64 ascending, none of any other image.
        """
        places = None if only is None else np.flatnonzero(np.isin(self._ids, only))
        rows = self.rows if places is None else self.rows[places]
        if self._screen is None or len(rows) <= depth:
            return [rows] * len(units)
        among = None if self._all and places is None else self._ids if places is None else self._ids[places]
        found = self._screen.candidates(units, depth, among)
        return [self.rows[np.searchsorted(self._ids, some[some >= 0])] for some in found]
