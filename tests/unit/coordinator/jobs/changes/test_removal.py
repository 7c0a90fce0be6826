"""Images are removed from the answers of a job, in one change or not at all."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.verify import verify
from coordinator.jobs.changes.removal import Asked, Removal, remove
from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.runs.events import Doing, Event, Said
from coordinator.sources.vectors.vectors import open_vectors
from shared.errors import JobBusy, JobError, QueryError
from shared.job.changes import log
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, read_changes, write_change
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.source.moved import Moved, write_moved
from shared.settings import Settings
from tests.support.damage import snapshot
from tests.support.source_jobs import all_paths, job_of_a_list

Remove = Callable[..., Removal]


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images in partitions of 25, two of which failed, with a partition that is not sealed."""
    return job_of_a_list(tmp_path, sealed=[0, 1])


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def removed(job: OpenJob, told: list[Event]) -> Remove:
    """Removes what is asked for from the job."""
    return lambda **asked: remove(job, Asked(**asked), told.append)


def ids(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def test_ids_are_removed_in_one_change_that_says_how_they_were_named(job: OpenJob, removed: Remove) -> None:
    done = removed(ids=ids(7, 59, 3, 7))  # One failed, one is not embedded yet, one is named twice.
    assert (done.count, done.left, done.listed) == (3, 57, 60)
    assert list(done.paths) == [all_paths(job)[image] for image in (3, 7, 59)]
    (change,) = read_changes(job)
    assert (change.number, change.action, change.removed.tolist()) == (1, "delete", [3, 7, 59])
    assert (change.reasons, change.partitions) == ({"by id": 3}, ())
    assert json.loads(job.spec.read_text())["format"] == 2
    assert open_job(job).state.removed.tolist() == [3, 7, 59]


def test_images_are_named_by_ids_and_paths(job: OpenJob, removed: Remove) -> None:
    assert removed(images=["5", all_paths(job)[30], all_paths(job)[58]]).count == 3
    assert open_job(job).state.removed.tolist() == [5, 30, 58]
    assert read_changes(job)[0].reasons == {"by id": 1, "by path": 2}


def test_the_next_removal_is_the_next_change_and_counts_what_is_left(job: OpenJob, removed: Remove) -> None:
    removed(ids=ids(1, 2))
    done = removed(ids=ids(0, 9))
    assert (done.count, done.left, done.listed) == (2, 56, 60)
    assert [change.number for change in read_changes(job)] == [1, 2]


def test_the_first_few_paths_are_where_the_images_are_now(job: OpenJob, removed: Remove) -> None:
    folder = str(Path(all_paths(job)[0]).parent)
    write_moved(job, Moved(folder, "/elsewhere"))
    done = removed(ids=np.arange(20, 60), dry_run=True)
    assert list(done.paths) == [f"/elsewhere/é {image:07d}.jpg" for image in range(20, 25)]


@pytest.mark.slow
def test_an_expression_removes_the_embedded_images_that_match(job: OpenJob, removed: Remove, told: list[Event]) -> None:
    removed(ids=ids(1, 4))
    done = removed(where="id < 5 or id > 48")  # 3 failed, 49 is the last that is sealed.
    assert (done.count, done.left) == (3, 55)
    assert open_job(job).state.removed.tolist() == [0, 1, 2, 4, 49]
    assert read_changes(job)[1].reasons == {"where id < 5 or id > 48": 3}
    waits, says = told
    assert isinstance(waits, Doing)
    assert says == Said("1 of 3 partitions is not sealed yet: the images there have no metadata that could match.")


@pytest.mark.slow
def test_an_expression_that_matches_none_or_too_many_is_refused(job: OpenJob, removed: Remove) -> None:
    removed(ids=ids(0, 1))
    before = snapshot(job.path)
    with pytest.raises(JobError, match=r"None of the 58 images that are left in .* matches 'id < 2': nothing"):
        removed(where="id < 2")
    with pytest.raises(JobError, match=r"'id < 15' matches 12 of the 58 images that are left .* more than 20%") as said:
        removed(where="id < 15")
    assert said.value.remedy is not None
    assert (said.value.remedy.action, said.value.remedy.given) == ("option", {"yes": ""})
    with pytest.raises(QueryError, match="not all blank"):
        removed(where=" ")
    assert removed(where="id < 15", dry_run=True).count == 12
    assert snapshot(job.path) == before
    assert removed(where="id < 15", yes=True).left == 46


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"ids": ids(3, 60)}, "has the image ids 0 to 59, and none is 60: nothing was removed"),
        ({"ids": ids(-1, 70, 71)}, "none is -1, nor 2 more of those named: nothing"),
        ({"ids": ids()}, "No image of .* was named"),
        (
            {"ids": ids(2, 3, 5, 11)},
            r"The image 5 .* was removed before \(change 1, delete, 20\d\d-.* UTC\), and 1 more",
        ),
        (
            {"images": ["11"]},
            r"The image 11 .* was removed before \(change 2, delete, .* UTC\): nothing was removed now",
        ),
    ],
)
def test_what_can_not_be_removed_is_a_sentence_and_nothing_is_done(
    job: OpenJob, removed: Remove, asked: dict[str, Any], sentence: str
) -> None:
    removed(ids=ids(5))
    removed(ids=ids(11))
    before = snapshot(job.path)
    for dry_run in (False, True):
        with pytest.raises(JobError, match=sentence):
            removed(**asked, dry_run=dry_run)
    assert snapshot(job.path) == before


