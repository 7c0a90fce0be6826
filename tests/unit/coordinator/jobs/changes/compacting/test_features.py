"""A compaction carries the features of what stays, and nothing of an image that was deleted stays on the disk."""

import contextlib
import shutil
from pathlib import Path

import pytest

from coordinator.jobs.changes.compacting.plan import reclaimable
from shared.errors import CorruptFile
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.features.marker import read_features_seal
from shared.job.partition.features.record import ImageFeatures
from shared.job.partition.features.wanted import want_features
from tests.support.compactions import compacted, remove
from tests.support.damage import flip, snapshot
from tests.support.featured import commit_featured, made_up, seal_featured, stored
from tests.support.kills import Killed, killed_at
from tests.support.make_job import make_job

FAILED, WITHOUT = (3, 40), (5, 30)
GONE = (0, 3, 7, 24, 30, 59)


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """60 images in partitions of 25, all with features."""
    job = make_job(tmp_path / "job", sealed=[]).job
    want_features(job)
    for number in range(3):
        seal_featured(job, number, FAILED, WITHOUT)
    return job


def left() -> dict[int, bytes | None]:
    return {image: None if image in WITHOUT else made_up(image) for image in range(60) if image not in (*FAILED, *GONE)}


def traces(job: OpenJob, image: int) -> list[str]:
    """The files of a job that hold the PDQ or the local features of an image."""
    features = ImageFeatures.from_bytes(made_up(image))
    return [
        path for path, content in snapshot(job.path).items() if features.local in content or features.pdq in content
    ]


def size_of(job: OpenJob) -> int:
    """The bytes of the sealed files and the features of a job, as they are on the disk."""
    numbers = open_job(job).sealed()
    paths = [job.path / name for number in numbers for name in ledger.read_seal(job, number).files]
    paths += [path for number in numbers for path in job.features_files(number)]
    return sum(path.stat().st_size for path in paths)


def test_what_stays_keeps_its_features_and_what_was_deleted_leaves_no_trace(job: OpenJob) -> None:
    assert traces(job, 7) != []
    remove(job, *GONE)
    before = size_of(job)
    freed, sealed = reclaimable(open_job(job), {seal.partition: seal for seal in ledger.sealed(open_job(job))})
    assert sealed == before
    assert freed == pytest.approx(before * len(GONE) / 60, rel=0.25), "rows of one partition may be larger"
    assert compacted(job).bytes == before - size_of(job)
    assert stored(job) == left()
    for image in GONE:
        assert traces(job, image) == [], image
    assert job.features_numbers() == open_job(job).sealed()
    for number in open_job(job).sealed():
        marker = read_features_seal(job, number)
        assert marker is not None
        assert marker.is_of(job, ledger.read_seal(job, number))


def test_partitions_of_which_one_lacks_features_are_not_joined(tmp_path: Path) -> None:
    small = make_job(tmp_path / "small", listed=40, partition_size=10, sealed=[]).job
    for number in (0, 1):
        seal_featured(small, number)
    for number in (2, 3):
        commit_featured(small, *small.chunks(small.partition(number)), featured=False)
        ledger.seal_partition(small, small.partition(number))
    remove(small, *range(7), *range(10, 17), *range(20, 27), *range(30, 37))
    compacted(small)
    assert [(one.start, one.stop) for one in open_job(small).partitions] == [(0, 20), (20, 40)]
    assert stored(small) == {image: made_up(image) for image in (7, 8, 9, 17, 18, 19)}


@pytest.mark.parametrize("which", [0, 1])
def test_damaged_features_are_not_copied_on_and_nothing_is_changed(job: OpenJob, which: int) -> None:
    remove(job, *GONE)
    flip(job.features_files(0)[which])
    before = snapshot(job.path)
    with pytest.raises(CorruptFile, match="nothing was compacted"):
        compacted(job)
    assert snapshot(job.path) == before


def test_a_kill_at_any_step_of_a_compaction_leaves_the_features_before_or_after(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored(job)
    remove(job, *GONE)
    step = 0
    while True:
        path = tmp_path / f"killed {step}"
        shutil.copytree(job.path, path)
        killed = open_job(make_at(job, path))
        with killed_at(step, monkeypatch) as happened:
            with contextlib.suppress(Killed):
                compacted(killed)
            done = happened() <= step
        assert stored(killed) in (before, left()), step
        compacted(killed)
        assert stored(killed) == left()
        assert traces(killed, 7) == []
        shutil.rmtree(path)
        if done:
            break
        step += 3 if step > 12 else 1  # Each step to the change, and then some of the removals.
    assert step > 20


def make_at(job: OpenJob, path: Path) -> OpenJob:
    return OpenJob(path, job.manifest, job.state)
