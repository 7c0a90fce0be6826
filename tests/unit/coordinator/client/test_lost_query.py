"""A query is lost when as many workers as are connected answer, and none has it; in doubt it is not."""

import base64
import json
from contextlib import nullcontext
from typing import Any

import pytest
import redis

from coordinator.client import lost_query

TASK = "5c1f"


def envelope(task: str) -> dict[str, Any]:
    return {"body": base64.b64encode(b"[]").decode(), "headers": {"id": task}}


class Broker:
    """What Redis says of its clients and queues, and Celery's workers when they are asked for a task."""

    def __init__(self, *workers: dict[str, Any] | None) -> None:
        """Each of `workers` is what it has of the task, None one that is too busy to answer."""
        self.replies = {f"query{number}@a": has for number, has in enumerate(workers) if has is not None}
        own = {"id": "3", "db": "0", "psub": "0", "sub": "0"}
        waiting = {"id": "4", "db": "0", "psub": "0", "sub": "1"}
        elsewhere = {"id": "5", "db": "1", "psub": "1", "sub": "0"}
        self.clients = [own, waiting, elsewhere]
        self.clients += [{"id": f"{7 + number}", "db": "0", "psub": "1", "sub": "0"} for number in range(len(workers))]
        self.queued: list[str] = []
        self.held: list[str] = []
        self.refusal: Exception | None = None
        self.control = self

    def lrange(self, queue: str, first: int, last: int) -> list[str]:
        return [json.dumps(envelope(task)) for task in self.queued]

    def hvals(self, key: str) -> list[str]:
        return ["no JSON", *(json.dumps([envelope(task), "", "query"]) for task in self.held)]

    def client_id(self) -> int:
        return 3

    def client_list(self) -> list[dict[str, str]]:
        if self.refusal is not None:
            raise self.refusal
        return self.clients

    def inspect(self, timeout: float, limit: int | None = None) -> "Broker":
        return self

    def query_task(self, task: str) -> dict[str, Any] | None:
        assert task == TASK
        return self.replies or None


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_query, "connect", nullcontext)


def lost(broker: Any) -> bool:
    return lost_query.is_lost(broker, broker, TASK)


BUSY = None
HAS_IT = {TASK: ["active", {}]}


@pytest.mark.parametrize(
    ("workers", "is_so"),
    [
        ([], True),  # There was one.
        ([{}], True),
        ([{}, {}, {}], True),
        ([BUSY], False),
        ([{}, BUSY], False),
        ([HAS_IT], False),
        ([{}, HAS_IT], False),
        ([BUSY, HAS_IT], False),
    ],
)
def test_a_query_is_lost_when_all_connected_workers_answer_and_none_has_it(workers: list[Any], is_so: bool) -> None:
    assert lost(Broker(*workers)) is is_so


def test_a_message_that_waits_or_will_come_back_is_not_lost() -> None:
    for place in ("queued", "held"):
        broker = Broker({})
        setattr(broker, place, ["another", TASK])
        assert not lost(broker)
        setattr(broker, place, ["another"])
        assert lost(broker)


def test_a_broker_that_does_not_tell_who_is_connected_leaves_it_open() -> None:
    broker = Broker({})
    for refusal in (
        redis.exceptions.NoPermissionError("User a has no permissions to run the 'client|list' command"),
        redis.exceptions.ResponseError("unknown command 'CLIENT'"),
    ):
        broker.refusal = refusal
        assert not lost(broker)
    broker.refusal = None
    for missing in ("psub", "db"):
        kept = broker.clients
        broker.clients = [{key: value for key, value in one.items() if key != missing} for one in kept]
        assert not lost(broker)
        broker.clients = kept
    assert lost(broker)
    broker.clients = broker.clients[1:]  # A proxy that does not show ourselves may hide workers as well.
    assert not lost(broker)


def test_a_worker_that_answers_and_was_not_counted_leaves_it_open() -> None:
    broker = Broker({}, {})
    broker.clients.pop()
    assert not lost(broker)
