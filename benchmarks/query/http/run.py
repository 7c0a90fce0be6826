"""Measure the HTTP API beside `client.search`, against one query worker, in one run.

python -m benchmarks.query.http [PHOTOS] [--size 20000] [--dim 1280] [--requests 400] [--out FILE] [--docs]
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.query.http import tables
from benchmarks.query.http.asking import Asked, Request, ask
from benchmarks.query.http.serving import server
from benchmarks.query.load import K, one_by_one
from benchmarks.support import altered, made_jobs, program
from benchmarks.support.features import Features
from benchmarks.support.processes import LOOKALIKE, measured, own_memory, run_module
from benchmarks.support.timing import percentiles_of_runs
from coordinator.client.client import Client
from coordinator.client.queries import Queryable
from coordinator.local.broker import EmbeddedBroker
from coordinator.local.workers import LocalWorkers
from shared.job.directory import JobDir
from shared.settings import Settings

RESULTS = program.RESULTS / "http.json"
_CLIENTS = (1, 8, 64, 256)
_RUNS = 3
_SIDE = 256


def main() -> int:
    arguments = _arguments()
    return program.run(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> None:
    photos = "PHOTOS " if arguments.photos else ""
    command = f"python -m benchmarks.query.http {photos}--size {arguments.size} --requests {arguments.requests}"
    results = program.head("http", command, "starlette", "uvicorn") | {"size": arguments.size, "dim": arguments.dim}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="lookalike-http-", dir=arguments.work) as folder:
        results |= _measure(Path(folder).resolve(), arguments)
    results["wall_seconds"] = round(time.perf_counter() - started, 1)
    program.write(arguments.out.resolve(), results)
    program.show(tables.all_tables(results), docs=arguments.docs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.query.http", description="Measure searches and thumbnails over HTTP."
    )
    parser.add_argument("photos", metavar="PHOTOS", nargs="?", help="folder of photographs, for queries by image")
    parser.add_argument("--size", type=int, default=20_000, help="made features that are searched by vector")
    parser.add_argument("--dim", type=int, default=1_280, help="dimensions of a made feature")
    parser.add_argument("--requests", type=int, default=400, help="requests of each measurement; a quarter by image")
    program.add_work(parser)
    program.add_out(parser, RESULTS)
    return parser.parse_args()


def _measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    root = folder / "jobs"
    root.mkdir()
    made = JobDir.at(root / "made")
    source = Features(arguments.dim, arguments.size)
    program.log("features, import, merge")
    run_module("benchmarks.support.job_steps", "import", made.path, made_jobs.write_features(source, folder / "given"))
    built = run_module("benchmarks.support.job_steps", "merge", made.path, "auto", "0.99")
    vectors: list[Queryable] = list(source.fresh(arguments.requests))
    taken, photos = JobDir.at(root / "photos"), list[altered.Original]()
    if arguments.photos:
        program.log("lookalike index PHOTOS")
        measured([LOOKALIKE, "index", str(Path(arguments.photos).resolve()), str(taken.path)], folder / "index.log")
        photos = altered.draw(taken, max(1, arguments.requests // 4))
    found: dict[str, Any] = {"index": {key: built[key] for key in ("factory", "recall_at_build")}}
    # Answers that are remembered would be measured instead of searches.
    with EmbeddedBroker(root) as broker:
        settings = Settings(broker_url=broker.url, jobs_root=root, query_cache_size=0)
        with LocalWorkers(["query"], settings, broker.directory) as workers:
            with Client("made", broker.url) as client:
                while not client.has_worker(workers.nodes[0]):
                    workers.watch()
            with server(["--jobs-root", str(root), "--broker", broker.url], folder) as (address, pid):
                found["memory_at_start_bytes"] = own_memory(pid)
                found["by_vector"] = _searched(made, vectors, [_by_vector(one) for one in vectors], broker.url, address)
                found["by_image"] = found["thumbnails"] = None
                if photos:
                    images: list[Queryable] = [one.path for one in photos]
                    asked = [_by_image(one.path.read_bytes()) for one in photos]
                    found["by_image"] = _searched(taken, images, asked, broker.url, address)
                    found["thumbnails"] = _thumbnails([one.id for one in photos], address)
                found["memory_at_end_bytes"] = own_memory(pid)
    return found


def _searched(
    job: JobDir, queries: Sequence[Queryable], requests: Sequence[Request], broker: str, address: tuple[str, int]
) -> dict[str, Any]:
    program.log(f"{job.job_id}: the client")
    with Client(job.path, broker) as client:
        single = one_by_one(client, queries)
    found: dict[str, Any] = {"client": single, "http": []}
    ask(address, requests[:20], 4)  # The threads have their clients, and the worker its index.
    for clients in _CLIENTS:
        program.log(f"{job.job_id}: {clients} HTTP clients")
        many = list(requests) * max(1, -(-2 * clients // len(requests)))
        runs = [ask(address, many, clients) for _ in range(_RUNS)]
        found["http"].append({"clients": clients} | _figures(runs))
    return found


def _figures(runs: Sequence[Asked]) -> dict[str, Any]:
    answered = [run for run in runs if run.milliseconds]
    asked = sum(sum(run.statuses.values()) for run in runs)
    return {
        "requests": asked,
        "lost": asked - sum(run.statuses[200] for run in runs),
        "per_second": round(float(np.median([len(run.milliseconds) / run.seconds for run in runs])), 1),
        "total_ms": percentiles_of_runs([run.milliseconds for run in answered]),
        "load": round(os.getloadavg()[0], 2),
    }


def _thumbnails(ids: Sequence[int], address: tuple[str, int]) -> dict[str, Any]:
    """Thumbnails that are made, and the same again out of the cache, asked for by eight clients."""
    program.log("thumbnails")
    requests = [Request.get(f"/v1/jobs/photos/images/{one}/thumbnail?w={_SIDE}") for one in ids]
    return {state: _figures([ask(address, requests, 8)]) for state in ("cold", "cached")}


def _by_vector(vector: Any) -> Request:
    body = {"vector": np.asarray(vector).tolist(), "k": K, "verify": "never"}
    return Request.post("/v1/jobs/made/search", "application/json", json.dumps(body).encode())


def _by_image(data: bytes) -> Request:
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("k", K), ("verify", "never"))
    )
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    body = fields.encode() + head.encode() + data + b"\r\n--b--\r\n"
    return Request.post("/v1/jobs/photos/search", "multipart/form-data; boundary=b", body)
