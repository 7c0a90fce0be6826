from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from coordinator.jobs.progress import Progress
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import Step
from coordinator.jobs.runs.loop import run_job
from shared.broker.lease import Holder
from shared.broker.troubles import Trouble
from shared.errors import BrokerRefuses, StoreError, WorkerFailed
from shared.job.local.job_files import DiskFiles
from shared.settings import Settings
from tests.support.make_job import MadeJob, make_job
from tests.support.progress import DONE, NEW, UNDER_WAY

FULL = "The disk is full."


class Script:
    """Stands for Reconciler, Celery app and Redis: each look is the next of `looks`, the last for ever."""

    def __init__(self, looks: Sequence[Look | Exception]) -> None:
        self.looks = [*looks]
        self.cleared = 0
        self.away: Exception | None = None
        self.pauses: list[float] = []
        self.resent = 0
        self.asked: list[tuple[str, set[str]]] = []
        self.others: Iterator[bool] = iter(())

    def others_consume(self, queue: str, troubled: set[str]) -> bool:
        self.asked.append((queue, troubled))
        return next(self.others, False)

    def resend_at_once(self) -> None:
        self.resent += 1

    def look(self) -> Look:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        return look

    def delete(self, *keys: str) -> None:
        if self.away is not None:
            raise self.away
        self.cleared += 1


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", listed=5)


def run(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch, script: Script, workers: Any = None, most: int = 100
) -> Iterator[Step]:
    @contextmanager
    def connect(settings: Settings) -> Iterator[Script]:
        yield script

    def pause(seconds: float) -> None:
        script.pauses.append(seconds)
        assert len(script.pauses) < most, "It goes on for ever."

    monkeypatch.setattr(loop, "connect", connect)
    monkeypatch.setattr(loop, "make_app", lambda settings: None)
    monkeypatch.setattr(loop, "Reconciler", lambda app, client, reader: script)
    return run_job(made.job, Settings(broker_url="redis://x"), workers, pause)


def at(done: int, times: int = 0, owner: str = "embed1@a", holder: str | None = None, sentence: str = FULL) -> Look:
    """A look: so many images done, trouble reported so many times by one worker, and who holds a lease."""
    progress: Progress = replace(NEW, embedded=done)
    troubles = [Trouble(owner, sentence, times)] if times else []
    return Look(progress, [Holder(holder, "0")] if holder else [], troubles)


