import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from coordinator.jobs import activity
from coordinator.jobs.activity import Activity
from coordinator.local import broker
from coordinator.local.broker import EmbeddedBroker
from shared.broker import lease
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import BrokerUnreachable
from shared.job.directory import JobDir
from shared.messages.tasks import EMBED_QUEUE, MERGE_QUEUE
from shared.settings import Settings

GIVEN = Settings(broker_url="redis://user:p%40ss@host:1/0")

IDENTITY = "0" * 16


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobDir:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return JobDir.at(tmp_path / "jobs" / "photos")


class FakeRedis:
    """Answers what a broker at work on two jobs would."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None: ...


def queued(client: FakeRedis, queue: str) -> list[Any]:
    messages: dict[str, list[Any]] = {
        EMBED_QUEUE: [
            {"job": "photos", "partition": 1, "identity": IDENTITY},
            {"job": "photos", "partition": 1, "identity": "f" * 16},
            {"job": "others", "partition": 1, "identity": IDENTITY},
            ["strange"],
        ],
        MERGE_QUEUE: [{"job": "photos", "identity": IDENTITY}, {"job": "photos"}],
    }
    return messages[queue]


def test_holders_messages_and_troubles_of_the_job_are_told(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    holders = [Holder("embed1@host", "2")]
    asked: list[str] = []

    def held(client: FakeRedis, job_id: str) -> list[Holder]:
        asked.append(job_id)
        return holders

    monkeypatch.setattr(activity, "connect", lambda settings: FakeRedis())
    monkeypatch.setattr(activity, "queued_messages", queued)
    monkeypatch.setattr(lease, "holders", held)
    monkeypatch.setattr(activity, "announced", lambda client: ["query", "query.shards-4-"])
    sentence = "No broker at redis://user:p%40ss@host:1/0: p@ss is wrong."
    monkeypatch.setattr(activity, "reported_troubles", lambda client, job_id: [Trouble("embed2@host", sentence, 3)])
    assert activity.look(job, IDENTITY, GIVEN) == Activity(
        holders, 2, [Trouble("embed2@host", "No broker at redis://**@host:1/0: ** is wrong.", 3)], queries=["all", "4-"]
    )
    assert asked == [f"photos:{IDENTITY}"]


@pytest.mark.parametrize(
    "failure",
    [redis.exceptions.ConnectionError("Error 111 to user:p@ss."), OSError("no route: p%40ss"), ValueError("p@ss")],
)
def test_a_broker_that_fails_is_an_answer_without_its_password(
    job: JobDir, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(settings: Settings) -> None:
        raise failure

    monkeypatch.setattr(activity, "connect", fail)
    found = activity.look(job, IDENTITY, GIVEN)
    assert found.error is not None
    assert found.error.startswith("redis://**@host:1/0: ")
    assert "ss" not in found.error.replace("redis://", "").removeprefix("**@host:1/0: ")
    assert found.to_json()["reachable"] is False


def test_a_url_that_is_none_is_an_answer(job: JobDir) -> None:
    found = activity.look(job, IDENTITY, Settings(broker_url="http://user:secret@host"))
    assert found.error is not None
    assert "http://**@host" in found.error
    assert "secret" not in found.error


def test_a_broker_that_hangs_is_not_waited_for(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()
    monkeypatch.setattr(activity, "connect", lambda settings: hung.wait(60))
    monkeypatch.setattr(activity, "ASK_SECONDS", 0.05)
    began = time.monotonic()
    found = activity.look(job, IDENTITY, GIVEN)
    hung.set()
    assert time.monotonic() - began < 10
    assert found.error == "redis://**@host:1/0 gave no answer within 0.05 s"


def test_without_a_broker_an_embedded_one_is_joined_and_none_is_started(job: JobDir, tmp_path: Path) -> None:
    found = activity.look(job, IDENTITY, Settings())
    assert found.error == f"No embedded broker runs here for the jobs in {tmp_path}/jobs"
    assert list(tmp_path.iterdir()) == []


def test_a_socket_directory_that_others_can_enter_is_not_joined(
    job: JobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "SOCKET_BYTES", 1_000)  # However long the path of a test's folder is.
    with pytest.raises(BrokerUnreachable, match="No embedded broker"):
        EmbeddedBroker(job.jobs_root, start=False)
    mine = tmp_path / f"lookalike-{os.getuid()}"
    mine.mkdir()
    mine.chmod(0o777)
    with pytest.raises(BrokerUnreachable, match="nobody else can enter"):
        EmbeddedBroker(job.jobs_root, start=False)
