from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.retry import failed_images, take_back
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import STOPPING, Event, Finished, Said, Step
from coordinator.jobs.runs.retry_run import Asked, retry
from shared.errors import JobError
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.broken_photos import COUNTS, broken_photos, embedded, made, mend
from tests.support.builds import build

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return broken_photos(tmp_path)


@pytest.fixture
def job(tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> OpenJob:
    """The job with an index; its workers are this process."""
    job = made(tmp_path / "job", photos)
    embedded(job)
    build(job)

    def run_job(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        yield Step(Look(ProgressReader(job).read()), [])
        embedded(job)
        build(job, f"{len(list(job.index_dir.glob('0*'))) + 1:04d}-ab12cd34")
        yield Step(Look(ProgressReader(job).read()), [])

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(loop, "workers_for_index", lambda stack, job, settings, roles: (settings, None))
    return job


def retried(job: OpenJob, *statuses: str) -> list[Event]:
    """What a retry tells; its end has to be what it returns."""
    told: list[Event] = []
    progress = retry(Asked(job, Settings(), statuses), told.append)
    assert progress == ProgressReader(job).read()
    assert all(event == Finished(progress) for event in told if isinstance(event, Finished))
    return told


def test_a_retry_tells_what_it_does_in_order_and_prints_nothing(
    job: OpenJob, photos: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    mend(photos, 3, 21, 33)
    told = retried(job)
    assert [type(event) for event in told] == [Said, Step, Step, Said, Finished]
    assert told[0] == Said("5 failed images are tried again: 2 truncated, 1 empty, 1 not-an-image, 1 vanished")
    assert told[3] == Said("3 of them are embedded now; 2 still fail: 1 not-an-image, 1 vanished")
    assert [event.look.progress.pending for event in told if isinstance(event, Step)] == [5, 0]
    assert capfd.readouterr() == ("", "")


def test_where_no_image_failed_that_is_said_and_nobody_works(
    job: OpenJob, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mend(photos)
    retried(job)
    monkeypatch.setattr(loop, "workers_for_index", lambda *_: pytest.fail("Workers were started."))
    assert retried(job) == [Said(f"No image of {job.path} failed: there is nothing to try again.")]
    assert retried(job, "truncated") == retried(job)


def test_a_status_that_no_image_has_ends_a_retry_before_anything_is_told(job: OpenJob) -> None:
    told: list[Event] = []
    with pytest.raises(JobError, match="failed as broken"):
        retry(Asked(job, Settings(), ["broken"]), told.append)
    assert told == []
    assert failed_images(job) == COUNTS


def test_a_retry_that_is_interrupted_says_that_it_stops_and_the_same_call_goes_on(
    job: OpenJob, photos: list[Path]
) -> None:
    mend(photos)
    told: list[Event] = []

    def interrupt(event: Event) -> None:
        told.append(event)
        if isinstance(event, Step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retry(Asked(job, Settings(), ["truncated"]), interrupt)
    assert told[-1] == Said(STOPPING)
    again = retried(job, "truncated")
    assert again[0] == Said(f"No other image of {job.path} failed as truncated; the job is not done, and goes on.")
    assert failed_images(job) == COUNTS - Counter(truncated=2)


def test_what_became_of_a_job_that_was_not_whole_is_not_said(job: OpenJob, photos: list[Path]) -> None:
    """Which of its images failed before, and which fail now for the first time, no one knows."""
    mend(photos)
    take_back(job, ["empty"])
    told = retried(job)
    assert told[0] == Said("4 failed images are tried again: 2 truncated, 1 not-an-image, 1 vanished")
    assert [type(event) for event in told] == [Said, Step, Step, Finished]
