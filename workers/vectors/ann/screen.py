"""A screen of vectors that an index does not hold: their codes, all of which are compared with a query."""

from collections.abc import Iterable, Sequence
from typing import Any

import faiss
import numpy as np

from workers.vectors.ann import annoy_index
from workers.vectors.ann.faiss_index import ALL_THREADS, ONE_THREAD_QUERIES, Floats, Ids, Only, reduced_queries
from workers.vectors.ann.layers import bare_ivf

# Its stubs lack half of what it has.
_faiss: Any = faiss


class _Segment:
    """The codes of some vectors, float32 [n, d] reduced, with their `ids`, int64 [n]; it never changes."""

    def __init__(self, ids: Ids, vectors: Floats) -> None:
        self.ids = ids
        self._codes = _faiss.IndexScalarQuantizer(vectors.shape[1], _faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2)
        self._codes.train(vectors)
        self._codes.add(vectors)

    def vectors(self) -> Floats:
        """The vectors, as their codes have them."""
        found: Floats = self._codes.reconstruct_n(0, len(self.ids))
        return found

    def search(self, reduced: Floats, depth: int, only: Ids | None) -> tuple[Floats, Ids]:
        """Distances, float32 [q, depth], and ids, int64 [q, depth], nearest first; inf and -1 where there are fewer."""
        parameters = _faiss.SearchParameters()
        among = None if only is None else Only(np.flatnonzero(np.isin(self.ids, only)))  # FAISS keeps a pointer to it.
        if among is not None:
            parameters.sel = among.selector
        distances, places = self._codes.search(reduced, depth, params=parameters)
        return np.where(places < 0, np.inf, distances), np.where(places < 0, -1, self.ids[places])


class Screen:
    """The reduced vectors of images that an index does not hold, one byte a value, in memory: all are compared.

    It never changes: a screen of more images shares with the one before what both have.
    """

    def __init__(self, index: Any, bare: tuple[list[Any], Any], segments: Sequence[_Segment] = ()) -> None:
        """`bare` is what `bare_ivf` says of the index, which reduces the vectors."""
        self._index = index  # It is kept: what is bare of it lives inside it.
        self._bare = bare
        self._segments = segments

    @property
    def ids(self) -> Ids:
        """The image ids, int64 [n], in no order."""
        return np.concatenate([np.empty(0, np.int64), *(segment.ids for segment in self._segments)])

    def grown(self, ids: Ids, blocks: Iterable[Floats]) -> "Screen":
        """A screen of these images too: `ids`, int64 [n], one at least; `blocks` are their vectors, float32 [b, d]."""
        vectors = np.concatenate([reduced_queries(self._bare, block)[0] for block in blocks])
        segments = [*self._segments]
        # Each is larger than the next, so there are few, and a code is made again only some times.
        while segments and len(segments[-1].ids) <= len(ids):
            last = segments.pop()
            ids, vectors = np.concatenate([last.ids, ids]), np.concatenate([last.vectors(), vectors])
        return Screen(self._index, self._bare, [*segments, _Segment(ids, vectors)])

    def candidates(self, queries: Floats, depth: int, only: Ids | None = None) -> Ids:
        """The image ids, int64 [q, n], of the up to `depth` nearest to each query (float32 [q, d]); -1 stands for none.

        With `only`, image ids int64, none of any other image.
        """
        faiss.omp_set_num_threads(1 if len(queries) <= ONE_THREAD_QUERIES else ALL_THREADS)
        reduced = reduced_queries(self._bare, queries)[0]
        found = [segment.search(reduced, min(depth, len(segment.ids)), only) for segment in self._segments]
        distances, ids = (np.concatenate(some, axis=1) for some in zip(*found, strict=True))
        if len(found) > 1:
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :depth]
            ids = np.take_along_axis(ids, nearest, axis=1)
        return ids


def screen_beside(index: Any) -> Screen | None:
    """An empty screen beside an index; None where the index does not reduce its own vectors."""
    bare = None if isinstance(index, annoy_index.AnnoyIndex) else bare_ivf(index)
    return None if bare is None or not bare[0] else Screen(index, bare)