def test_a_dry_run_changes_nothing_and_needs_no_right_to(job: OpenJob, removed: Remove) -> None:
    before = snapshot(job.path)
    with changing(job):
        done = removed(ids=ids(3, 4), dry_run=True)
        with pytest.raises(JobBusy, match="Another process is changing"):
            removed(ids=ids(3, 4))
    assert (done.count, done.left, len(done.paths)) == (2, 58, 2)
    assert snapshot(job.path) == before


@pytest.mark.parametrize("where", ["disk", "store"])
def test_imported_vectors_are_removed_on_a_disk_and_in_a_store(tmp_path: Path, where: str) -> None:
    np.save(tmp_path / "vectors.npy", np.random.default_rng(3).normal(size=(60, 16)).astype(np.float32))
    place = JobDir.at(tmp_path / "job" if where == "disk" else f"memory://jobs-{uuid.uuid4().hex[:8]}/job")
    source = open_vectors(str(tmp_path / "vectors.npy"))
    before = import_vectors(source, place, Settings(partition_size=25), lambda doing, count: None)
    assert remove(place, Asked(images=["vectors.npy#31", "7"]), lambda event: None).left == 58
    after = open_job(place)
    assert (after.state.number, after.state.removed.tolist()) == (1, [7, 31])
    assert after.manifest == before.manifest
    assert list(verify(place, Checked())) == []
    with pytest.raises(JobError, match=r"The image 31 .* was removed before"):
        remove(place, Asked(ids=ids(31)), lambda event: None)


class Killed(BaseException):
    """What a kill is in a test: nothing catches it."""


@pytest.mark.parametrize("step", ["write_manifest", "write_change", "commit_change"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_removal_that_is_killed_at_a_step_has_not_happened_and_is_done_by_the_next(
    job: OpenJob, removed: Remove, monkeypatch: pytest.MonkeyPatch, step: str, changed: bool
) -> None:
    if changed:
        removed(ids=ids(1))
    before = open_job(job).state
    reached: list[str] = []

    def kill(name: str) -> None:
        reached.append(name)
        if name == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(log, "failpoint", kill)
        if step == "write_manifest" and changed:  # The format is that of a changed job already.
            removed(ids=ids(9))
            assert "write_manifest" not in reached
            return
        with pytest.raises(Killed):
            removed(ids=ids(3, 9))
    after = open_job(job).state
    assert (after.number, after.removed.tolist()) == (before.number, before.removed.tolist())
    assert {finding.kind for finding in verify(job, Checked())} <= {Kind.LEFTOVER}
    removed(ids=ids(3, 9))
    assert open_job(job).state.removed.tolist() == sorted([*before.removed.tolist(), 3, 9])
    assert list(verify(job, Checked())) == []


def test_of_two_that_choose_at_once_the_second_is_told_and_its_images_stay(
    job: OpenJob, removed: Remove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a mount without locks both get as far as the number of their change."""

    def other(name: str) -> None:
        if name == "commit_change":
            monkeypatch.setattr(log, "failpoint", lambda name: None)
            write_change(job, job.manifest, Change(1, "delete", removed=ids(8)))

    monkeypatch.setattr(log, "failpoint", other)
    with pytest.raises(JobBusy, match="nothing of this one was done"):
        removed(ids=ids(3))
    assert open_job(job).state.removed.tolist() == [8]
