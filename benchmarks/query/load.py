"""Send queries through a client in several ways, and time them."""

import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.support.processes import REPOSITORY
from benchmarks.support.timing import percentiles_of_runs
from coordinator.client.client import Client
from coordinator.client.pending_reply import PendingReply
from coordinator.client.queries import Queryable
from shared.broker.connection import connect, make_app
from shared.settings import Settings, without_settings

RUNS = 3
EMPTY_TASK, EMPTY_QUEUE = "benchmarks.empty", "empty"
K = 10
BATCH = 64
_WARM_UP = 20
_LEAST_TASKS = 8
_WAIT_SECONDS = 120.0


def one_by_one(client: Client, queries: Sequence[Queryable]) -> dict[str, Any]:
    """Milliseconds from `client.search` to the hits, one query at a time, and where they went.

    `send` is making and sending the message, `worker` what the worker says that it took, `way` all that is left: the
    broker, Celery on both sides, the answer's way back.
    """
    _warm_up(client, queries)
    runs: list[list[tuple[float, float, float]]] = []
    for _ in range(RUNS):
        run = []
        for query in queries:
            started = time.perf_counter()
            reply = client.enqueue([query], K)[0]
            sent = time.perf_counter()
            answer = reply.answer(_WAIT_SECONDS)
            ended = time.perf_counter()
            run.append(((ended - started) * 1_000, (sent - started) * 1_000, answer.milliseconds))
        runs.append(run)
    parts = {
        "total_ms": [[total for total, _, _ in run] for run in runs],
        "send_ms": [[send for _, send, _ in run] for run in runs],
        "worker_ms": [[worker for _, _, worker in run] for run in runs],
        "way_ms": [[total - send - worker for total, send, worker in run] for run in runs],
    }
    return {"queries": len(queries)} | {name: percentiles_of_runs(part) for name, part in parts.items()}


def in_flight(client: Client, queries: Sequence[Queryable], window: int, group: int = 1) -> dict[str, Any]:
    """Queries a second and milliseconds of each task, with `window` tasks of `group` queries under way at once."""
    _warm_up(client, queries)
    many = [*queries] * max(1, -(-_LEAST_TASKS * group // len(queries)))
    groups = [many[first : first + group] for first in range(0, len(many), group)]
    rates, runs = [], []
    for _ in range(RUNS):
        times: list[float] = []
        waiting: deque[tuple[float, Sequence[PendingReply]]] = deque()
        started = time.perf_counter()
        for some in groups:
            if len(waiting) == window:
                times.append(_ended(waiting))
            waiting.append((time.perf_counter(), client.enqueue(some, K)))
        while waiting:
            times.append(_ended(waiting))
        rates.append(len(many) / (time.perf_counter() - started))
        runs.append(times)
    rate = round(statistics.median(rates), 1)
    return {"window": window, "group": group, "queries_per_second": rate, "task_ms": percentiles_of_runs(runs)}


def _ended(waiting: "deque[tuple[float, Sequence[PendingReply]]]") -> float:
    started, replies = waiting.popleft()
    for reply in replies:
        reply.answer(_WAIT_SECONDS)
    return (time.perf_counter() - started) * 1_000


def _warm_up(client: Client, queries: Sequence[Queryable]) -> None:
    for query in queries[:_WARM_UP]:
        client.search(query, K, timeout=_WAIT_SECONDS)


def ping(settings: Settings, count: int = 500) -> dict[str, Any]:
    """Milliseconds of a PING to the broker and back: what no message can be faster than."""
    with connect(settings) as redis:
        return _rounds(redis.ping, count)


def empty_task(settings: Settings, count: int = 200) -> dict[str, Any]:
    """Milliseconds of a Celery task that gives its argument back, in a worker of its own with our settings."""
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.query.empty_worker", "worker", "-P", "threads"]
    command += ["-c", "1", "-Q", EMPTY_QUEUE, "--without-gossip", "--without-mingle", "-l", "WARNING"]
    command += ["-n", "empty@benchmark"]
    environment = without_settings(os.environ) | settings.to_environment()
    worker = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    app = make_app(settings)
    try:
        return _rounds(lambda: app.send_task(EMPTY_TASK, args=[1], queue=EMPTY_QUEUE).get(timeout=_WAIT_SECONDS), count)
    finally:
        app.close()
        worker.terminate()
        worker.wait()


def _rounds(once: Callable[[], object], count: int) -> dict[str, Any]:
    runs = []
    once()  # A worker that is still starting answers late.
    for _ in range(RUNS):
        times = []
        for _ in range(count):
            started = time.perf_counter()
            once()
            times.append((time.perf_counter() - started) * 1_000)
        runs.append(times)
    return percentiles_of_runs(runs)
