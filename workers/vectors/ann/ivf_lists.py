"""Find the lists of an IVF index that are near a query, and search only those."""

from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# FAISS's stubs lack half of its names.
_faiss: Any = faiss
# From this many queries on, one matrix product costs less than a pass over the centroids for each.
_MATRIX_QUERIES: Final = 8


class NearLists(NamedTuple):
    """The lists of each query, int64 [q, n], nearest first, and the squared L2 distances of their centroids, float32
    [q, n]. If a query has fewer than n, the rest of its row is list -1 at distance inf.
    """

    lists: Ids
    distances: Floats


def nearest(ivf: Any, queries: Floats, most: int, margin: float = np.inf) -> NearLists:
    """The up to `most` lists of `ivf` nearest to each query (float32 [q, d]) whose centroids are at most `margin`
    farther, in squared L2, than the nearest one."""
    quantizer = faiss.downcast_index(ivf.quantizer)
    if not isinstance(quantizer, faiss.IndexFlat):
        distances, lists = quantizer.search(queries, most)
        far = distances > distances[:, :1] + np.float32(margin)
        lists[far], distances[far] = -1, np.inf
        return NearLists(lists, distances)
    # FAISS would keep the `most` nearest in a heap, which takes longer than the distances themselves.
    every = _distances(quantizer, queries)
    chosen = []
    for row in every:
        near = np.flatnonzero(row <= row.min() + np.float32(margin))
        chosen.append(near[np.argsort(row[near], kind="stable")][:most])
    width = max(map(len, chosen), default=0)
    lists = np.full((len(queries), width), -1, dtype=np.int64)
    distances = np.full((len(queries), width), np.inf, dtype=np.float32)
    for number, near in enumerate(chosen):
        lists[number, : len(near)] = near
        distances[number, : len(near)] = every[number, near]
    return NearLists(lists, distances)


def search(ivf: Any, queries: Floats, depth: int, near: NearLists, selector: Any = None) -> tuple[Floats, Ids]:
    """As `ivf.search(queries, depth)`, where each query reads the lists `near` names and no others.

    With a `selector` of FAISS, only the ids that it selects are found.
    """
    parameters = _faiss.SearchParametersIVF(nprobe=near.lists.shape[1])
    if selector is not None:
        parameters.sel = selector
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    lists = np.ascontiguousarray(near.lists)
    centroids = np.ascontiguousarray(near.distances)
    distances = np.empty((len(queries), depth), dtype=np.float32)
    ids = np.empty((len(queries), depth), dtype=np.int64)
    pointer = _faiss.swig_ptr
    # FAISS's wrapper takes the number of lists from the index, which all threads share.
    ivf.search_preassigned_c(
        len(queries),
        pointer(queries),
        depth,
        pointer(lists),
        pointer(centroids),
        pointer(distances),
        pointer(ids),
        False,
        parameters,
    )
    return distances, ids


def margin_for(ivf: Any, queries: Floats, nprobe: int, most: int) -> float:
    """The margin at which these queries read `nprobe` lists each on average, and none of them more than `most`."""
    near = nearest(ivf, queries, most)
    farther = near.distances - near.distances[:, :1]
    place = min(nprobe * len(queries), farther.size) - 1
    return float(np.partition(farther.ravel(), place)[place])


def _distances(quantizer: Any, queries: Floats) -> Floats:
    """Squared L2 distances, float32 [q, nlist], of each query and each centroid."""
    nlist, d = int(quantizer.ntotal), int(quantizer.d)
    centroids = _faiss.rev_swig_ptr(quantizer.get_xb(), nlist * d).reshape(nlist, d)
    if len(queries) >= _MATRIX_QUERIES:
        found: Floats = _faiss.pairwise_distances(queries, centroids)
        return found
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    found = np.empty((len(queries), nlist), dtype=np.float32)
    for query, row in zip(queries, found, strict=True):
        _faiss.fvec_L2sqr_ny(*map(_faiss.swig_ptr, (row, query, centroids)), d, nlist)
    return found
