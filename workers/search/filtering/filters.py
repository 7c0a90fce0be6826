"""Find the embedded images that a filter chooses, by ids or by an expression; the last that were used are cached."""

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import LRUCache

from shared.errors import QueryError
from shared.messages.filter import Filter
from workers.search.filtering import expressions
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Rows

_NONE: Final[Rows] = np.empty((0, 2), np.int64)
_KEPT: Final = 4  # How many filters are cached, of up to 8 bytes an embedding: 16 MB each at two million.
MOST_SECONDS: Final = 30.0
"""How long an expression may take, which a query waits for."""


class Chosen:
    """The choice of a filter: `ids`, int64 ascending, of embedded images, at least one."""

    def __init__(self, ids: Rows) -> None:
        self.ids = ids

    @cached_property
    def only(self) -> Only:
        """The choice as the index needs it; made when an index is first asked, and kept."""
        return Only(self.ids)


class Filters:
    """The images of one build that filters choose; the last used are cached. Several threads may ask at once."""

    def __init__(self, ids: Rows, metadata: Sequence[Path] = (), pending: Rows = _NONE) -> None:
        """`ids` are the images that can be found, int64 ascending; `metadata` are the Parquet files that have a row for
        each of them, and for others. `pending`, int64 [n, 2], are the ids [start, stop) not embedded yet, ascending."""
        self._ids = ids
        self.metadata = metadata
        self._pending = pending
        self._kept: LRUCache[bytes, Chosen] = LRUCache(_KEPT)
        self._lock = threading.Lock()

    def among(self, ids: Rows) -> "Filters":
        """Filters over the same metadata that choose among these images alone."""
        return Filters(ids, self.metadata, self._pending)

    def chosen(self, filter: Filter) -> Chosen:
        """The embedded images that `filter` chooses.

        An id that is not embedded yet is passed over, as an image is for which an expression is not known yet. Raises
        QueryError when it chooses none, names an id without an embedding, or its expression is invalid, is not
        true or false, reads more than its own row, or takes over 30 seconds. CorruptFile when a file of the metadata is
        damaged.
        """
        key = filter.key
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                return known
        chosen = Chosen(self._known(filter.ids) if filter.ids is not None else self._where(str(filter.where)))
        with self._lock:
            self._kept[key] = chosen
        return chosen

    def _known(self, ids: Rows) -> Rows:
        ids = np.unique(ids)
        known = np.isin(ids, self._ids, assume_unique=True)
        # The ranges are apart and ascending, so an id is inside one where an odd number of their ends is at or below.
        wrong = ~known & (np.searchsorted(self._pending.reshape(-1), ids, side="right") % 2 == 0)
        if wrong.any():
            raise QueryError(
                f"The filter names {len(ids):,} image ids, and {np.count_nonzero(wrong):,} of them have no embedding "
                f"in this job, such as {ids[wrong][0]}: they failed, were removed, or were never listed; leave them "
                "out."
            )
        if len(ids) and not known.any():
            raise QueryError(
                f"The filter names {len(ids):,} image ids, and none of them is embedded yet, such as {ids[0]}: search "
                "again when more of the job is."
            )
        return ids[known]

    def _where(self, where: str) -> Rows:
        found = list(expressions.matching(where, self.metadata, MOST_SECONDS))
        ids = np.intersect1d(np.concatenate([np.empty(0, np.int64), *found]), self._ids)
        if not len(ids):
            raise QueryError(
                f"The filter {expressions.shown(where)} matches none of the {len(self._ids):,} embedded images: "
                "ask for less."
            )
        return ids
