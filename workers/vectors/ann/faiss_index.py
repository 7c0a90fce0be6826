"""Plan, train, fill, search, write and read FAISS indexes."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from shared.errors import CorruptFile, SettingsError
from shared.errors.remedy import Remedy
from shared.job.index.request import FAMILIES, IndexRequest
from shared.processes.failpoints import failpoint
from shared.storage import files
from workers.vectors.ann import annoy_index, gpu_lists, ivf_lists
from workers.vectors.ann.layers import bare_ivf, graph_of, ivf_of
from workers.vectors.ann.plan import IndexPlan, choose_index, first_nprobe, sharded, train_rows
from workers.vectors.ann.shards import nearest_of

__all__ = ["IndexPlan", "Only", "add", "candidates", "choose_index", "load", "plan_for", "plan_from_factory", "save"]

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

# FAISS's stubs lack half of its names.
_faiss: Any = faiss
ONE_THREAD_QUERIES: Final = 32
"""Up to this many queries in one call, FAISS answers on one thread: its threads wait for each other longer than they
work, and on a busy machine one query takes 10 ms instead of 0.3.
"""

_OF_VECTORS: Final = 16  # So many codes are compared in the time that a whole vector takes, or a step in a graph.

ALL_THREADS: Final = faiss.omp_get_max_threads()


def plan_for(n: int, d: int, request: IndexRequest) -> IndexPlan:
    """The plan for `n` embeddings of `d` dimensions, from the family or the FAISS factory string that was asked for.

    Raises SettingsError when FAISS does not know the string, or nothing fits into the memory asked for.
    """
    if request.index in FAMILIES:
        return choose_index(n, d, request)
    return sharded(plan_from_factory(request.index, n, d), n, request)


def plan_from_factory(factory: str, n: int, d: int) -> IndexPlan:
    """The plan for a FAISS factory string that a person chose, with width and training rows from
    `workers.vectors.ann.plan`.

    Raises SettingsError when FAISS does not know the string, or it makes an index that takes no image ids.
    """
    index = empty(factory, d)
    ivf = ivf_of(index)
    if ivf is None and not isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise SettingsError(f"The index {factory!r} can't hold image ids: begin it with 'IDMap2,'.")
    graph = ivf is None and graph_of(index) is not None
    nlist = 0 if ivf is None else int(ivf.nlist)
    quantizer = getattr(ivf, "pq", None)
    return IndexPlan(
        type=factory if quantizer is None else "IVF-PQ",
        factory=factory,
        dim=d,
        nlist=nlist,
        nprobe=64 if graph else first_nprobe(nlist),
        m=0 if quantizer is None else int(quantizer.M),
        nbits=0 if quantizer is None else int(quantizer.nbits),
        train_rows=0 if index.is_trained else train_rows(n, nlist),
        most_nprobe=min(n, 2_048) if graph else nlist,
    )


def adding(index: Any) -> AbstractContextManager[None]:
    """During the block, `add` chooses the lists on a GPU if faiss-gpu is installed and finds one, and nothing else may
    be done with the index.
    """
    return gpu_lists.adding(None if isinstance(index, annoy_index.AnnoyIndex) else ivf_of(index))


def add(index: Any, ids: Ids, block: Floats) -> None:
    """Add embeddings, float32 [n, d], under their image ids, int64 [n]; it does not check for duplicates."""
    failpoint("add_to_index")
    faiss.omp_set_num_threads(ALL_THREADS)
    # Never use add_core with given assignments: on these codes it stores garbage without an error.
    index.add_with_ids(np.ascontiguousarray(block, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64))


class Candidates(NamedTuple):
    """The candidates of each query: image ids int64 [q, n], nearest first, -1 if there are fewer, and their distances
    by the index, float32 [q, n]: squared L2 between codes, 0 if the index does not say.
    """

    ids: Ids
    distances: Floats


class Only:
    """The only images that may be found: `ids` int64 [n], ascending, and the object with which FAISS looks them up."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        among = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, dtype=bool)
        among[ids] = True
        self._bits = np.packbits(among, bitorder="little")  # FAISS keeps a pointer into this array.
        self.selector = _faiss.IDSelectorBitmap(self._bits)


def search(
    index: Any, queries: Floats, depth: int, nprobe: int, only: Only | None = None, list_margin: float = 0.0
) -> Candidates:
    """The `depth` images that the index holds nearest to each query (float32 [q, d]).

    `nprobe` is how widely it searches: lists of an IVF index, efSearch of HNSW, search_k of Annoy; a flat index ignores
    it. With a `list_margin`, for an index that `prunes`, it reads no list whose centroid is farther than the nearest
    one by more than that, in squared L2. With `only`, no other images are found.
    """
    if isinstance(index, annoy_index.AnnoyIndex):
        ids = index.candidates(queries, depth, nprobe, None if only is None else only.ids)
        return Candidates(ids, np.zeros(ids.shape, dtype=np.float32))
    selector = None if only is None else only.selector
    bare = bare_ivf(index) if list_margin else None
    if bare is not None:
        _use_threads(queries)
        reduced, ivf = reduced_queries(bare, queries)
        near = ivf_lists.nearest(ivf, reduced, nprobe, list_margin)  # Shards have one set of centroids.

        def among_lists(part: Any) -> tuple[Ids, Floats]:
            _use_threads(queries)
            return ivf_lists.search(ivf_of(part), reduced, depth, near, selector)[::-1]

        return Candidates(*nearest_of(index, among_lists, depth, np.count_nonzero(near.lists >= 0) / ivf.nlist))

    def whole(part: Any) -> tuple[Ids, Floats]:
        _use_threads(queries)
        distances, ids = part.search(queries, depth, params=_parameters(part, depth, nprobe, selector))
        return ids, distances

    lists = ivf_of(index)
    share = _OF_VECTORS if lists is None else nprobe / lists.nlist
    return Candidates(*nearest_of(index, whole, depth, share * len(queries)))


