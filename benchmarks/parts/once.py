"""Time the parts of the real search in a process of its own.

python -m benchmarks.parts.once JOB BUILD QUERIES; prints JSON
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import faiss
import numpy as np

from benchmarks.support.features import Floats
from benchmarks.support.machine import cores
from benchmarks.support.queries import K, Queries, recall_at_10
from benchmarks.support.timing import percentiles_of_runs
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors import embeddings, rerank
from workers.vectors.ann import faiss_index, ivf_lists
from workers.vectors.ann.layers import bare_ivf
from workers.vectors.embeddings import StoredEmbeddings

PARTS: Final = ("reduce", "lists", "scan", "copy rows", "compare")
"""The parts that are timed: fewer dimensions, choosing lists, reading their codes, the candidates' rows, cosines."""

BATCH: Final = 64
SHARES: Final = (1.0, 0.5, 0.25)
"""How many of the lists that the tuned search reads on average are read, to see what recall costs."""

RUNS = 3
READ_BYTES = 1 << 30
# Where each part begins and ends in the real search.
_JOINTS: tuple[tuple[str, Any, str], ...] = (
    ("reduce", faiss_index, "reduced_queries"),
    ("lists", ivf_lists, "nearest"),
    ("scan", ivf_lists, "search"),
    ("copy rows", StoredEmbeddings, "gathered"),
    ("compare", rerank, "simd_cosines"),
    ("compare", rerank, "cosines"),
    ("compare", embeddings, "cosines"),
)

Heard = Callable[[str, Sequence[Any], Any, float], None]


def main() -> None:
    job, build, path = sys.argv[1:]
    print(json.dumps(measured(JobDir.at(Path(job)), build, Queries.load(Path(path)))))


def measured(job: JobDir, build: str, queries: Queries) -> dict[str, Any]:
    """The parts of the promoted width and of narrower ones, for single queries and batches, and what the memory gives.

    `queries` have their truth; the new images among them are asked. Raises UsageError for an index without lists.
    """
    searcher = Searcher.open(JobFiles.of(job), build)
    opened = faiss_index.load(job.build_dir(build) / "index.faiss", ntotal=None, dim=searcher.stored.dim)
    bare = bare_ivf(opened)
    if bare is None:
        raise UsageError("The index has no lists, so its search has none of these parts: measure more embeddings.")
    ivf = bare[1]
    sizes = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)])
    vectors, truth = queries.vectors[: queries.fresh], queries.truth[: queries.fresh]
    tuned = searcher.width
    average = counted(searcher, vectors, sizes)["lists"]
    found = []
    for share in SHARES:
        width = tuned if share == 1 else _narrower(opened, vectors, tuned, max(1, round(average * share)))
        one = searcher.widened(width)
        ids = np.array([[hit.id for hit in hits] for hits in one.search_many(vectors, K)])
        counts = counted(one, vectors, sizes)
        found.append(
            {"nprobe": width.nprobe, "rerank_depth": width.depth, "recall_at_10": round(recall_at_10(ids, truth), 4)}
            | counts
            | {"ways": [_way(one, vectors, batch) for batch in (1, BATCH)]}
        )
    dim, kept = searcher.stored.dim, int(ivf.d)
    return {
        "queries": len(vectors),
        "load": round(os.getloadavg()[0], 2),
        "code_bytes": int(ivf.code_size),
        "row_bytes": 2 * dim,
        # Read by each single query, and once by each slice of a batch.
        "table_bytes": 4 * kept * (dim + int(ivf.nlist)),
        "read_bytes_per_second": {str(threads): _reading(threads) for threads in sorted({1, cores()})},
        "widths": found,
    }


def counted(searcher: Searcher, vectors: Floats, sizes: Any) -> dict[str, float]:
    """Means a query: lists read, codes in them (by the `sizes` of the lists), rows that are copied and compared."""
    totals: defaultdict[str, int] = defaultdict(int)

    def heard(part: str, given: Sequence[Any], found: Any, seconds: float) -> None:
        if part == "lists":
            read = found.lists[found.lists >= 0]
            totals["lists"] += len(read)
            totals["codes"] += int(sizes[read].sum())
        elif part == "copy rows":
            totals["rows"] += len(found)

    with _overheard(heard):
        for vector in vectors:
            searcher.search(vector, K)
    return {what: round(total / len(vectors), 1) for what, total in totals.items()}


