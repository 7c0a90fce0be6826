"""The FAISS room: choose an index for a collection, train it, fill it, write it and read it back."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from shared import files
from shared.errors import CorruptFile, SettingsError

FLAT_MOST: Final = 20_000
"""Embeddings up to which all of them are compared: below it, training costs more than it saves."""

REDUCED_DIM: Final = 256
"""Dimensions that are kept for the candidates; the exact rerank sees all of them."""


_ALL_THREADS: Final = faiss.omp_get_max_threads()
# Below this, threads wait for each other longer than they work: on a busy machine one query takes 10 ms instead of 0.3.
_THREADED_QUERIES = 32


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What to build. `factory` is FAISS's string; `train_rows` 0 says that nothing is trained.

    `nlist`, `nprobe`, `m` (bytes of codes are m * nbits / 8) and `nbits` are 0 where the type has none.
    """

    type: str
    factory: str
    dim: int
    nlist: int
    nprobe: int
    m: int
    nbits: int
    train_rows: int


def choose_index(n: int, d: int) -> IndexPlan:
    """The plan for `n` embeddings of `d` dimensions; the same for the same numbers.

    Up to 20,000: every vector as it is. Above: PCA with a random rotation to d' = min(256, d) made even, IVF with
    nlist = 2 ** round(log2(1.4 * sqrt(n))), and 4-bit product quantization of d' / 2 parts that FAISS scans in SIMD
    registers; the training sample holds max(60,000, 50 * nlist) rows, and the search starts at max(32, nlist / 8)
    lists. Measured on 224,000 photographs, that finds .99 of the exact top 10 once 200 candidates are compared exactly.
    Raises ValueError when n or d is below 1.
    """
    if n < 1 or d < 1:
        raise ValueError(f"An index needs at least one embedding of one dimension, not {n} of {d}.")
    # 4-bit codes are scanned in pairs of dimensions; with a single dimension there is nothing to reduce.
    if n <= FLAT_MOST or d < 2:
        return IndexPlan("Flat", "IDMap2,Flat", d, nlist=0, nprobe=0, m=0, nbits=0, train_rows=0)
    kept = min(REDUCED_DIM, d - d % 2)
    nlist = 2 ** round(math.log2(1.4 * math.sqrt(n)))
    return IndexPlan(
        type="IVF-PQ",
        factory=f"PCAR{kept},IVF{nlist},PQ{kept // 2}x4fs",
        dim=d,
        nlist=nlist,
        nprobe=min(nlist, max(32, nlist // 8)),
        m=kept // 2,
        nbits=4,
        train_rows=min(n, max(60_000, 50 * nlist)),
    )


def plan_from_factory(factory: str, n: int, d: int) -> IndexPlan:
    """The plan for a FAISS factory string that a person chose, its search width and sample by the rules above.

    Raises SettingsError when FAISS does not know the string, or it makes an index that takes no image ids.
    """
    index = _empty(factory, d)
    ivf = _ivf(index)
    if ivf is None and not isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise SettingsError(f"The index {factory!r} can't hold image ids: begin it with 'IDMap2,'.")
    nlist = 0 if ivf is None else int(ivf.nlist)
    quantizer = getattr(ivf, "pq", None)
    return IndexPlan(
        type=factory if quantizer is None else "IVF-PQ",
        factory=factory,
        dim=d,
        nlist=nlist,
        nprobe=min(nlist, max(32, nlist // 8)),
        m=0 if quantizer is None else int(quantizer.M),
        nbits=0 if quantizer is None else int(quantizer.nbits),
        train_rows=0 if index.is_trained else min(n, max(60_000, 50 * nlist)),
    )


def train(plan: IndexPlan, sample: npt.NDArray[np.float32] | None, seed: int = 0) -> Any:
    """An empty FAISS index, trained on `sample` (float32 [train_rows, d], L2-normalised; None for a plan of none).

    Distances are L2: PCA moves the centre, and on vectors of length 1 the nearest by L2 are the nearest by cosine.
    The same sample and seed make the same index. FAISS uses the threads that OMP_NUM_THREADS allows, else all cores.
    """
    index = _empty(plan.factory, plan.dim)
    ivf = _ivf(index)
    if ivf is not None:
        ivf.cp.seed = seed
    if plan.train_rows:
        if sample is None:
            raise ValueError(f"The index {plan.factory} needs {plan.train_rows} rows to train on, and got none.")
        faiss.omp_set_num_threads(_ALL_THREADS)
        index.train(np.ascontiguousarray(sample, dtype=np.float32))
    return index


def add(index: Any, ids: npt.NDArray[np.int64], block: npt.NDArray[np.float32]) -> None:
    """Add embeddings, float32 [n, d], under their image ids, int64 [n]; duplicates are not looked for."""
    faiss.omp_set_num_threads(_ALL_THREADS)
    # Never add_core with assignments made beforehand: on these codes it stores garbage without an error.
    index.add_with_ids(np.ascontiguousarray(block, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64))


def candidates(index: Any, queries: npt.NDArray[np.float32], depth: int, nprobe: int) -> npt.NDArray[np.int64]:
    """Image ids int64 [q, depth] that the index holds nearest to each query (float32 [q, d]), best first.

    `nprobe` lists of each query are read (all that there are for a flat index). Where they hold fewer than `depth`
    images, the rest of the row is -1.
    """
    parameters: Any = None
    lists = faiss.SearchParametersIVF()
    if nprobe:
        lists.nprobe = nprobe
        parameters = lists
    if nprobe and isinstance(index, faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform()
        parameters.index_params = lists  # FAISS keeps no reference of its own; `lists` lives until the search is done.
    # OpenMP keeps this number for each calling thread by itself.
    faiss.omp_set_num_threads(1 if len(queries) < _THREADED_QUERIES else _ALL_THREADS)
    _, ids = index.search(queries, depth, params=parameters)
    found: npt.NDArray[np.int64] = ids
    return found


def save(index: Any, path: Path) -> None:
    """Write an index to `path`, whole or not at all."""
    with files.written_aside(path) as aside:
        faiss.write_index(index, str(aside))


def load(path: Path, *, ntotal: int, dim: int) -> Any:
    """Read an index into memory; raises CorruptFile when it is cut short, or has another ntotal or dimension."""
    try:
        index = faiss.read_index(str(path))
        if (index.ntotal, index.d) != (ntotal, dim):
            raise RuntimeError(f"it holds {index.ntotal} vectors of {index.d} dimensions")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise CorruptFile(
            f"{path} is not the index of {ntotal} vectors of {dim} dimensions that its index.json describes "
            f"({reason}): `lookalike repair JOB` removes the build, and `lookalike index` builds the index anew."
        ) from None
    return index


def _empty(factory: str, d: int) -> Any:
    try:
        return faiss.index_factory(d, factory, faiss.METRIC_L2)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"FAISS can't make the index {factory!r} for {d} dimensions: {reason}") from None


def _ivf(index: Any) -> Any | None:
    """The IVF part of an index, or None when it has none."""
    try:
        return faiss.downcast_index(faiss.extract_index_ivf(index))
    except RuntimeError:
        return None
