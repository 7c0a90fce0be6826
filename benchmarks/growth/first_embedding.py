"""Measure the search of a job that has no index yet: `python -m benchmarks.growth.first_embedding`.

All partitions of made features are sealed but the last, half of whose chunks are committed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.queries import K
from benchmarks.support.timing import percentiles_of_runs
from shared.job.directory import JobDir
from shared.job.manifest import Chunk
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, sealing
from shared.job.partition.checkpoint import ImageRow
from shared.settings import Settings
from workers.search.pool import SearcherPool

RESULTS: Final = program.RESULTS / "first_embedding.json"
QUERIES: Final = 32
RUNS: Final = 3
TOGETHER: Final = (8, 64)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth.first_embedding", description="Measure the search of a job without an index."
    )
    parser.add_argument("--sizes", type=program.sizes, default="50000,500000,2000000", help="images, with commas")
    parser.add_argument("--dim", type=int, default=1_792, help="dimensions of an embedding")
    program.add_work(parser)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go, as JSON, after each step")
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    sizes = ",".join(map(str, arguments.sizes))
    command = f"python -m benchmarks.growth.first_embedding --sizes {sizes} --dim {arguments.dim}"
    results: dict[str, Any] = program.head("first_embedding", command) | {"dim": arguments.dim, "sizes": {}}
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="lookalike-first-", dir=arguments.work) as folder:
            made_jobs.require_space(Path(folder), size, arguments.dim)
            results["sizes"][f"{size}"] = measure(Path(folder), size, arguments.dim, program.log)
        program.write(arguments.out.resolve(), results)


def measure(folder: Path, rows: int, dim: int, log: Callable[[str], None]) -> dict[str, Any]:
    """What a job of `rows` features takes to be opened, searched, and opened again after a commit."""
    features = Features(dim, rows)
    log(f"{rows:,}: features and import")
    directory, _ = made_jobs.imported(folder, rows, made_jobs.write_features(features, folder / "given"))
    queries = features.fresh(QUERIES)
    log(f"{rows:,}: searches")
    job, waiting = taken_back(directory)
    pool = SearcherPool(Settings(query_cache_size=0))
    started = time.perf_counter()
    pool.searcher(job).search(queries[0], K)
    found: dict[str, Any] = {
        "rows": rows,
        "dim": dim,
        "seconds_to_first_answer": round(time.perf_counter() - started, 3),
    }
    searcher = pool.searcher(job)
    found["searched"] = searcher.searched and searcher.searched.to_json()
    found["warm_ms"] = percentiles_of_runs(
        [[_milliseconds(searcher.search, one) for one in queries] for _ in range(RUNS)]
    )
    many = features.fresh(max(TOGETHER))
    found["together"] = [
        {"queries": count, "ms_a_query": round(_milliseconds(searcher.search_many, many[:count]) / count, 1)}
        for count in TOGETHER
    ]
    chunk, vectors = waiting[0]
    started = time.perf_counter()
    commit(job, chunk, vectors)
    committed = time.perf_counter()
    (hit,) = pool.searcher(job).search(vectors[-1].astype(np.float32), 1)
    assert hit.id == chunk.stop - 1
    found["chunk"] = {
        "rows": len(vectors),
        "seconds_to_commit": round(committed - started, 3),
        "seconds_from_commit_to_found": round(time.perf_counter() - committed, 3),
    }
    return found


def taken_back(directory: JobDir) -> tuple[OpenJob, list[tuple[Chunk, npt.NDArray[np.float16]]]]:
    """Make the last partition one that is being embedded; returns the chunks of it that are not committed."""
    job = open_job(directory)
    partition = job.partitions[-1]
    dim = job.manifest.model.dim
    assert dim is not None
    vectors = np.array(sealing.open_embeddings(job.img_emb(partition.number), len(partition), dim))
    job.seal(partition.number).unlink()
    chunks = [
        (chunk, vectors[chunk.start - partition.start : chunk.stop - partition.start])
        for chunk in job.chunks(partition)
    ]
    half = len(chunks) // 2
    for chunk, some in chunks[:half]:
        commit(job, chunk, some)
    return job, chunks[half:]


def commit(job: OpenJob, chunk: Chunk, vectors: npt.NDArray[np.float16]) -> None:
    """Commit a chunk of these embeddings, float16 [n, dim]."""
    rows = [
        ImageRow(i, f"made/{i:08d}.jpg", None, None, None, None, "ok", None) for i in range(chunk.start, chunk.stop)
    ]
    checkpoint.commit_chunk(job, chunk, rows, vectors, seconds=1.0)


def _milliseconds(search: Callable[..., Any], queries: npt.NDArray[np.float32]) -> float:
    started = time.perf_counter()
    search(queries, K)
    return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    sys.exit(main())
