import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import STOPPING, Doing, Event, Finished, Said, Step
from coordinator.jobs.runs.index_run import Asked, index
from shared.errors import JobMismatch, SourceError
from shared.job.changes.lock import changing
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings
from tests.support.progress import DONE


def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *acts: Any) -> tuple[Asked, list[Event]]:
    """What is asked of a run over three images, and the list that takes what it tells; each step does one of `acts`."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    for name in "abc":
        (tmp_path / "photos" / f"{name}.jpg").touch()

    def steps(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        for act in acts:
            act()
            yield Step(Look(DONE), [])

    monkeypatch.setattr(loop, "run_job", steps)
    monkeypatch.setattr(loop, "workers_for_index", lambda stack, job, settings, roles: (settings, None))
    return Asked(str(tmp_path / "photos"), JobDir.at(tmp_path / "job"), Settings()), []


def test_a_run_tells_what_it_does_in_order_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None, lambda: None)
    assert index(asked, told.append) == DONE
    assert [type(event) for event in told] == [Doing, Doing, Said, Step, Step, Finished]
    assert told[:2] == [Doing("Listing images …"), Doing("Listing images … 3 so far")]
    assert told[-1] == Finished(DONE)
    assert capfd.readouterr() == ("", "")
    (tmp_path / "photos" / "new.jpg").touch()
    told.clear()
    index(asked, told.append)
    assert [type(event) for event in told] == [Doing, Said, *[Step] * 2, *[Doing] * 2, Said, *[Step] * 2, Finished]
    assert told[4:7] == [
        Doing("Comparing the source with what was listed …"),
        Doing("Comparing the source with what was listed … 3 so far"),
        Said("1 new"),
    ]
    assert open_job(asked.job).listed == 4


def test_a_frozen_job_takes_up_nothing_and_says_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(replace(asked, frozen=True), told.append)
    (tmp_path / "photos" / "new.jpg").touch()
    index(asked, told.append)
    assert isinstance(told[-1], Said)
    assert told[-1].sentence.startswith("This job holds what was listed when it was made.")
    assert asked.job.change_numbers() == []
    other = replace(asked, job=JobDir(tmp_path / "other"))
    index(other, told.append)
    with pytest.raises(JobMismatch, match="leave the option frozen out"):
        index(replace(other, frozen=True), told.append)


def test_what_can_not_be_compared_is_an_error_behind_what_the_job_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    for path in (tmp_path / "photos").iterdir():
        path.unlink()
    told.clear()
    with pytest.raises(SourceError, match="3 of the 3 images"):
        index(asked, told.append)
    assert told[-1] == Finished(DONE)
    told.clear()
    index(replace(asked, yes=True), told.append)
    assert Said("3 gone") in told


def test_a_job_that_another_process_changes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    index(asked, told.append)
    (tmp_path / "photos" / "new.jpg").touch()
    with ExitStack() as held:
        held.enter_context(changing(asked.job))
        monkeypatch.setattr(time, "sleep", lambda seconds: held.close())
        index(asked, told.append)
    assert Doing(f"Waiting until another process has changed {asked.job.path} …") in told
    assert Said("1 new") in told


def test_a_run_that_is_interrupted_says_that_it_stops_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    asked, told = whole(tmp_path, monkeypatch, lambda: None, interrupt)
    with pytest.raises(KeyboardInterrupt):
        index(asked, told.append)
    assert told[-1] == Said(STOPPING)
    asked, told = whole(tmp_path, monkeypatch, lambda: None)
    assert index(asked, told.append) == DONE


def test_what_is_raised_where_it_is_told_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def tell(event: Event) -> None:
        if isinstance(event, Step):
            raise Enough

    asked, _ = whole(tmp_path, monkeypatch, lambda: None, lambda: pytest.fail("It went on."))
    with pytest.raises(Enough):
        index(asked, tell)
