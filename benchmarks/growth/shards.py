"""Measure builds of shards, so many at once side by side, and searches of them, on made features.

python -m benchmarks.growth.shards [--rows 200000] [--dim 256] [--shards 1,2,4] [--side-by-side 1,2,4]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.growth import tables
from benchmarks.support import made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.processes import run_module
from shared.job.directory import JobDir
from shared.job.index.request import IndexRequest, write_index_request

RESULTS = program.RESULTS / "growth_shards.json"
QUERIES = 300


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth.shards", description="Measure builds of shards and their search."
    )
    parser.add_argument("--rows", type=int, default=200_000, help="embeddings")
    parser.add_argument("--dim", type=int, default=256, help="dimensions of an embedding")
    parser.add_argument("--shards", type=program.sizes, default="1,2,4", help="how many shards, with commas")
    parser.add_argument("--side-by-side", type=program.sizes, default="1,2,4", help="how many are filled at once")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    arguments = parser.parse_args()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    started = time.perf_counter()
    command = f"python -m benchmarks.growth.shards --rows {arguments.rows} --dim {arguments.dim}"
    results: dict[str, Any] = program.head("growth-shards", command)
    results |= {"rows": arguments.rows, "dim": arguments.dim}
    with tempfile.TemporaryDirectory(prefix="lookalike-shards-", dir=arguments.work) as work:
        folder = Path(work)
        made_jobs.require_space(folder, arguments.rows, arguments.dim)
        features = Features(arguments.dim, arguments.rows)
        program.log(f"{arguments.rows:,} features")
        job, _ = made_jobs.imported(folder, arguments.rows, made_jobs.write_features(features, folder / "given"))
        np.save(folder / "queries.npy", features.fresh(QUERIES))
        results["builds"] = measure(job, folder / "queries.npy", arguments.shards, arguments.side_by_side)
    results["wall_seconds"] = round(time.perf_counter() - started)
    program.write(arguments.out.resolve(), results)
    program.show(tables.shards_tables(results), docs=arguments.docs)


def measure(job: JobDir, queries: Path, shards: Sequence[int], side_by_side: Sequence[int]) -> list[dict[str, Any]]:
    """What each build took, and what it finds: seconds until it was trained, filled and measured."""
    found = []
    for count in shards:
        for at_once in [number for number in side_by_side if number <= count]:
            program.log(f"{count} shards, {at_once} at once")
            # Another recall by less than anything measures, so that it is built again.
            write_index_request(job, IndexRequest("ivf-pq", 0.99 - at_once * 1e-9, shards=count))
            found.append(
                {"shards": count, "side_by_side": at_once} | built(job, at_once) | _step("search", job, queries)
            )
    return found


def built(job: JobDir, at_once: int) -> dict[str, Any]:
    """The seconds of each part of a build, whose shards processes of their own fill, so many at once."""
    times = [time.perf_counter()]
    wanted = _step("merge", job)
    times.append(time.perf_counter())
    if wanted["missing"]:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda shard: _step("fill", job, wanted["build"], str(shard)), wanted["missing"]))
        times.append(time.perf_counter())
        wanted = _step("merge", job)
        times.append(time.perf_counter())
    seconds = [round(after - before, 1) for before, after in pairwise(times)]
    parts = dict(zip(("trained", "filled", "measured"), seconds, strict=False)) if seconds[1:] else {}
    return {"wall_seconds": round(sum(seconds), 1), "seconds": parts, "index_bytes": wanted["index_bytes"]}


def _step(name: str, job: JobDir, *arguments: str | Path) -> Any:
    return run_module("benchmarks.growth.shard_steps", name, job.path, *arguments)


if __name__ == "__main__":
    sys.exit(main())
