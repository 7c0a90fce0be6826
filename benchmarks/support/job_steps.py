"""Run one step of an index benchmark in a process of its own, so that its memory and its threads are its own.

python -m benchmarks.support.job_steps import JOB FOLDER | merge JOB FAMILY RECALL | truth JOB QUERIES |
search JOB BUILD QUERIES | exact JOB BUILD QUERIES | article JOB BUILD QUERIES; prints JSON
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.support.processes import own_memory
from benchmarks.support.queries import K, Queries
from benchmarks.support.timing import percentiles_of_runs
from coordinator.jobs.from_vectors import import_vectors
from coordinator.sources.vectors.vectors import open_vectors
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.processes.control import Control
from shared.processes.memory import Peak
from shared.settings import Settings
from shared.vectors import widen
from workers.merge.build import merge
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors import exact
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import Images

RUNS = 3
_BATCH = 64
_COLD_QUERIES = 40
_EXACT_QUERIES = 3
_ARTICLE_NLIST = 100
_ARTICLE_TRAIN_ROWS = 60_000


def main() -> None:
    step, job, *others = sys.argv[1:]
    print(json.dumps(_STEPS[step](JobDir.at(Path(job)), *others)))


def _import(job: JobDir, folder: str) -> dict[str, Any]:
    started = time.perf_counter()
    with Peak() as peak:
        job = import_vectors(open_vectors(folder), job, Settings(), lambda doing, count: None)
    seconds = time.perf_counter() - started
    return {"rows": job.listed, "seconds": round(seconds, 1), "peak_rss_bytes": peak.bytes()}


def _merge(job: JobDir, family: str, recall_wanted: str) -> dict[str, Any]:
    write_index_request(job, IndexRequest(index=family, recall=float(recall_wanted)))
    started = time.perf_counter()
    alone: Control[object] = Control(lambda: True, lambda: True, lambda progress: None)
    info = merge(open_job(job), Settings(), alone)
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "build": info.build,
        "type": info.type,
        "factory": info.factory,
        "nlist": info.nlist,
        "nprobe": info.nprobe,
        "rerank_depth": info.rerank_depth,
        "list_margin": round(info.list_margin, 4),
        "depth_ratio": info.depth_ratio,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds": dict(info.seconds),
        "peak_rss_bytes": info.peak_rss_bytes,
        "index_bytes": info.files[builds.INDEX_FILE]["bytes"],
        "bytes": info.bytes,
        "recall_at_build": info.recall_at_10,
        "recall_queries": info.recall_queries,
        "refused": info.refused,
    }


def _truth(job: JobDir, path: str) -> dict[str, Any]:
    queries = Queries.load(Path(path))
    started = time.perf_counter()
    found = exact.exact_search(_stored(job), queries.vectors, K)
    seconds = time.perf_counter() - started
    judged = queries.with_truth(found.ids)
    judged.save(Path(path))
    return {"queries": len(found.ids), "seconds": round(seconds, 1)} | judged.judged(found.ids)


def _search(job: JobDir, build: str, path: str) -> dict[str, Any]:
    queries = Queries.load(Path(path))
    searcher = Searcher.open(JobFiles.of(job), build, cache_size=0)
    judged = queries.judged(_ids(searcher.search_many(queries.vectors, K)))  # Brings the pages into memory, too.
    single = [_singles(searcher.search, queries.vectors[: queries.fresh]) for _ in range(RUNS)]
    batched = [_batches(searcher, queries.vectors) for _ in range(RUNS)]
    # Mapped pages of the embeddings are the system's cache, not this process's memory.
    own_bytes = own_memory()
    cold = [_cold(job, searcher, vector) for vector in queries.vectors[:_COLD_QUERIES]]
    return judged | {
        "queries": len(queries.vectors),
        "load": round(os.getloadavg()[0], 2),
        "warm_ms": percentiles_of_runs(single),
        "cold_p50_ms": round(float(np.median(cold)), 3),
        "cold_p99_ms": round(float(np.percentile(cold, 99)), 3),
        "queries_per_second_at_64": round(float(np.median(batched))),
        "own_memory_bytes": own_bytes,
    }


def _exact(job: JobDir, build: str, path: str) -> dict[str, Any]:
    queries = Queries.load(Path(path))
    searcher = Searcher.open(JobFiles.of(job), build, cache_size=0)
    times = _singles(lambda vector, k: searcher.search(vector, k, exact=True), queries.vectors[:_EXACT_QUERIES])
    return {"queries": len(times), "p50_ms": round(float(np.median(times)), 1)}


def _article(job: JobDir, build: str, path: str) -> dict[str, Any]:
    """The article's parameters: 100 lists, 8 parts of 8 bits, bare and with an exact rerank of 1,000 candidates."""
    queries = Queries.load(Path(path))
    stored = _stored(job)
    plan = IndexPlan("IVF-PQ", f"IVF{_ARTICLE_NLIST},PQ8x8np", stored.dim, _ARTICLE_NLIST, 1, 8, 8, _ARTICLE_TRAIN_ROWS)
    seconds, started = {}, time.perf_counter()
    drawn = np.random.default_rng(0).choice(len(stored), min(_ARTICLE_TRAIN_ROWS, len(stored)), replace=False)
    made = training.train(plan, [widen(stored.rows(np.sort(drawn)))])
    seconds["training"] = round(time.perf_counter() - started, 1)
    started = time.perf_counter()
    for first, block in stored.blocks():
        faiss_index.add(made, stored.ids[first : first + len(block)], widen(block))
    seconds["adding"] = round(time.perf_counter() - started, 1)
    images = Images.open(job.build_dir(build) / builds.IMAGES_FILE)
    stored.expect_scattered_reads()
    found: list[dict[str, Any]] = []
    for nprobe, depth in ((1, 0), (10, 0), (1, 1_000), (10, 1_000)):
        searcher = Searcher(made, stored, images, width=Width(nprobe, max(depth, 1)), nlist=_ARTICLE_NLIST)
        bare = partial(_bare, made, nprobe)
        ids = _ids(searcher.search_many(queries.vectors, K)) if depth else bare(queries.vectors, K)
        ask = searcher.search if depth else bare
        runs = [_singles(ask, queries.vectors[: queries.fresh]) for _ in range(RUNS)]
        timed = {"nprobe": nprobe, "rerank_depth": depth, "warm_ms": percentiles_of_runs(runs)}
        found.append(timed | queries.judged(ids))
    size = len(faiss.serialize_index(made))
    return {"factory": plan.factory, "seconds": seconds, "index_bytes": size, "searched": found}


