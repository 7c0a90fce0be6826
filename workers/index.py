"""The FAISS room: make an index to a plan, train it, fill it, ask it for candidates, write it and read it back."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from shared import files
from shared.errors import CorruptFile, SettingsError
from shared.wish import FAMILIES, Wish
from workers import annoy_index
from workers.plan import IndexPlan, choose_index, first_nprobe, train_rows

__all__ = ["IndexPlan", "Only", "add", "candidates", "choose_index", "load", "plan_for", "plan_from_factory", "save"]

Floats = npt.NDArray[np.float32]

# Its stubs lack half of what it has.
_faiss: Any = faiss
_ALL_THREADS: Final = faiss.omp_get_max_threads()
# Below this, threads wait for each other longer than they work: on a busy machine one query takes 10 ms instead of 0.3.
_THREADED_QUERIES = 32
_MANY_LISTS = 1_024
# Some 33 rows for each of 1,792 dimensions.
_PCA_ROWS = 60_000


def plan_for(n: int, d: int, wish: Wish) -> IndexPlan:
    """What to build for `n` embeddings of `d` dimensions: the family or the FAISS factory string that was wished.

    Raises SettingsError when FAISS does not know the string, or nothing fits into the memory wished.
    """
    return choose_index(n, d, wish) if wish.index in FAMILIES else plan_from_factory(wish.index, n, d)


def plan_from_factory(factory: str, n: int, d: int) -> IndexPlan:
    """The plan for a FAISS factory string that a person chose, its width and its sample by the rules of `workers.plan`.

    Raises SettingsError when FAISS does not know the string, or it makes an index that takes no image ids.
    """
    index = _empty(factory, d)
    ivf = _ivf(index)
    if ivf is None and not isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise SettingsError(f"The index {factory!r} can't hold image ids: begin it with 'IDMap2,'.")
    graph = ivf is None and _graph(index) is not None
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


def train(plan: IndexPlan, sample: Iterable[Floats] | None, seed: int = 0) -> Any:
    """An empty index, trained on `sample`: blocks float32 [n, d], L2-normalised, `train_rows` rows in all, iterated
    over twice (None for a plan that trains nothing).

    Distances are L2: PCA moves the centre, and on vectors of length 1 the nearest by L2 are the nearest by cosine.
    The same sample and seed make the same index. FAISS uses the threads that OMP_NUM_THREADS allows, else all cores,
    and a GPU for the lists where faiss-gpu is installed and finds one.
    """
    if plan.type == "Annoy":
        return annoy_index.AnnoyIndex(plan.dim, plan.factory, seed)
    index = _empty(plan.factory, plan.dim)
    if not plan.train_rows:
        return index
    if sample is None:
        raise ValueError(f"The index {plan.factory} needs {plan.train_rows} rows to train on, and got none.")
    faiss.omp_set_num_threads(_ALL_THREADS)
    ivf = _ivf(index)
    if ivf is not None:
        _prepare_lists(ivf, seed)
    reducing = _reducing(index)
    if reducing is None:
        index.train(np.concatenate([np.ascontiguousarray(block, dtype=np.float32) for block in sample]))
        return index
    outer, transform = reducing
    _train_pca(transform, sample, seed, step=-(-plan.train_rows // _PCA_ROWS))
    # From here on the sample takes a seventh of its memory.
    faiss.downcast_index(outer.index).train(np.concatenate([transform.apply(block) for block in sample]))
    outer.is_trained = True
    index.is_trained = True
    return index


def _prepare_lists(ivf: Any, seed: int) -> None:
    ivf.cp.seed = seed
    # Trains thousands of lists in seconds; FAISS has it from 1.15 on, for enough dimensions.
    if hasattr(ivf.cp, "use_super_kmeans") and ivf.nlist >= _MANY_LISTS and ivf.d >= 64:
        ivf.cp.use_super_kmeans = True
    if getattr(faiss, "get_num_gpus", lambda: 0)() and hasattr(faiss, "index_cpu_to_all_gpus"):
        ivf.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatL2(ivf.d))


def _train_pca(transform: Any, sample: Iterable[Floats], seed: int, step: int) -> None:
    """Principal components, rotated at random, over every `step`-th row of a sample that passes block by block.

    FAISS would hold the whole sample, as float32, and keep a matrix of d x d values in each index file.
    """
    d, kept = transform.d_in, transform.d_out
    count, total, products = 0, np.zeros(d), np.zeros((d, d), dtype=np.float64)
    for whole in sample:
        block = whole[::step]
        count += len(block)
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    matrix = vectors[:, ::-1][:, :kept].T
    if transform.random_rotation:
        # Spreads what the first components hold over all parts of a code.
        rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(kept, kept)))
        matrix = rotation @ matrix
    faiss.copy_array_to_vector(np.ascontiguousarray(matrix, dtype=np.float32).ravel(), transform.A)
    faiss.copy_array_to_vector((-matrix @ mean).astype(np.float32), transform.b)
    transform.have_bias = True
    transform.is_trained = True


def add(index: Any, ids: npt.NDArray[np.int64], block: Floats) -> None:
    """Add embeddings, float32 [n, d], under their image ids, int64 [n]; duplicates are not looked for."""
    faiss.omp_set_num_threads(_ALL_THREADS)
    # Never add_core with assignments made beforehand: on these codes it stores garbage without an error.
    index.add_with_ids(np.ascontiguousarray(block, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64))


class Only:
    """The images that alone may be found: `ids` int64 [n], ascending, and what FAISS needs to look them up."""

    def __init__(self, ids: npt.NDArray[np.int64]) -> None:
        self.ids = ids
        among = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, dtype=bool)
        among[ids] = True
        self._bits = np.packbits(among, bitorder="little")  # FAISS keeps a pointer into it.
        self.selector = _faiss.IDSelectorBitmap(self._bits)


def candidates(index: Any, queries: Floats, depth: int, nprobe: int, only: Only | None = None) -> npt.NDArray[np.int64]:
    """Image ids int64 [q, depth] that the index holds nearest to each query (float32 [q, d]), best first.

    `nprobe` is how widely it looks: lists of an IVF index, efSearch of HNSW, search_k of Annoy, nothing to a flat one.
    With `only`, no other images are found. Where it finds fewer than `depth`, the rest of the row is -1.
    """
    if isinstance(index, annoy_index.AnnoyIndex):
        return index.candidates(queries, depth, nprobe, None if only is None else only.ids)
    parameters = _parameters(index, depth, nprobe)
    if only is not None:
        parameters.sel = only.selector
    # OpenMP keeps this number for each calling thread by itself.
    faiss.omp_set_num_threads(1 if len(queries) < _THREADED_QUERIES else _ALL_THREADS)
    _, ids = index.search(queries, depth, params=parameters)
    found: npt.NDArray[np.int64] = ids
    return found


def _parameters(index: Any, depth: int, nprobe: int) -> Any:
    # What wraps the IVF index or the graph hands them on as they are.
    if _ivf(index) is not None:
        return _faiss.SearchParametersIVF(nprobe=nprobe)
    if _graph(index) is not None:
        return _faiss.SearchParametersHNSW(efSearch=max(nprobe, depth))
    return _faiss.SearchParameters()


def save(index: Any, path: Path) -> None:
    """Write an index to `path`, whole or not at all."""
    with files.written_aside(path) as aside:
        if isinstance(index, annoy_index.AnnoyIndex):
            index.write(aside)
        else:
            faiss.write_index(index, str(aside))


def grows(index: Any) -> bool:
    """Whether more can be added to an index that was written and read back."""
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
            f"{path} is not the index of {count} vectors of {dim} dimensions that its index.json describes "
            f"({reason}): `lookalike repair JOB` removes the build, and `lookalike index` builds the index anew."
        ) from None
    return index


def _empty(factory: str, d: int) -> Any:
    try:
        return _faiss.index_factory(d, factory, faiss.METRIC_L2)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"FAISS can't make the index {factory!r} for {d} dimensions: {reason}") from None


def _inside(index: Any) -> list[Any]:
    """An index and those that it wraps, from the outside in."""
    layers: list[Any] = [index]
    while isinstance(layers[-1], faiss.IndexIDMap | faiss.IndexIDMap2 | faiss.IndexPreTransform):
        layers.append(faiss.downcast_index(layers[-1].index))
    return layers


def _ivf(index: Any) -> Any | None:
    """The IVF part of an index, or None when it has none."""
    inner = _inside(index)[-1]
    return inner if isinstance(inner, faiss.IndexIVF) else None


def _graph(index: Any) -> Any | None:
    """The HNSW part of an index, or None when it has none."""
    inner = _inside(index)[-1]
    return inner if isinstance(inner, faiss.IndexHNSW) else None


def _reducing(index: Any) -> tuple[Any, Any] | None:
    """The layer with a PCA to be trained and nothing else before the codes, and that PCA; None where there is none."""
    for layer in _inside(index):
        if isinstance(layer, _faiss.IndexPreTransform) and layer.chain.size() == 1:
            transform = faiss.downcast_VectorTransform(layer.chain.at(0))
            if isinstance(transform, faiss.PCAMatrix) and not transform.is_trained and transform.eigen_power == 0:
                return layer, transform
    return None
