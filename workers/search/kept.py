"""Which images of a build can be found: all that were not removed since it was built."""

from functools import cached_property

import numpy as np

from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Rows, StoredEmbeddings

_NONE: Rows = np.empty(0, np.int64)


class Kept:
    """The images without those that were removed: their `rows` and `ids`, int64 ascending, and their embeddings."""

    def __init__(self, stored: StoredEmbeddings, removed: Rows = _NONE, *, whole: bool = True) -> None:
        """`removed` are image ids, int64; those without an embedding in the build don't matter. `whole` is whether the
        index holds no other images than those that are `stored`, and those that were added."""
        self._every, self._index_is_whole = stored, whole
        places = np.searchsorted(stored.ids, removed)
        places = places[places < len(stored.ids)]
        gone = places[np.isin(stored.ids[places], removed)]
        self._whole = whole and not len(gone)
        self.rows = np.delete(np.arange(len(stored.ids)), gone)
        self.stored = stored.only(self.rows) if len(gone) else stored
        self.ids = self.stored.ids

    def without(self, removed: Rows) -> "Kept":
        """These images but for those `removed`, int64, and no others."""
        return Kept(self._every, removed, whole=self._index_is_whole)

    @cached_property
    def only(self) -> Only | None:
        """What tells the index which images it may find; None where nothing was removed."""
        return None if self._whole else Only(self.ids)