def cpu_parts(searcher: Searcher, vectors: Floats, batch: int) -> dict[str, float]:
    """CPU milliseconds a query of each part, of the rest, and of all, whichever threads spend them."""
    spent = dict.fromkeys(PARTS, 0.0)
    lock = threading.Lock()

    def heard(part: str, given: Sequence[Any], found: Any, seconds: float) -> None:
        with lock:
            spent[part] += seconds

    with _overheard(heard):
        started = time.process_time()
        count = _asked(searcher, vectors, batch)
        whole = time.process_time() - started
    parts = spent | {"rest": whole - sum(spent.values()), "all": whole}
    return {part: round(seconds / count * 1_000, 4) for part, seconds in parts.items()}


def _way(searcher: Searcher, vectors: Floats, batch: int) -> dict[str, Any]:
    """Queries one by one or in batches: how long they take as they are, and CPU time by part with the clock on."""
    runs, rates = [], []
    for _ in range(RUNS):
        times: list[float] = []
        started = time.perf_counter()
        count = _asked(searcher, vectors, batch, times)
        rates.append(count / (time.perf_counter() - started))
        runs.append(times)
    each = [cpu_parts(searcher, vectors, batch) for _ in range(RUNS)]
    return {
        "batch": batch,
        "call_ms": percentiles_of_runs(runs),
        "queries_per_second": round(float(np.median(rates)), 1),
        "cpu_ms": {part: round(float(np.median([one[part] for one in each])), 4) for part in each[0]},
    }


def _asked(searcher: Searcher, vectors: Floats, batch: int, times: list[float] | None = None) -> int:
    """Ask in whole batches; how many were asked. Milliseconds of each call are added to `times`."""
    if batch > len(vectors):
        raise UsageError(f"{len(vectors)} queries are no batch of {batch}: give more.")
    whole = len(vectors) // batch * batch
    for first in range(0, whole, batch):
        started = time.perf_counter()
        if batch == 1:
            searcher.search(vectors[first], K)
        else:
            searcher.search_many(vectors[first : first + batch], K)
        if times is not None:
            times.append((time.perf_counter() - started) * 1_000)
    return whole


def _narrower(opened: Any, vectors: Floats, tuned: Width, nprobe: int) -> Width:
    """The tuned width with the margin at which `nprobe` lists are read on average."""
    most = min(tuned.nprobe, 3 * nprobe)
    return Width(most, tuned.depth, faiss_index.list_margin(opened, vectors, nprobe, most), tuned.depth_ratio)


@contextmanager
def _overheard(heard: Heard) -> Iterator[None]:
    """While it lasts, `heard` is told of each call at a joint: its part, arguments, answer and thread's CPU seconds."""
    with ExitStack() as stack:
        for part, owner, name in _JOINTS:
            stack.enter_context(patch.object(owner, name, _listening(heard, part, getattr(owner, name))))
        yield


def _listening(heard: Heard, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def listening(*given: Any, **named: Any) -> Any:
        started = time.thread_time()
        found = call(*given, **named)
        heard(part, given, found, time.thread_time() - started)
        return found

    return listening


def _reading(threads: int) -> int:
    """Bytes a second that so many threads read from memory, each from a part of an array that no cache holds."""
    values = np.ones(READ_BYTES // 4, dtype=np.float32)
    shares = np.array_split(values, threads)
    norm: Any = faiss.fvec_norm_L2sqr  # FAISS sums in SIMD, and other threads run meanwhile.
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(RUNS):
            started = time.perf_counter()
            list(pool.map(lambda share: norm(faiss.swig_ptr(share), len(share)), shares))
            best = max(best, values.nbytes / (time.perf_counter() - started))
    return round(best)


if __name__ == "__main__":
    main()
