"""Features of a partition that was sealed without them: the same as if they had been made with its embeddings."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from shared.errors import CorruptFile, SourceError
from shared.job.changes.log import Change, write_change
from shared.job.manifest import Partition
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.features.marker import FeaturesSeal, read_features_seal
from shared.job.partition.features.wanted import want_features
from shared.processes.control import Control, Stopped
from tests.support.compactions import remove
from tests.support.controls import UNWATCHED, yes
from tests.support.embedders import embed, no_after, sealed_bytes
from tests.support.featured import features_alone, job_of, photos, stored
from tests.support.kills import Killed, killed_at
from workers.embed import add_features as adding
from workers.embed.add_features import add_features
from workers.images.read import read_image

BROKEN = 5


class _Readers:
    """Reads in this process, where a test need not start others for it; notes what was read."""

    read_so_far: list[str]

    def __init__(self, *wanted: Any, features: bool) -> None:
        self._wanted, self._features = wanted, features

    def __enter__(self) -> "_Readers":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def read(self, location: Any) -> Any:
        self.read_so_far.append(location.path)
        return read_image(location, *self._wanted, features=self._features)


@pytest.fixture
def read_so_far(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(adding, "IsolatedReaders", _Readers)
    monkeypatch.setattr(_Readers, "read_so_far", [], raising=False)
    return _Readers.read_so_far


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Twenty images: one is broken, and one has the bytes of another one."""
    paths = photos(tmp_path / "photos", 20)
    paths[BROKEN].write_bytes(b"this is no image")
    shutil.copy(paths[2], paths[7])
    return paths


@pytest.fixture
def job(images: list[Path], tmp_path: Path, read_so_far: list[str]) -> OpenJob:
    """A job in partitions of 12 and 8 that was embedded without features, and wants them now."""
    job = job_of(tmp_path / "job", images, wanted=False)
    embed(job, 0)
    embed(job, 1)
    want_features(job)
    return job


def add(job: OpenJob, number: int = 0, control: Control[Any] = UNWATCHED) -> bool:
    return add_features(job, job.partition(number), control, threads=2)


def marker_of(job: OpenJob, number: int = 0) -> FeaturesSeal:
    marker = read_features_seal(job, number)
    assert marker is not None
    return marker


def test_they_are_the_ones_that_an_embed_worker_would_have_made(
    job: OpenJob, images: list[Path], tmp_path: Path, read_so_far: list[str]
) -> None:
    before = sealed_bytes(job)
    assert [add(job, number) for number in (0, 1)] == [True, True]
    assert stored(job) == {n: features_alone(path) for n, path in enumerate(images) if n != BROKEN}
    assert sealed_bytes(job) == before
    assert len(read_so_far) in (18, 19), "of equal bytes one is enough, unless both are read at once"
    at_once = job_of(tmp_path / "at once", images)
    for number in (0, 1):
        embed(at_once, number)
        for made, expected in zip(job.features_files(number), at_once.features_files(number), strict=True):
            assert made.read_bytes() == expected.read_bytes()
        made, expected = marker_of(job, number), marker_of(at_once, number)  # type: ignore[assignment]
        assert (made.embeddings, made.files) == (expected.embeddings, expected.files)  # type: ignore[attr-defined]
    assert [finding.wrong for finding in verify(job, Checked()) if "dimensions" not in finding.wrong] == []


def test_what_is_there_is_not_made_again_and_a_job_that_wants_none_gets_none(
    job: OpenJob, read_so_far: list[str]
) -> None:
    add(job)
    read_so_far.clear()
    assert add(job) is False
    job.features_wanted.unlink()
    assert add(job, 1) is False
    assert read_so_far == []
    assert job.features_numbers() == [0]


def test_images_that_changed_vanished_or_were_removed_have_none_and_are_counted(
    job: OpenJob, images: list[Path], read_so_far: list[str]
) -> None:
    shutil.copy(images[1], images[3])
    images[4].unlink()
    images[6].write_bytes(images[6].read_bytes()[:60])
    remove(job, 8, 9)
    job = open_job(job)
    assert add(job)
    lacking = (3, 4, 6, 8, 9)
    assert stored(job) == {n: None if n in lacking else features_alone(images[n]) for n in range(12) if n != BROKEN}
    assert marker_of(job).without == {"changed": 1, "truncated": 1, "vanished": 1, "removed": 2}
    assert str(images[8]) not in read_so_far


def test_photos_that_are_out_of_reach_are_no_photos_without_features(job: OpenJob, images: list[Path]) -> None:
    away = images[0].parent.rename(images[0].parent.parent / "away")
    with pytest.raises(SourceError, match="out of reach"):
        add(job)
    assert job.features_numbers() == []
    away.rename(images[0].parent)
    assert add(job)
    assert marker_of(job).without == {}


@pytest.mark.parametrize("asked", ["keep_going", "may_commit"])
def test_it_stops_when_it_is_told_to_and_leaves_nothing(job: OpenJob, asked: str) -> None:
    control: Control[object] = Control(
        no_after(1) if asked == "keep_going" else yes, yes if asked == "keep_going" else no_after(0), lambda told: None
    )
    with pytest.raises(Stopped):
        add(job, control=control)
    assert job.features_numbers() == []
    assert list(job.features_dir.glob(".*")) == []
    assert add(job)


def test_a_kill_at_any_step_leaves_all_features_or_none(
    job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job_of_copy(job, tmp_path / "whole")
    add(whole)
    expected = stored(whole)
    step = 0
    while True:
        killed = job_of_copy(job, tmp_path / f"killed {step}")
        with killed_at(step, monkeypatch) as happened:
            with contextlib.suppress(Killed):
                add(killed)
            done = happened() <= step
        assert stored(killed) in ({}, expected)
        assert bool(stored(killed)) == killed.features_seal(0).is_file()
        add(killed)
        assert stored(killed) == expected
        if done:
            break
        step += 1
    assert step >= 3


def job_of_copy(job: OpenJob, path: Path) -> OpenJob:
    shutil.copytree(job.path, path)
    return OpenJob(path, job.manifest, job.state)


def test_what_a_compaction_replaced_meanwhile_is_removed(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of images that were deleted must not stay behind."""
    replaced = open_job(job)
    state = replaced.state

    class Renewed(OpenJob):
        __slots__ = ()

        def renewed(self) -> OpenJob:
            return OpenJob(self.path, self.manifest, _Without(state))  # type: ignore[arg-type]

    assert add(Renewed(job.path, job.manifest, job.state))
    assert job.features_numbers() == []


class _Without:
    """A state that holds partition 0 no more."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def holds(self, number: int) -> bool:
        return number != 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)


def test_a_damaged_partition_is_left_to_be_repaired(job: OpenJob) -> None:
    job.metadata(0).write_bytes(job.metadata(0).read_bytes()[:-9])
    with pytest.raises(CorruptFile):
        add(job)
    assert job.features_numbers() == []


def test_a_partition_that_came_by_a_change_gets_its_features(job: OpenJob, tmp_path: Path) -> None:
    more = photos(tmp_path / "more", 3, seed=9)
    from shared.job import path_list

    partition = Partition(2, 20, 23)
    path_list.write_paths(job, partition, [str(path) for path in more])
    write_change(job, job.manifest, Change(1, "refresh", (partition,)))
    grown = open_job(job)
    embed(grown, 2)
    assert stored(grown) == {20 + n: features_alone(path) for n, path in enumerate(more)}
    assert add(grown, 2) is False
    assert ledger.read_seal(grown, 2).embedded == 3