def _use_threads(queries: Floats) -> None:
    # OpenMP keeps this number for each calling thread by itself.
    faiss.omp_set_num_threads(1 if len(queries) <= ONE_THREAD_QUERIES else ALL_THREADS)


def candidates(
    index: Any,
    queries: Floats,
    depth: int,
    nprobe: int,
    only: Only | None = None,
    *,
    list_margin: float = 0.0,
    depth_ratio: float = 0.0,
    k: int = 1,
) -> Ids:
    """Image ids int64 [q, depth] that `search` finds, best first; -1 if it found fewer.

    With a `depth_ratio`, ids that are, by the index, more than that many times as far as the k-th are -1 too.
    """
    found = search(index, queries, depth, nprobe, only, list_margin)
    if depth_ratio and k < depth:
        found.ids[found.distances > farthest(found.distances, depth_ratio, k)[:, None]] = -1
    return found.ids


def farthest(distances: Floats, depth_ratio: float, k: int) -> npt.NDArray[np.float64]:
    """The distance [q] up to which candidates at `distances` (float32 [q, n], ascending) are kept; inf for all of them,
    which happens if the k-th is at distance 0, as among equal photos.
    """
    kth = distances[:, min(k, distances.shape[1]) - 1].astype(np.float64)
    return np.where(kth > 0, kth * depth_ratio, np.inf)


def prunes(index: Any) -> bool:
    """Whether a search may leave out lists and candidates by their distance: true for an IVF index that gives image
    ids.
    """
    return not isinstance(index, annoy_index.AnnoyIndex) and bare_ivf(index) is not None


def list_margin(index: Any, queries: Floats, nprobe: int, most: int) -> float:
    """The margin at which these queries read `nprobe` lists on average and at most `most`, of an index that prunes."""
    bare = bare_ivf(index)
    if bare is None:
        raise ValueError("An index without lists has no margin between them.")
    reduced, ivf = reduced_queries(bare, queries)
    return ivf_lists.margin_for(ivf, reduced, nprobe, most)


def reduced_queries(bare: tuple[list[Any], Any], queries: Floats) -> tuple[Floats, Any]:
    """The queries after the transforms, and the lists."""
    chain, ivf = bare
    for transform in chain:
        queries = transform.apply(queries)
    return queries, ivf


def _parameters(index: Any, depth: int, nprobe: int, selector: Any) -> Any:
    # The wrappers of the IVF index or the graph pass them on unchanged.
    if ivf_of(index) is not None:
        return _faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
    if graph_of(index) is not None:
        return _faiss.SearchParametersHNSW(efSearch=max(nprobe, depth), sel=selector)
    return _faiss.SearchParameters(sel=selector)


def save(index: Any, path: Path) -> None:
    """Write an index to `path`, whole or not at all."""
    failpoint("write_index")
    with files.written_aside(path) as aside:
        if isinstance(index, annoy_index.AnnoyIndex):
            index.write(aside)
        else:
            faiss.write_index(index, str(aside))


def grows(index: Any) -> bool:
    """Whether embeddings can be added to an index that was written and read back."""
    return not isinstance(index, annoy_index.AnnoyIndex)


def load(path: Path, *, ntotal: int | None, dim: int) -> Any:
    """Read an index into memory; raises CorruptFile when it is cut short, or has another dimension or ntotal (None:
    any)."""
    try:
        index = annoy_index.read(path) if annoy_index.is_one(path) else faiss.read_index(str(path))
        if index.d != dim or ntotal not in (None, index.ntotal):
            raise RuntimeError(f"it holds {index.ntotal} vectors of {index.d} dimensions")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        count = "the" if ntotal is None else ntotal
        raise CorruptFile(
            f"{path} is not the index of {count} vectors of {dim} dimensions that its index.json describes ({reason})",
            remedy=Remedy("repair", does="removes the build", then=Remedy("make", does="builds it anew")),
        ) from None
    return index


def empty(factory: str, d: int) -> Any:
    """The index of a FAISS factory string for vectors of `d` dimensions; SettingsError when FAISS can't make it."""
    try:
        return _faiss.index_factory(d, factory, faiss.METRIC_L2)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"FAISS can't make the index {factory!r} for {d} dimensions: {reason}") from None
