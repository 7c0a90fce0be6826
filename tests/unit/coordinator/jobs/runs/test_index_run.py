from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import STOPPING, Doing, Event, Finished, Said, Step
from coordinator.jobs.runs.index_run import Asked, index
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
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
    assert isinstance(told[-1], Said)
    assert told[-1].sentence.startswith("This job holds what was listed when it was made.")


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
