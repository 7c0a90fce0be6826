"""An export refuses a place that holds something, and says what a person has to know of the bundle."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.export import export as exporting
from coordinator.export.export import Exported, export
from coordinator.jobs.runs.events import Doing, Event, Said
from shared.errors import JobBusy, JobError, JobNotFound, UsageError
from shared.job.changes.lock import creation_lock
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from tests.support.bundles import bundle_of
from tests.support.damage import snapshot
from tests.support.source_jobs import job_of_a_list

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    return job_of_a_list(tmp_path, index=True)


def exported(job: OpenJob, place: Path | str, thumbnails: int = 0, told: list[Event] | None = None) -> Exported:
    return export(job, JobDir.at(place), thumbnails, (told if told is not None else []).append)


def test_a_process_of_its_own_makes_the_bundle(job: OpenJob, tmp_path: Path) -> None:
    told: list[Event] = []
    before = snapshot(job.path)
    made = exported(job, tmp_path / "bundle", told=told)
    assert made.images == 58
    assert sum(made.bytes.values()) == made.bundle.bytes
    assert made.bundle.job == str(job.path)
    said = [event.what for event in told if isinstance(event, Doing)]
    assert said[0] == "Exporting … 0 of 60 images"
    assert said[-1] == "Computing checksums …"
    assert snapshot(job.path) == before


def test_an_image_without_a_thumbnail_is_named(job: OpenJob, tmp_path: Path) -> None:
    told: list[Event] = []
    made = exported(job, tmp_path / "bundle", 64, told)  # None of these photos is there.
    assert (made.bundle.thumbnails, made.bundle.without_thumbnail) == (64, 58)
    (said,) = (event.sentence for event in told if isinstance(event, Said))
    assert said.startswith("58 images could not be read for a thumbnail: ")
    assert "é 0000000.jpg" in said
    assert said.endswith(" …")


def test_a_place_that_holds_something_is_refused_and_stays(job: OpenJob, tmp_path: Path) -> None:
    bundle = bundle_of(job, tmp_path / "bundle")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    for place, sentence in (
        (bundle.path, rf"is there already, and is a bundle of the job {job.path}, made 20.* UTC: name another folder"),
        (job.path, "is in the job itself"),
        (job.path / "bundle", r"is in the job itself: name a folder outside of"),
        (other, "is there already, and holds something else: name another folder, or empty it"),
        (tmp_path / "file", "is there already, and is no folder"),
        ("s3://bucket/folder/bundle", "A bundle is made on a disk, and s3://bucket/folder/bundle is not on one"),
    ):
        with pytest.raises((JobError, UsageError), match=sentence):
            exported(job, place)
    assert snapshot(tmp_path) == before
    with pytest.raises(JobError, match=r"bundle is a bundle of the job .*: it is for searching, and can't be exported"):
        exported(bundle, tmp_path / "second")
    with pytest.raises(JobNotFound):
        export(JobDir.at(tmp_path / "nothing"), JobDir.at(tmp_path / "second"), 0, lambda event: None)
    assert snapshot(tmp_path) == before


def test_a_job_is_no_place_for_a_bundle(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    other = job_of_a_list(tmp_path / "more")
    with pytest.raises(JobError, match="is there already, and is a job: name another folder, or remove it first"):
        exported(job, other.path)


def test_an_empty_folder_is_a_place(job: OpenJob, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert exported(job, tmp_path / "bundle").images == 58
    assert not (tmp_path / "bundle" / ".creating.lock").exists()


def test_two_at_once_are_told(job: OpenJob, tmp_path: Path) -> None:
    place = JobDir.at(tmp_path / "bundle")
    with creation_lock(place), pytest.raises(JobBusy, match="Another process is exporting into"):
        exported(job, place.path)


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    half = job_of_a_list(tmp_path, sealed=[0])
    with pytest.raises(JobError, match=r"35 of the 60 images of .* are not sealed yet"):
        exported(half, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_images_that_crash_the_process_are_read_apart_by_the_next_one(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    @contextmanager
    def speaking(module: str, arguments: list[str], **how: Any) -> Iterator[Iterator[dict[str, Any]]]:
        started.append(arguments)
        if len(started) == 1:
            hand = how["keep"][0]
            with open(hand, "r+b", closefd=False) as file:
                file.write(b"".join(number.to_bytes(8, "little") for number in (8, 0, 3)))
            how["on_exit"](signal.SIGSEGV)
            raise JobError("The export ended with signal SIGSEGV.")
        bundle_of(job, tmp_path / "bundle")
        lost = {"reasons": {}, "sentences": []}
        result = {"images": 58, "additions": 3, "bytes": {}, "p50_ms": 1.0, "renewed": True, "lost": lost}
        yield iter([{"result": result}])

    monkeypatch.setattr(exporting, "speaking", speaking)
    told: list[Event] = []
    exported(job, tmp_path / "bundle", 64, told)
    assert started[1][-4:] == ["--suspect", "2", "--suspect", "7"]
    said = [event.sentence for event in told if isinstance(event, Said)]
    assert said[0].startswith("3 of the images came after the index was built: they are in the bundle")
    assert said[1].startswith("The job was changed meanwhile: the bundle holds what it held when the export began")


def test_a_crash_over_no_image_is_an_error(job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def speaking(module: str, arguments: list[str], **how: Any) -> Iterator[Iterator[dict[str, Any]]]:
        how["on_exit"](signal.SIGSEGV)
        raise JobError("The export ended with signal SIGSEGV.")
        yield iter([])

    monkeypatch.setattr(exporting, "speaking", speaking)
    with pytest.raises(JobError, match="ended with signal SIGSEGV"):
        exported(job, tmp_path / "bundle")
