from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.jobs.index_request import Typed
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import Doing, Event, Finished, Said, Step
from coordinator.jobs.runs.import_run import Asked, import_
from shared.errors import JobMismatch
from shared.job.directory import JobDir
from shared.job.index.request import read_index_request
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.builds import build


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """An import of 25 vectors, of which one is zero, in partitions of ten; its merge worker is this process."""
    vectors = np.random.default_rng(1).normal(size=(25, 16)).astype(np.float32)
    vectors[7] = 0
    np.save(tmp_path / "vectors.npy", vectors)

    def run_job(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        yield Step(Look(ProgressReader(job).read()), [])
        build(job)
        yield Step(Look(ProgressReader(job).read()), [])

    def workers_for_index(stack: Any, job: Any, settings: Settings, roles: list[str]) -> Any:
        assert roles == ["merge"], "nothing is to be embedded"
        return settings, None

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(loop, "workers_for_index", workers_for_index)
    job = JobDir.at(tmp_path / "job")
    return Asked(str(tmp_path / "vectors.npy"), job, Settings(partition_size=10))


def test_an_import_tells_what_it_does_in_order_and_prints_nothing(
    asked: Asked, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    progress = import_(asked, told.append)
    assert told[:2] == [Said("25 vectors of 16 dimensions"), Doing("Importing vectors …")]
    assert [event.what for event in told[2:] if isinstance(event, Doing)] == [
        f"{doing} vectors … {count} of 25" for doing in ("Listing", "Importing") for count in (10, 20, 25)
    ]
    said, *after = told[8:]
    assert said == Said(
        f"24 of 25 vectors imported, 1 failed for want of a direction (listed in {asked.job.path}/errors/); "
        f"model {progress.model}"
    )
    assert [type(event) for event in after] == [Step, Step, Finished]
    assert after[-1] == Finished(progress)
    assert progress.index_is_current
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(loop, "workers_for_index", lambda *_: pytest.fail("Workers were started."))
    told.clear()
    assert import_(asked, told.append) == progress
    assert told[-2:] == [said, Finished(progress)]


def test_what_was_asked_of_the_index_of_an_import_that_ends_early_is_not_forgotten(asked: Asked) -> None:
    def stop(event: Event) -> None:
        if event == Doing("Importing vectors … 20 of 25"):
            raise KeyboardInterrupt

    asked = replace(asked, wanted=Typed(recall=0.5))
    with pytest.raises(KeyboardInterrupt):
        import_(asked, stop)
    request = read_index_request(asked.job)
    assert request is not None
    assert request.recall == 0.5
    assert asked.job.sealed_numbers() == [0, 1]
    assert import_(asked, lambda event: None).embedded == 24


def test_an_import_of_another_model_tells_no_more_than_what_was_found(asked: Asked) -> None:
    import_(asked, lambda event: None)
    told: list[Event] = []
    with pytest.raises(JobMismatch, match="of the model 'imported', not of 'other'"):
        import_(replace(asked, model_name="other"), told.append)
    assert told == [Said("25 vectors of 16 dimensions"), Doing("Importing vectors …")]
