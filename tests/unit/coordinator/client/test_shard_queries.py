"""A client whose query workers hold some shards each: it asks all groups, and joins what they find."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import redis
from celery.exceptions import TimeoutError as CeleryTimeout

from coordinator.client import sent_queries, shard_queries
from coordinator.client.client import Client
from shared.errors import JobError, NoWorker, ReplyTimeout
from shared.messages.search import Answer, AnsweredBy, Hit, Searched, SearchJob, reply_to_json
from shared.messages.shards import Held, SearchedShards
from shared.messages.tasks import QUERY_QUEUE

URL = "redis://host/0"
SIZES = (10, 10, 10, 10)


class FakeResult:
    def __init__(self, queue: str, get: Callable[[], Any]) -> None:
        self.id, self._get = queue, get
        self.forgotten = False

    def get(self, timeout: float) -> Any:
        return self._get()

    def ready(self) -> bool:
        return False

    def forget(self) -> None:
        self.forgotten = True


class FakeApp:
    """Celery as a client sees it: a worker for each queue that `works`, which finds one hit a shard of its own."""

    def __init__(self) -> None:
        self.announced: Sequence[str] = ()
        self.works: set[str] = set()
        self.slow: set[str] = set()
        self.builds: dict[str, list[str]] = {}
        self.sent: list[str] = []
        self.results: list[FakeResult] = []
        self.connections: list[str] = []
        self.control = self

    def send_task(self, name: str, args: list[Any], queue: str = QUERY_QUEUE, **options: Any) -> FakeResult:
        message = SearchJob.from_json(args[0])
        self.sent.append(queue)
        self.results.append(FakeResult(queue, lambda: self._reply(queue, message)))
        return self.results[-1]

    def _reply(self, queue: str, message: SearchJob) -> Any:
        if queue not in self.works or queue in self.slow:
            raise CeleryTimeout
        if queue == QUERY_QUEUE:
            return reply_to_json([Answer((Hit(1, 99, "99.jpg", 0.5),), 1.0)] * len(message.queries))
        builds = self.builds.get(queue, ["0001-a"])
        shards = tuple(Held.of_queue(queue).among(len(SIZES)))
        searched = Searched(40, 40, SearchedShards(builds.pop(0) if len(builds) > 1 else builds[0], shards, SIZES))
        hits = tuple(Hit(rank, shard, f"{shard}.jpg", 0.9 - shard / 10) for rank, shard in enumerate(shards, start=1))
        answer = Answer(hits, 1.0, searched=searched)
        return reply_to_json([answer] * len(message.queries), AnsweredBy(queue, "/job"))

    def connect(self, settings: Any) -> Any:
        self.connections.append("open")
        return SimpleNamespace(close=lambda: self.connections.append("closed"))

    def inspect(self, timeout: float) -> "FakeApp":
        return self

    def active_queues(self) -> dict[str, Any]:
        return {f"worker@{queue}": [{"name": queue}] for queue in self.works}

    def close(self) -> None:
        pass


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeApp:
    fake = FakeApp()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("coordinator.client.client.make_app", lambda settings: fake)
    monkeypatch.setattr("coordinator.client.client.require_broker", lambda settings: None)
    monkeypatch.setattr(sent_queries, "connect", lambda settings: nullcontext())
    monkeypatch.setattr(shard_queries, "connect", fake.connect)
    monkeypatch.setattr(sent_queries, "queued_tasks", lambda redis, queue: [queue])
    monkeypatch.setattr(sent_queries, "is_lost", lambda app, settings, task, queue: False)
    monkeypatch.setattr(shard_queries, "announced", lambda redis: fake.announced)
    return fake


def held(app: FakeApp, *groups: str, works: Sequence[str] | None = None) -> Client:
    app.announced = [Held.parsed(group).queue for group in groups]
    app.works = {Held.parsed(group).queue for group in (groups if works is None else works)}
    return Client("job", URL)


VECTOR = np.ones(3, np.float32)


def test_a_query_goes_to_each_group_of_holders_and_the_hits_are_joined(app: FakeApp) -> None:
    client = held(app, "0-1", "2-")
    (reply,) = client.enqueue([VECTOR], k=3)
    assert app.sent == ["query.shards-0-1", "query.shards-2-"]
    assert [(hit.rank, hit.id) for hit in reply.result()] == [(1, 0), (2, 1), (3, 2)]
    assert reply.searched == Searched(40, 40, SearchedShards("0001-a", (0, 1, 2, 3), SIZES))
    assert [result.forgotten for result in app.results] == [True, True]


def test_a_worker_that_holds_all_shards_answers_alone(app: FakeApp) -> None:
    client = held(app, "0-1")
    app.announced = [*app.announced, QUERY_QUEUE]
    app.works |= {QUERY_QUEUE}
    (reply,) = client.enqueue([VECTOR])
    assert app.sent == [QUERY_QUEUE]
    assert [hit.id for hit in reply.result()] == [99]
    assert reply.searched is None


def test_where_nobody_says_what_it_holds_queries_go_where_they_always_went(app: FakeApp) -> None:
    app.works = {QUERY_QUEUE}
    assert [hit.id for hit in Client("job", URL).search(VECTOR)] == [99]


def test_a_broker_that_does_not_say_who_holds_what_is_asked_as_ever(
    app: FakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(client: Any) -> Any:
        raise redis.exceptions.ConnectionError("away")

    monkeypatch.setattr(shard_queries, "announced", fails)
    app.works = {QUERY_QUEUE}
    assert [hit.id for hit in Client("job", URL).search(VECTOR)] == [99]


def test_shards_that_nobody_holds_are_named_and_passed_over_only_where_that_is_allowed(app: FakeApp) -> None:
    client = held(app, "0-1", "3")
    with pytest.raises(NoWorker, match="holds the shards 2 of the 4"):
        client.search(VECTOR)
    (reply,) = client.enqueue([VECTOR], partial=True)
    assert [hit.id for hit in reply.result()] == [0, 1, 3]
    assert reply.searched == Searched(30, 40, SearchedShards("0001-a", (0, 1, 3), SIZES))


def test_a_group_whose_last_worker_has_ended_is_noticed_by_its_queue(app: FakeApp) -> None:
    client = held(app, "0-1", "2-3", works=["0-1"])
    with pytest.raises(NoWorker, match="holds the shards 2-3 of the 4"):
        client.search(VECTOR)
    (reply,) = client.enqueue([VECTOR], partial=True)
    assert [hit.id for hit in reply.result()] == [0, 1]


def test_a_group_that_is_too_slow_is_a_timeout_and_may_be_asked_again(app: FakeApp) -> None:
    client = held(app, "0-1", "2-3")
    app.slow = {"query.shards-2-3"}
    (reply,) = client.enqueue([VECTOR])
    with pytest.raises(ReplyTimeout):
        reply.result(timeout=0.05)
    app.slow = set()
    assert len(reply.result()) == 4
    assert len(app.sent) == 2


def test_answers_of_different_builds_are_asked_for_again_until_they_are_of_one(app: FakeApp) -> None:
    client = held(app, "0-1", "2-3")
    app.builds = {"query.shards-0-1": ["0001-a", "0002-b"], "query.shards-2-3": ["0002-b"]}
    (reply,) = client.enqueue([VECTOR])
    assert len(reply.result()) == 4
    assert len(app.sent) == 4
    app.builds = {"query.shards-0-1": ["0001-a"]}
    app.builds["query.shards-2-3"] = ["0002-b"]
    with pytest.raises(JobError, match="search different builds"):
        client.search(VECTOR)


def test_a_client_that_is_closed_gives_up_what_is_out_at_all_groups(app: FakeApp) -> None:
    with held(app, "0-1", "2-3") as client:
        (reply,) = client.enqueue([VECTOR])
        client.enqueue([VECTOR])
        assert app.connections == ["open"], "each connects once"
    assert app.connections == ["open", "closed"]
    assert [result.forgotten for result in app.results] == [True] * 4
    with pytest.raises(ReplyTimeout, match="given up"):
        reply.result(timeout=0.1)
