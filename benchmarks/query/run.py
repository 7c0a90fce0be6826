"""Measure the whole path of a query in milliseconds: client, broker, Celery, query worker, index, and back.

python -m benchmarks.query [PHOTOS] [--size 200000] [--dim 1280] [--out FILE] [--docs]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.query import load as query_load
from benchmarks.query import tables
from benchmarks.support import altered, machine, made_jobs
from benchmarks.support.features import Features
from benchmarks.support.processes import (
    LOOKALIKE,
    REPOSITORY,
    children_of,
    measured,
    own_memory,
    require_linux,
    run_module,
)
from benchmarks.support.tables import fill_in
from coordinator.client.client import Client
from coordinator.client.queries import Queryable
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import LocalWorkers
from shared.errors import LookalikeError
from shared.job.directory import JobDir
from shared.settings import Settings, without_settings

RESULTS = REPOSITORY / "benchmarks" / "results" / "query.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"
_THREADS = (1, 2, 4)
_WINDOWS = (1, 8, 64)
_BATCHES_UNDER_WAY = (1, 4)


def main() -> int:
    arguments = _arguments()
    for variable in set(os.environ) - set(without_settings(os.environ)):
        del os.environ[variable]  # What is measured are the defaults.
    results = _header(arguments)
    started = time.perf_counter()
    try:
        require_linux()
        with tempfile.TemporaryDirectory(prefix="lookalike-query-", dir=arguments.work) as folder:
            results |= _measure(Path(folder).resolve(), arguments)
    except LookalikeError as error:
        print(f"The benchmark could not be made: {error}", file=sys.stderr)
        return 1
    results["wall_seconds"] = round(time.perf_counter() - started, 1)
    out = Path(arguments.out).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    made = tables.all_tables(results)
    print(*made.values(), sep="\n\n")
    if arguments.docs:
        PAGE.write_text(fill_in(PAGE.read_text(), made))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query", description="Measure queries from the client to the hits."
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="folder of photographs, for queries by image")
    parser.add_argument("--size", type=int, default=200_000, help="made features that are searched by vector")
    parser.add_argument("--dim", type=int, default=1_280, help="dimensions of a made feature")
    parser.add_argument("--queries", type=int, default=300, help="queries of each measurement; a third by image")
    parser.add_argument("--work", help="where the work folder is made, removed at the end; left out: the system's")
    parser.add_argument("--out", default=RESULTS, help="where the results go, as JSON")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/benchmarks.md as well")
    return parser.parse_args()


def _header(arguments: argparse.Namespace) -> dict[str, Any]:
    photos = "PHOTOS " if arguments.photos else ""
    return {
        "benchmark": "query",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.query {photos}--size {arguments.size} --dim {arguments.dim}",
        "size": arguments.size,
        "dim": arguments.dim,
        "machine": machine.machine(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "versions": machine.versions(),
    }


def _measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    root = folder / "jobs"
    root.mkdir()
    made = JobDir.at(root / "made")
    source = Features(arguments.dim, arguments.size)
    _log("features, import, merge")
    given = made_jobs.write_features(source, folder / "given")
    run_module("benchmarks.support.job_steps", "import", made.path, given)
    built = run_module("benchmarks.support.job_steps", "merge", made.path, "ivf-pq", "0.99")
    vectors: list[Queryable] = list(source.fresh(arguments.queries))
    photos: list[Queryable] = []
    taken = JobDir.at(root / "photos")
    if arguments.photos:
        _log("lookalike index PHOTOS")
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
        found |= {"ping_ms": query_load.ping(settings), "empty_task_ms": query_load.empty_task(settings)}
        for threads in _THREADS:
            with _worker(settings.changed(query_threads=threads), broker.directory):
                for job, queries, rows in ((made, vectors, "by_vector"), (taken, photos, "by_image")):
                    if queries:
                        _log(f"{threads} threads: {rows}")
                        with Client(job.path, broker.url) as client:
                            found[rows].append({"threads": threads} | _searched(client, queries))
    return found


def _searched(client: Client, queries: Sequence[Queryable]) -> dict[str, Any]:
    single = query_load.one_by_one(client, queries)
    ways = [query_load.in_flight(client, queries, window) for window in _WINDOWS]
    ways += [query_load.in_flight(client, queries, window, query_load.BATCH) for window in _BATCHES_UNDER_WAY]
    (worker,) = children_of(os.getpid(), "query")
    return {"single": single, "in_flight": ways, "load": os.getloadavg()[0], "worker_memory_bytes": own_memory(worker)}


@contextmanager
def _worker(settings: Settings, directory: Path) -> Iterator[None]:
    """A query worker that is ready to answer; its log goes to `directory`."""
    with LocalWorkers(["query"], settings, directory) as workers, Client("made", settings.broker_url) as client:
        while not client.has_worker(workers.nodes[0]):
            workers.watch()
        yield


def _log(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
