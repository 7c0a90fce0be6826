"""A screen of vectors that an index does not hold: their codes, all of which are compared with a query."""

from collections.abc import Iterable
from typing import Any

import faiss
import numpy as np

from workers.vectors.ann import annoy_index
from workers.vectors.ann.faiss_index import ALL_THREADS, ONE_THREAD_QUERIES, Floats, Ids, Only, reduced_queries
from workers.vectors.ann.layers import bare_ivf

# Its stubs lack half of what it has.
_faiss: Any = faiss


class Screen:
    """The reduced vectors of images that an index does not hold, one byte a value, in memory: all are compared."""

    def __init__(self, bare: tuple[list[Any], Any], blocks: Iterable[Floats]) -> None:
        """`blocks` are float32 [n, d], one at least; `bare` is what `bare_ivf` says of the index that reduces them."""
        self._bare = bare
        vectors = np.concatenate([reduced_queries(bare, block)[0] for block in blocks])
        self._codes = _faiss.IndexScalarQuantizer(vectors.shape[1], _faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_L2)
        self._codes.train(vectors)
        self._codes.add(vectors)

    def candidates(self, queries: Floats, depth: int, only: Only | None = None) -> Ids:
        """The places, int64 [q, depth], of the nearest to each query (float32 [q, d]); -1 where there are fewer."""
        faiss.omp_set_num_threads(1 if len(queries) <= ONE_THREAD_QUERIES else ALL_THREADS)
        parameters = _faiss.SearchParameters()
        if only is not None:
            parameters.sel = only.selector
        ids: Ids = self._codes.search(reduced_queries(self._bare, queries)[0], depth, params=parameters)[1]
        return ids


def screen_of(index: Any, blocks: Iterable[Floats]) -> Screen | None:
    """A screen of vectors beside an index; None where the index does not reduce its own."""
    bare = None if isinstance(index, annoy_index.AnnoyIndex) else bare_ivf(index)
    return None if bare is None or not bare[0] else Screen(bare, blocks)
