"""Work that is asked for: each part once, again when it is lost, and an end when no waiting helps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from coordinator.jobs.reconcile import GRACE_SECONDS, Unaccounted
from coordinator.jobs.runs.duplicates import asking
from coordinator.jobs.runs.duplicates.asking import Part, Work, until_done
from coordinator.jobs.runs.events import Doing, Event, Said
from shared.broker import lease
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import BrokerRefuses, WorkerFailed
from shared.messages.duplicates import FindNeighbours
from shared.messages.tasks import MERGE_QUEUE
from shared.settings import Settings
from tests.support.make_job import MadeJob, make_job


class Broker:
    """A broker and its workers, which do what the test says at each pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, made: MadeJob, parts: int) -> None:
        self.job = made.job
        self.queued: list[dict[str, Any]] = []
        self.holders: list[Holder] = []
        self.troubles: list[Trouble] = []
        self.sent: list[int] = []
        self.away: Exception | None = None
        self.finished: set[str] = set()
        self.now = 0.0
        self.told: list[Event] = []
        self.others = False
        wanted = [
            Part(FindNeighbours(made.job.job_id, number, made.job.manifest.identity), f"n-{number}", f"part {number}")
            for number in range(parts)
        ]
        self.work = Work("Looking", "partitions", MERGE_QUEUE, wanted, lambda: self.finished)

        @contextmanager
        def connect(settings: Settings) -> Iterator[None]:
            yield None

        monkeypatch.setattr(asking, "connect", connect)
        monkeypatch.setattr(asking, "make_app", lambda settings: None)
        monkeypatch.setattr(asking, "clear_troubles", lambda client, name: None)
        monkeypatch.setattr(asking, "queued_messages", lambda client, queue: self.queued)
        monkeypatch.setattr(asking, "reported_troubles", lambda client, name: self.troubles)
        monkeypatch.setattr(asking, "others_consume", lambda app, queue, troubled: self.others)
        monkeypatch.setattr(lease, "holders", self._held)
        monkeypatch.setattr(asking, "send_duplicates", self._send)
        monkeypatch.setattr(asking, "Unaccounted", lambda: Unaccounted(lambda: self.now))

    def _held(self, client: None, name: str) -> list[Holder]:
        if self.away is not None:
            raise self.away
        return self.holders

    def _send(self, app: None, message: FindNeighbours, shown: str) -> None:
        self.sent.append(message.partition)
        self.queued.append(message.to_json())

    def take(self, number: int) -> None:
        self.queued = [one for one in self.queued if one["neighbours_of"] != number]
        self.holders.append(Holder("merge1@here", f"n-{number}"))

    def finish(self, number: int) -> None:
        self.take(number)
        self.holders = [one for one in self.holders if one.what != f"n-{number}"]
        self.finished = self.finished | {f"n-{number}"}

    def run(self, *steps: Any) -> None:
        left = list(steps)

        def pause(seconds: float) -> None:
            if left:
                left.pop(0)()
            else:
                self.finished = {part.lease for part in self.work.parts}

        until_done(self.job, Settings(), self.work, None, self.told.append, pause)


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", listed=5)


def test_each_part_is_sent_once_and_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, made: MadeJob) -> None:
    broker = Broker(monkeypatch, made, 100)
    done = iter(range(100))

    def one_is_done() -> None:
        broker.finish(next(done))

    broker.run(*[one_is_done] * 100)
    assert sorted(broker.sent) == list(range(100))
    assert broker.sent[:64] == sorted(range(64), key=str)
    assert [event.what for event in broker.told if isinstance(event, Doing)][-1] == "Looking … 100 of 100 partitions"


def test_a_part_that_nobody_holds_or_lists_is_sent_again_after_a_grace(
    monkeypatch: pytest.MonkeyPatch, made: MadeJob
) -> None:
    broker = Broker(monkeypatch, made, 2)

    def taken_and_lost() -> None:
        broker.take(0)
        broker.holders = []

    def later() -> None:
        broker.now += GRACE_SECONDS + 1

    broker.run(taken_and_lost, lambda: None, later, later)
    assert broker.sent == [0, 1, 0]


def test_what_is_done_is_not_asked_for(monkeypatch: pytest.MonkeyPatch, made: MadeJob) -> None:
    broker = Broker(monkeypatch, made, 3)
    broker.finished = {"n-0", "n-2"}
    broker.run()
    assert broker.sent == [1]
    broker.sent.clear()
    broker.run()
    assert broker.sent == []


def test_a_broker_that_is_away_is_waited_for_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch, made: MadeJob
) -> None:
    broker = Broker(monkeypatch, made, 1)
    broker.away = redis.exceptions.ConnectionError("Connection refused.")

    def back() -> None:
        broker.away = None

    broker.run(lambda: None, back)
    said = [event.what for event in broker.told if isinstance(event, Doing)]
    assert "the broker does not answer" in said[0]
    assert broker.sent == [0]
    broker.finished = set()
    broker.away = redis.exceptions.NoPermissionError("no permissions to run the 'get' command")
    with pytest.raises(BrokerRefuses, match="run the same command again"):
        broker.run()


def test_trouble_is_told_once_and_ends_the_run_when_nobody_else_works(
    monkeypatch: pytest.MonkeyPatch, made: MadeJob
) -> None:
    broker = Broker(monkeypatch, made, 1)
    sentence = "The photos are out of reach."

    def complained(times: int) -> Any:
        def complain() -> None:
            broker.troubles = [Trouble("embed1@here", sentence, times, sentence)]

        return complain

    broker.others = True
    broker.run(*(complained(times) for times in range(1, 6)))
    assert [event.sentence for event in broker.told if isinstance(event, Said)] == [f"embed1@here: {sentence}"]
    broker = Broker(monkeypatch, made, 1)
    with pytest.raises(WorkerFailed, match="out of reach"):
        broker.run(*(complained(times) for times in range(1, 9)))
