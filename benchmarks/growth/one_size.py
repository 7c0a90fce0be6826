"""Measure one size of the growth benchmark: what an addition, a removal and a life of both cost, and what is found."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.growth.changes import grow, remove
from benchmarks.support.features import BLOCK, Features
from benchmarks.support.made_jobs import imported, write_features
from benchmarks.support.queries import K, recall_at_10
from benchmarks.support.timing import percentiles_of_runs
from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.changes.compaction import compact
from shared.job.directory import JobDir
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.opened import open_job
from shared.processes.control import Control
from shared.settings import Settings
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.vectors.exact import exact_search

UNCOVERED: Final = 20_000
ADDITIONS: Final = (1, 100, 10_000)
ROUNDS: Final = 10
QUERIES: Final = 300
RUNS: Final = 3
_ALONE: Final[Control[object]] = Control(lambda: True, lambda: True, lambda progress: None)

Log = Callable[[str], None]
Half = npt.NDArray[np.float16]


class Source:
    """The features of a collection, and more like them, each given once."""

    def __init__(self, source: Features) -> None:
        self._source = source
        self._next = -(-source.rows // BLOCK)

    def more(self, count: int) -> Half:
        numbers = range(self._next, self._next + -(-count // BLOCK))
        self._next = numbers.stop
        return np.concatenate([self._source.block(number) for number in numbers])[:count]


def measure(folder: Path, rows: int, dim: int, log: Log) -> dict[str, Any]:
    """Everything about a job of `rows` features that changes."""
    features = Features(dim, rows)
    source = Source(features)
    log(f"{rows:,}: features and import")
    job, _ = imported(folder, rows, write_features(features, folder / "given"))
    queries = features.fresh(QUERIES)
    pool = SearcherPool(Settings(query_cache_size=0))
    searched = partial(searched_by, pool, job, queries)
    log(f"{rows:,}: a full build")
    full = merged(job)
    found: dict[str, Any] = {"rows": rows, "dim": dim, "load": round(os.getloadavg()[0], 2), "full": full | searched()}
    log(f"{rows:,}: additions")
    found["additions"] = [_added(pool, job, source.more(count)) for count in ADDITIONS]
    grow(job, source.more(UNCOVERED - sum(ADDITIONS)))
    found["uncovered"] = {"rows": UNCOVERED} | searched()
    log(f"{rows:,}: grown builds")
    found["grown"] = {"added": UNCOVERED} | merged(job) | searched()
    grow(job, source.more(rows // 100))
    found["one_percent"] = {"added": rows // 100} | merged(job) | searched()
    log(f"{rows:,}: removals")
    found["removals"] = [_removed(pool, job, count) | searched() for count in (1, rows // 100, rows // 10)]
    log(f"{rows:,}: a life of {ROUNDS} rounds")
    found["life"] = _life(job, source, searched)
    log(f"{rows:,}: a compaction")
    found["compaction"] = _compacted(pool, job, searched)
    return found


def merged(job: JobDir) -> dict[str, Any]:
    """Seconds of a merge, as a whole and by its parts, and whether the index of before grew."""
    started = time.perf_counter()
    info: IndexInfo = merge(open_job(job), Settings(), _ALONE)
    seconds = round(time.perf_counter() - started, 1)
    return {"wall_seconds": seconds, "seconds": dict(info.seconds), "grown": bool(info.grown_from)}


def searched_by(pool: SearcherPool, job: JobDir, queries: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Milliseconds of a query alone, and the recall of all of them, against exact search over what can be found."""
    searcher = pool.searcher(job)
    truth = exact_search(searcher.kept, queries, K).ids
    answers = np.array([[hit.id for hit in searcher.search(query, K)] for query in queries])
    runs = []
    for _ in range(RUNS):
        times = []
        for query in queries:
            started = time.perf_counter()
            searcher.search(query, K)
            times.append((time.perf_counter() - started) * 1_000)
        runs.append(times)
    return {"recall_at_10": round(recall_at_10(answers, truth), 4), "warm_ms": percentiles_of_runs(runs)}


def _added(pool: SearcherPool, job: JobDir, vectors: Half) -> dict[str, Any]:
    """Seconds from the embeddings to a hit on the last of them."""
    started = time.perf_counter()
    last = grow(job, vectors).listed - 1
    sealed = time.perf_counter() - started
    hits = pool.searcher(job).search(vectors[-1].astype(np.float32), K)
    assert last in {hit.id for hit in hits}
    return {
        "rows": len(vectors),
        "seconds_to_sealed": round(sealed, 3),
        "seconds_to_found": round(time.perf_counter() - started, 3),
    }


def _removed(pool: SearcherPool, job: JobDir, count: int) -> dict[str, Any]:
    """Seconds from asking for it until a query no longer finds what was removed."""
    kept = pool.searcher(job).kept
    ids = np.sort(np.random.default_rng(count).choice(kept.ids, count, replace=False))
    vector = kept.rows(np.searchsorted(kept.ids, ids[:1]))[0].astype(np.float32)
    started = time.perf_counter()
    remove(job, ids)
    hits = pool.searcher(job).search(vector, K)
    seconds = time.perf_counter() - started
    assert int(ids[0]) not in {hit.id for hit in hits}
    return {"removed": count, "seconds_to_gone": round(seconds, 3)}


def _compacted(pool: SearcherPool, job: JobDir, searched: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Seconds that a compaction of all that was removed takes, and a worker to open the job again; then its merge."""
    pool.searcher(job)
    started = time.perf_counter()
    done = compact(job, Bounds(), lambda event: None)
    seconds = time.perf_counter() - started
    pool.searcher(job)
    opened = time.perf_counter() - started - seconds
    facts = {
        "purged": done.purged,
        "partitions": done.replaced,
        "bytes": done.bytes,
        "seconds_to_compact": round(seconds, 1),
    }
    return facts | {"seconds_to_open": round(opened, 2)} | merged(job) | searched()


def _life(job: JobDir, source: Source, searched: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Rounds of 5 % more and 2 % less, each merged; then an index built from scratch over the same embeddings."""
    seconds = []
    for turn in range(ROUNDS):
        opened = open_job(job)
        left = np.setdiff1d(np.arange(opened.listed), opened.state.removed)
        grow(job, source.more(len(left) // 20))
        remove(job, np.sort(np.random.default_rng(turn).choice(left, len(left) // 50, replace=False)))
        seconds.append(merged(job)["wall_seconds"])
    grown = searched()
    write_index_request(job, IndexRequest(index="ivf-pq"))  # The same index, asked for in other words.
    fresh = merged(job)
    assert not fresh["grown"]
    return {"rounds": ROUNDS, "merge_seconds": seconds, "grown": grown, "fresh": fresh | searched()}
