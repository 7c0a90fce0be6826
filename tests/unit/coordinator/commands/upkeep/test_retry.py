from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.retry import take_back
from coordinator.jobs.runs import loop
from coordinator.jobs.runs.events import Step
from coordinator.local import resources
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.broken_photos import broken_photos, embedded, made, mend, statuses
from tests.support.builds import build
from tests.support.cli import Run

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return broken_photos(tmp_path)


@pytest.fixture
def command(tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> OpenJob:
    """The job with an index; `retry` works in this process, where there is no broker and no other one."""
    job = made(tmp_path / "job", photos)
    embedded(job)
    build(job)

    def run_job(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        embedded(job)
        build(job, f"{len(list(job.index_dir.glob('0*'))) + 1:04d}-ab12cd34")
        yield Step(Look(ProgressReader(job).read()), [])

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(resources, "require_working_broker", lambda settings: None)
    return job


def test_retry_says_what_is_tried_again_and_what_came_of_it(run: Run, command: OpenJob, photos: list[Path]) -> None:
    mend(photos, 3, 21, 33)
    ran = run("retry", command.path, "--broker", "redis://host")
    assert (ran.status, ran.out) == (0, "")
    assert "5 failed images are tried again: 2 truncated, 1 empty, 1 not-an-image, 1 vanished\n" in ran.err
    assert "3 of them are embedded now; 2 still fail: 1 not-an-image, 1 vanished\n" in ran.err
    assert "48 of 50 images embedded, 2 failed" in ran.err
    mend(photos)
    ran = run("retry", command.path, "--status", "vanished", "--broker", "redis://host")
    assert "1 failed image is tried again: 1 vanished\n" in ran.err
    assert "1 of them is embedded now; none of them fails any more\n" in ran.err
    assert statuses(command) == {20: "not-an-image"}


def test_retry_where_no_image_failed_says_so_and_is_status_0(run: Run, command: OpenJob, photos: list[Path]) -> None:
    mend(photos)
    assert run("retry", command.path, "--broker", "redis://host").status == 0
    for arguments in ([], ["--status", "truncated"]):
        ran = run("retry", command.path, *arguments)
        assert (ran.status, ran.out) == (0, "")
        assert ran.err == f"No image of {command.path} failed: there is nothing to try again.\n"


def test_retry_of_an_unknown_status_is_status_1_and_names_those_there_are(run: Run, command: OpenJob) -> None:
    ran = run("retry", command.path, "--status", "broken")
    assert ran.status == 1
    assert "failed as broken; its failed images are 2 truncated, 1 empty, 1 not-an-image, 1 vanished" in ran.err


def test_a_retry_that_was_interrupted_goes_on_when_it_is_typed_again(
    run: Run, command: OpenJob, photos: list[Path]
) -> None:
    mend(photos)
    take_back(command, ["truncated"])
    ran = run("retry", command.path, "--status", "truncated", "--broker", "redis://host")
    assert ran.status == 0
    assert f"No other image of {command.path} failed as truncated; the job is not done, and goes on." in ran.err
    assert "47 of 50 images embedded, 3 failed" in ran.err
