"""A worker announces the queue of queries that it takes, through troubles of the broker, until it stops."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from shared.settings import Settings
from workers.tasks import holding
from workers.tasks.holding import announce_while_running


def test_a_query_worker_announces_its_queue_again_and_again_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, float]] = []
    enough = threading.Event()
    failures = [redis.exceptions.ConnectionError("away")]

    def announce(client: object, queue: str, seconds: float) -> None:
        if failures:
            raise failures.pop()
        said.append((queue, seconds))
        if len(said) == 3:
            enough.set()

    class Stopping:
        """Waits for nothing, and ends once enough was said."""

        def wait(self, seconds: float) -> bool:
            assert seconds == 5
            return enough.is_set()

    monkeypatch.setattr(holding, "announce", announce)
    runtime: Any = SimpleNamespace(client=None, settings=Settings(lease_seconds=20), stopping=Stopping())
    announce_while_running(runtime, ["merge", "query.shards-0-3"])
    assert enough.wait(30)
    assert set(said) == {("query.shards-0-3", 20)}


def test_a_worker_that_takes_no_queries_announces_nothing() -> None:
    before = set(threading.enumerate())
    runtime: Any = None
    announce_while_running(runtime, ["embed", "merge"])
    assert set(threading.enumerate()) <= before