def test_it_looks_every_second_until_the_index_covers_all(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([Look(NEW), Look(UNDER_WAY), Look(DONE)])
    steps = list(run(made, monkeypatch, script))
    assert [step.look.progress for step in steps] == [NEW, UNDER_WAY, DONE]
    assert len(set(script.pauses)) == 2  # At no steady pace, which other processes could fall in with.
    assert all(0.7 < pause / DiskFiles.look_seconds < 1.3 for pause in script.pauses)


def test_the_complaints_of_an_earlier_run_are_forgotten(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([at(0, times=50), at(0, times=1), Look(DONE)])
    steps = list(run(made, monkeypatch, script))
    assert script.cleared == 1
    assert [step.notices for step in steps] == [[], [f"embed1@a: {FULL}"], []]


def test_a_broker_that_goes_away_at_the_start_is_waited_for(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([replace(at(0), broker_error="refused"), at(0, times=9), at(0, times=9), Look(DONE)])
    script.away = redis.exceptions.ConnectionError("gone")
    steps = run(made, monkeypatch, script)
    assert next(steps).look.broker_error == "refused"
    assert next(steps).look.troubles == []
    assert script.cleared == 0
    script.away = None
    assert next(steps).look.troubles == []
    assert script.cleared == 1
    assert next(steps).look.progress == DONE


def test_a_store_that_goes_away_is_waited_for_and_said_once(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    away = StoreError("The store does not answer.")
    steps = list(run(made, monkeypatch, Script([Look(NEW), away, away, Look(UNDER_WAY), Look(DONE)])))
    assert [step.look.progress for step in steps] == [NEW, NEW, NEW, UNDER_WAY, DONE]
    assert [step.notices for step in steps] == [[], ["The store does not answer. Waiting for it."], [], [], []]


@pytest.mark.parametrize("looks", [[StoreError("It is away.")], [Look(NEW), StoreError("It refuses.", refused=True)]])
def test_a_store_that_is_away_at_the_start_or_refuses_ends_the_run(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch, looks: list[Look | Exception]
) -> None:
    with pytest.raises(StoreError):
        list(run(made, monkeypatch, Script(looks)))


def test_each_complaint_is_told_once(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "No weights."
    looks = [at(0), at(1, 1), at(2, 2), at(3, 2, sentence=other), at(4, 3), Look(DONE)]
    steps = list(run(made, monkeypatch, Script(looks)))
    told = [notice for step in steps for notice in step.notices]
    assert told == [f"embed1@a: {FULL}", f"embed1@a: {other}"]


def test_what_became_of_our_own_workers_is_told(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    class Workers:
        def watch(self) -> list[str]:
            return next(deaths, [])

    deaths = iter([[], ["The embed worker ended with signal SIGKILL; started it anew."]])
    script = Script([Look(NEW), Look(NEW), Look(NEW), Look(DONE)])
    steps = list(run(made, monkeypatch, script, Workers()))
    told = ["The embed worker ended with signal SIGKILL; started it anew."]
    assert [step.notices for step in steps] == [[], told, [], []]
    assert script.resent == 1


def test_after_three_troubles_without_progress_it_gives_up_and_says_why(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = run(made, monkeypatch, Script([at(7), at(7, 1), at(7, 2), at(7, 3)]))
    for _ in range(4):
        next(steps)
    with pytest.raises(WorkerFailed) as failed:
        next(steps)
    assert FULL in str(failed.value)
    assert "/jobs/clothes" in str(failed.value)
    assert "run the same command again" in str(failed.value)


def test_while_another_worker_waits_for_work_the_trouble_of_one_is_no_reason_to_end(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script([at(7), *(at(7, times) for times in range(1, 7)), at(8), Look(DONE)])
    script.others = iter([True])
    steps = run(made, monkeypatch, script)
    for _ in range(6):
        next(steps)
    assert script.asked == [("embed", {"embed1@a"})], "asked when it would have ended, and not before"
    with pytest.raises(WorkerFailed):
        list(steps)  # Three more times, and the other is gone.
    assert len(script.asked) == 2


def test_each_reason_is_named_once(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    troubled = [Trouble("a@x", FULL, 3), Trouble("b@x", FULL, 1), Trouble("c@x", "No weights.", 1)]
    script = Script([at(0), replace(at(0), troubles=troubled)])
    with pytest.raises(WorkerFailed) as failed:
        list(run(made, monkeypatch, script))
    assert str(failed.value).count(FULL) == 1
    assert "No weights." in str(failed.value)


def test_many_workers_that_hiccup_once_or_twice_each_are_no_reason_to_end(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    hiccups = [Trouble(f"embed{number}@a", FULL, 2) for number in range(5)]
    script = Script([at(0), *[replace(at(0), troubles=hiccups)] * 5, Look(DONE)])
    assert len(list(run(made, monkeypatch, script))) == 7


def test_progress_between_the_troubles_is_hope(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [at(0), *(at(done, times=2 * done) for done in range(1, 30)), Look(DONE)]
    assert len(list(run(made, monkeypatch, Script(looks)))) == 31


def test_another_worker_that_holds_a_lease_is_hope(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [at(0), *(at(0, times=times, holder="embed2@b") for times in range(1, 30)), Look(DONE)]
    assert len(list(run(made, monkeypatch, Script(looks)))) == 31


def test_the_troubled_worker_itself_is_no_hope(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [at(0), *(at(0, times=times, holder="embed1@a") for times in range(1, 30)), Look(DONE)]
    with pytest.raises(WorkerFailed):
        list(run(made, monkeypatch, Script(looks)))


def test_when_the_other_worker_has_gone_patience_begins_anew(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [at(0), at(0, 5, holder="embed2@b"), at(0, 6), at(0, 7), at(0, 8)]
    steps = run(made, monkeypatch, Script(looks))
    for _ in range(5):
        next(steps)
    with pytest.raises(WorkerFailed):
        next(steps)


def test_troubles_that_were_forgotten_do_not_count(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [at(0), at(0, 2), at(0), at(0, 2), at(0), at(0, 2), Look(DONE)]
    assert len(list(run(made, monkeypatch, Script(looks)))) == 7


def test_waiting_for_a_worker_is_no_trouble(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(run(made, monkeypatch, Script([at(0)] * 80 + [Look(DONE)])))) == 81


def test_a_permission_that_goes_while_a_job_runs_ends_it(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = run(made, monkeypatch, Script([Look(UNDER_WAY), BrokerRefuses("its user lacks a permission (no 'set')")]))
    next(steps)
    with pytest.raises(BrokerRefuses) as ended:
        next(steps)
    assert "The broker redis://x can't be used: its user lacks a permission (no 'set')." in str(ended.value)
    assert "What is committed is safe" in str(ended.value)
