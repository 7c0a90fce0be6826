"""Measure what is found, and how fast, where images were removed: anywhere, or all those near some of the queries.

python -m benchmarks.query.removed [--rows 200000] [--dim 256]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.queries import K, recall_at_10
from benchmarks.support.tables import header_table, table
from benchmarks.support.timing import percentiles_of_runs
from shared.job.directory import JobDir
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.opened import open_job
from shared.processes.control import Control
from shared.settings import Settings
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.exact import exact_search

RESULTS: Final = program.RESULTS / "query_removed.json"
QUERIES: Final = 300
NEAR: Final = 40
"""The first queries, around which images are removed."""
RUNS: Final = 3
_ALONE: Final[Control[object]] = Control(lambda: True, lambda: True, lambda progress: None)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.removed", description="Measure searches where images were removed."
    )
    parser.add_argument("--rows", type=int, default=200_000, help="embeddings")
    parser.add_argument("--dim", type=int, default=256, help="dimensions of an embedding")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    command = f"python -m benchmarks.query.removed --rows {arguments.rows} --dim {arguments.dim}"
    results: dict[str, Any] = program.head("query-removed", command) | {"rows": arguments.rows, "dim": arguments.dim}
    with tempfile.TemporaryDirectory(prefix="lookalike-removed-", dir=arguments.work) as work:
        folder = Path(work)
        made_jobs.require_space(folder, arguments.rows, arguments.dim)
        features = Features(arguments.dim, arguments.rows)
        program.log(f"{arguments.rows:,} features")
        job, _ = made_jobs.imported(folder, arguments.rows, made_jobs.write_features(features, folder / "given"))
        results["removed"] = measure(job, features.fresh(QUERIES))
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out.resolve(), results)
    program.show(removed_tables(results), docs=arguments.docs)


def measure(job: JobDir, queries: np.ndarray, near: int = NEAR) -> list[dict[str, Any]]:
    """What is found of each case by an IVF-PQ index of the job: of all queries, and of the `near` first ones."""
    write_index_request(job, IndexRequest("ivf-pq"))
    merge(open_job(job), Settings(), _ALONE)
    searcher = SearcherPool(Settings(query_cache_size=0)).searcher(job)
    found = []
    for name, gone in cases(searcher, queries[:near]):
        program.log(f"{name}: {len(gone):,} of {searcher.ntotal:,}")
        left = searcher.without(gone, searcher.ntotal) if len(gone) else searcher
        truth = exact_search(left.kept, queries, K).ids
        ids = np.array([[hit.id for hit in left.search(query, K)] for query in queries])
        runs = [[_milliseconds(left, query) for query in queries] for _ in range(RUNS)]
        found.append(
            {
                "case": name,
                "removed": len(gone),
                "recall_at_10": round(recall_at_10(ids, truth), 4),
                "recall_at_10_near": round(recall_at_10(ids[:near], truth[:near]), 4),
                "warm_ms": percentiles_of_runs(runs),
                "near_ms": percentiles_of_runs([run[:near] for run in runs]),
            }
        )
    return found


def _milliseconds(searcher: Searcher, query: np.ndarray) -> float:
    started = time.perf_counter()
    searcher.search(query, K)
    return (time.perf_counter() - started) * 1_000


def cases(searcher: Searcher, near: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What is removed, ids int64 ascending: some anywhere, then those most similar to each of the queries `near`."""
    ids, count = searcher.kept.ids, searcher.ntotal
    yield "nothing", ids[:0]
    for share in (10, 50):
        drawn = np.random.default_rng(share).permutation(count)[: count * share // 100]
        yield f"{share} % anywhere", np.sort(ids[drawn])
    for depth in (20, 100, 1_000):
        if depth * len(near) < count:
            yield f"the {depth:,} nearest", np.unique(exact_search(searcher.kept, near, depth).ids)


def removed_tables(results: dict[str, Any]) -> dict[str, str]:
    """The tables by their names."""
    rows = [
        [
            one["case"],
            f"{one['removed']:,}",
            f"{one['recall_at_10']:.4f}",
            f"{one['warm_ms']['p50']:.2f}",
            f"{one['recall_at_10_near']:.4f}",
            f"{one['near_ms']['p50']:.2f}",
        ]
        for one in results["removed"]
    ]
    heads = ["removed", "images", "recall@10", "p50, ms", f"near {NEAR} queries: recall@10", "p50, ms"]
    run = header_table(results, [["embeddings", f"{results['rows']:,} x {results['dim']:,}"]])
    return {"query-removed-run": run, "query-removed": table(heads, rows, right=1)}


if __name__ == "__main__":
    sys.exit(main())
