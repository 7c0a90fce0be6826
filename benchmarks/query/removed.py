"""Measure what is found, and how fast, where images were removed or a filter leaves them out: anywhere, or near some.

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
from shared.messages.filter import Filter
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
        prog="python -m benchmarks.query.removed",
        description="Measure searches where images were removed or filtered out.",
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
        results |= measure(job, features.fresh(QUERIES))
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out.resolve(), results)
    program.show(removed_tables(results), docs=arguments.docs)


def measure(job: JobDir, queries: np.ndarray, near: int = NEAR) -> dict[str, list[dict[str, Any]]]:
    """What is found of each case by an IVF-PQ index, of all queries and of the `near` first ones: where images are
    `removed` from the job, and where they are `filtered` out."""
    write_index_request(job, IndexRequest("ivf-pq"))
    merge(open_job(job), Settings(), _ALONE)
    searcher = SearcherPool(Settings(query_cache_size=0)).searcher(job)
    found: dict[str, list[dict[str, Any]]] = {"removed": [], "filtered": []}
    for name, gone in cases(searcher, queries[:near]):
        program.log(f"{name}: {len(gone):,} of {searcher.ntotal:,}")
        left = searcher.without(gone, searcher.ntotal) if len(gone) else searcher
        truth = exact_search(left.kept, queries, K).ids
        found["removed"].append({"case": name, "removed": len(gone)} | _measured(left, queries, truth, near))
        if len(gone):
            chosen = Filter(ids=left.kept.ids)
            one = {"case": name, "filtered": len(gone)} | _measured(searcher, queries, truth, near, chosen)
            found["filtered"].append(one)
    return found


def _measured(
    searcher: Searcher, queries: np.ndarray, truth: np.ndarray, near: int, filter: Filter | None = None
) -> dict[str, Any]:
    ids = np.array([[hit.id for hit in searcher.search(query, K, filter=filter)] for query in queries])
    runs = [[_milliseconds(searcher, query, filter) for query in queries] for _ in range(RUNS)]
    return {
        "recall_at_10": round(recall_at_10(ids, truth), 4),
        "recall_at_10_near": round(recall_at_10(ids[:near], truth[:near]), 4),
        "warm_ms": percentiles_of_runs(runs),
        "near_ms": percentiles_of_runs([run[:near] for run in runs]),
    }


def _milliseconds(searcher: Searcher, query: np.ndarray, filter: Filter | None) -> float:
    started = time.perf_counter()
    searcher.search(query, K, filter=filter)
    return (time.perf_counter() - started) * 1_000


def cases(searcher: Searcher, near: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What is not to be found, ids int64 ascending: some anywhere, then those most similar to each of the queries
    `near`."""
    ids, count = searcher.kept.ids, searcher.ntotal
    yield "nothing", ids[:0]
    for share in (10, 50, 85):
        drawn = np.random.default_rng(share).permutation(count)[: count * share // 100]
        yield f"{share} % anywhere", np.sort(ids[drawn])
    for depth in (20, 100, 1_000):
        if depth * len(near) < count:
            yield f"the {depth:,} nearest", np.unique(exact_search(searcher.kept, near, depth).ids)


def removed_tables(results: dict[str, Any]) -> dict[str, str]:
    """The tables by their names."""
    run = header_table(results, [["embeddings", f"{results['rows']:,} x {results['dim']:,}"]])
    ways = {f"query-{way}": _table(way, results[way]) for way in ("removed", "filtered")}
    return {"query-removed-run": run} | ways


def _table(way: str, found: list[dict[str, Any]]) -> str:
    rows = [
        [
            one["case"],
            f"{one[way]:,}",
            f"{one['recall_at_10']:.4f}",
            f"{one['warm_ms']['p50']:.2f}",
            f"{one['recall_at_10_near']:.4f}",
            f"{one['near_ms']['p50']:.2f}",
        ]
        for one in found
    ]
    return table([way, "images", "recall@10", "p50, ms", f"near {NEAR} queries: recall@10", "p50, ms"], rows, right=1)


if __name__ == "__main__":
    sys.exit(main())
