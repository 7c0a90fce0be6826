from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject

from shared.errors import AnotherJob, JobNotFound, MessageError
from workers.tasks import embed, merge
from workers.tasks.leased import leased, refuse

Told = list[tuple[str, str, str]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    found: Told = []
    monkeypatch.setattr(
        "workers.tasks.leased.report_trouble", lambda client, *told: found.append((*told[:2], str(told[2])))
    )
    return found


def handling(monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    """As in a task that was given these arguments."""
    app = SimpleNamespace(lookalike=SimpleNamespace(client=None))
    request = SimpleNamespace(args=list(arguments), hostname="embed@a")
    monkeypatch.setattr("workers.tasks.leased.current_task", SimpleNamespace(app=app, request=request))


def test_the_coordinator_of_the_job_is_told_of_a_refused_message(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    handling(monkeypatch, {"version": 0, "job": "clothes", "old": 5})
    with pytest.raises(Reject) as rejected:
        refuse(MessageError("Another version."))
    assert not rejected.value.requeue
    assert told == [("clothes", "embed@a", "Another version.")]


def test_the_coordinator_of_no_other_job_of_the_name_is_told(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    for identity, known in (("0" * 16, f"clothes:{'0' * 16}"), ("no identity", "clothes"), (5, "clothes")):
        handling(monkeypatch, {"version": 0, "job": "clothes", "identity": identity})
        with pytest.raises(Reject):
            refuse(MessageError("Another version."))
        assert told.pop() == (known, "embed@a", "Another version.")


@pytest.mark.parametrize("arguments", [(), (None,), ([],), ("text",), ({},), ({"job": "../a"},), ({"job": ["a"]},)])
def test_a_message_that_names_no_job_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch, told: Told, arguments: tuple[Any, ...]
) -> None:
    handling(monkeypatch, *arguments)
    with pytest.raises(Reject):
        refuse(MessageError("Nonsense."))
    assert told == []


class Asked(Exception):
    """Stands for Celery's Retry."""


class FakeTask:
    """A task as Celery hands it over, offered so many times before."""

    def __init__(self, retries: int) -> None:
        settings = SimpleNamespace(lease_seconds=20.0)
        self.app = SimpleNamespace(lookalike=SimpleNamespace(client=None, settings=settings))
        self.request = SimpleNamespace(hostname="embed@a", retries=retries)
        self.countdowns: list[float] = []

    def retry(self, *, countdown: float, **options: Any) -> Exception:
        self.countdowns.append(countdown)
        return Asked()


class FreeLease:
    def __init__(self, *arguments: Any) -> None: ...

    def acquire(self) -> bool:
        return True

    def __enter__(self) -> "FreeLease":
        return self

    def __exit__(self, *raised: object) -> None: ...


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), JobNotFound("There is no job."), KeyError(1)]
)
def test_what_could_not_be_done_is_told_and_offered_again(
    monkeypatch: pytest.MonkeyPatch, told: Told, error: Exception
) -> None:
    monkeypatch.setattr("workers.tasks.leased.Lease", FreeLease)
    task: Any = FakeTask(retries=59)
    with pytest.raises(Asked), leased(task, "clothes", 3, "clothes partition 4/9"):
        raise error
    (countdown,) = task.countdowns
    assert 5 <= countdown <= 15
    assert [(job, owner) for job, owner, _ in told] == [("clothes", "embed@a")]


@pytest.mark.parametrize("error", [JobNotFound("There is no job."), AnotherJob("It is another one.")], ids=repr)
def test_a_message_of_a_job_that_stays_away_is_dropped_in_the_end(
    monkeypatch: pytest.MonkeyPatch, told: Told, error: Exception
) -> None:
    monkeypatch.setattr("workers.tasks.leased.Lease", FreeLease)
    task: Any = FakeTask(retries=60)
    with pytest.raises(Reject) as rejected, leased(task, "clothes", 3, "clothes partition 4/9"):
        raise error
    assert not rejected.value.requeue
    assert task.countdowns == []


def test_a_full_disk_is_waited_for_however_long(monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    monkeypatch.setattr("workers.tasks.leased.Lease", FreeLease)
    task: Any = FakeTask(retries=100_000)
    with pytest.raises(Asked), leased(task, "clothes", 3, "clothes partition 4/9"):
        raise OSError(28, "No space left on device")
    (countdown,) = task.countdowns
    assert 5 <= countdown <= 15


def test_offers_come_at_no_steady_pace_so_that_no_worker_takes_them_first_each_time(
    monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.setattr("workers.tasks.leased.Lease", FreeLease)
    task: Any = FakeTask(retries=0)
    for _ in range(100):
        with pytest.raises(Asked), leased(task, "clothes", 3, "clothes partition 4/9"):
            raise AnotherJob("It is another one.")
    # Queues are looked into once a second: the offers fall on all parts of it.
    assert {int(countdown % 1 * 4) for countdown in task.countdowns} == {0, 1, 2, 3}


@pytest.mark.parametrize("task", [embed.embed_partition, merge.merge_job])
def test_no_number_of_offers_ends_a_task(task: Any) -> None:
    assert task.max_retries is None
