"""Measure the whole path of a query in milliseconds: client, broker, Celery, query worker, index, and back.

python -m benchmarks.query [PHOTOS] [--size 200000] [--dim 1280] [--out FILE] [--docs]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.query import load, tables
from benchmarks.support import altered, made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.processes import (
    LOOKALIKE,
    children_of,
    measured,
    own_memory,
    run_module,
)
from coordinator.client.client import Client
from coordinator.client.queries import Queryable
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import LocalWorkers
from shared.job.directory import JobDir
from shared.settings import Settings

RESULTS = program.RESULTS / "query.json"
_THREADS = (1, 2, 4)
_WINDOWS = (1, 8, 64)
_BATCHES_UNDER_WAY = (1, 4)


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    photos = "PHOTOS " if arguments.photos else ""
    command = f"python -m benchmarks.query {photos}--size {arguments.size} --dim {arguments.dim}"
    results = program.head("query", command) | {"size": arguments.size, "dim": arguments.dim}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lookalike-query-", dir=arguments.work) as folder:
        results |= _measure(Path(folder).resolve(), arguments)
    results["wall_seconds"] = round(time.perf_counter() - started, 1)
    program.write(arguments.out.resolve(), results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query", description="Measure queries from the client to the hits."
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="folder of photographs, for queries by image")
    parser.add_argument("--size", type=int, default=200_000, help="made features that are searched by vector")
    parser.add_argument("--dim", type=int, default=1_280, help="dimensions of a made feature")
    parser.add_argument("--queries", type=int, default=300, help="queries of each measurement; a third by image")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    return parser.parse_args()


def _measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    root = folder / "jobs"
    root.mkdir()
    made = JobDir.at(root / "made")
    source = Features(arguments.dim, arguments.size)
    program.log("features, import, merge")
    given = made_jobs.write_features(source, folder / "given")
    run_module("benchmarks.support.job_steps", "import", made.path, given)
    built = run_module("benchmarks.support.job_steps", "merge", made.path, "ivf-pq", "0.99")
    vectors: list[Queryable] = list(source.fresh(arguments.queries))
    photos: list[Queryable] = []
    taken = JobDir.at(root / "photos")
    if arguments.photos:
        program.log("lookalike index PHOTOS")
        measured([LOOKALIKE, "index", str(Path(arguments.photos).resolve()), str(taken.path)], folder / "index.log")
        photos = [original.path for original in altered.draw(taken, max(1, arguments.queries // 3))]
    found: dict[str, Any] = {
        "index": {key: built[key] for key in ("factory", "nprobe", "rerank_depth", "recall_at_build")},
        "by_vector": [],
        "by_image": [],
    }
    # One broker for all: connections to one that has ended linger in pools. Answers that are remembered would be
    # measured instead of searches.
    with EmbeddedBroker(root) as broker:
        settings = Settings(broker_url=broker.url, jobs_root=root, query_cache_size=0)
        found |= {"ping_ms": load.ping(settings), "empty_task_ms": load.empty_task(settings)}
        for threads in _THREADS:
            with _worker(settings.changed(query_threads=threads), broker.directory):
                for job, queries, rows in ((made, vectors, "by_vector"), (taken, photos, "by_image")):
                    if queries:
                        program.log(f"{threads} threads: {rows}")
                        with Client(job.path, broker.url) as client:
                            found[rows].append({"threads": threads} | _searched(client, queries))
    return found


def _searched(client: Client, queries: Sequence[Queryable]) -> dict[str, Any]:
    single = load.one_by_one(client, queries)
    ways = [load.in_flight(client, queries, window) for window in _WINDOWS]
    ways += [load.in_flight(client, queries, window, load.BATCH) for window in _BATCHES_UNDER_WAY]
    (worker,) = children_of(os.getpid(), "query")
    return {"single": single, "in_flight": ways, "load": os.getloadavg()[0], "worker_memory_bytes": own_memory(worker)}


@contextmanager
def _worker(settings: Settings, directory: Path) -> Iterator[None]:
    """A query worker that is ready to answer; its log goes to `directory`."""
    with LocalWorkers(["query"], settings, directory) as workers, Client("made", settings.broker_url) as client:
        while not client.has_worker(workers.nodes[0]):
            workers.watch()
        yield