def _bare(made: Any, nprobe: int, vectors: Any, k: int) -> Any:
    """What the index itself calls the nearest, of one vector or of many."""
    return faiss_index.candidates(made, np.atleast_2d(vectors), k, nprobe)


def _stored(job: JobDir) -> StoredEmbeddings:
    return StoredEmbeddings.open(JobFiles.of(job), list(ledger.sealed(open_job(job))))


def _ids(answers: list[list[Any]]) -> Any:
    found = np.full((len(answers), K), -1, np.int64)
    for row, hits in zip(found, answers, strict=True):
        row[: len(hits)] = [hit.id for hit in hits]
    return found


def _singles(search: Callable[[Any, int], Any], vectors: Any) -> list[float]:
    """Milliseconds of each query alone."""
    times = []
    for vector in vectors:
        started = time.perf_counter()
        search(vector, K)
        times.append((time.perf_counter() - started) * 1_000)
    return times


def _batches(searcher: Searcher, vectors: Any) -> float:
    """Queries a second in batches of 64."""
    whole = len(vectors) // _BATCH * _BATCH
    started = time.perf_counter()
    for first in range(0, whole, _BATCH):
        searcher.search_many(vectors[first : first + _BATCH], K)
    return whole / (time.perf_counter() - started)


def _cold(job: JobDir, searcher: Searcher, vector: Any) -> float:
    """Milliseconds of one query when no embedding is in the system's cache; the index is in memory as always."""
    searcher.stored.release()
    for number in job.sealed_numbers():
        descriptor = os.open(job.img_emb(number), os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return _singles(searcher.search, [vector])[0]


_STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "import": _import,
    "merge": _merge,
    "truth": _truth,
    "search": _search,
    "exact": _exact,
    "article": _article,
}

if __name__ == "__main__":
    main()
