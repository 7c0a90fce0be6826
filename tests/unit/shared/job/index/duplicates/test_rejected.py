"""Rejected pairs: written once each time, read together, and nothing of them lost without a word."""

from pathlib import Path

import pytest

from shared.errors import CorruptFile, JobBusy
from shared.job.directory import JobDir
from shared.job.index.duplicates import rejected
from shared.job.index.duplicates.rejected import pairs_of, read_rejected, reject
from shared.storage import files
from tests.support.make_job import make_job


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return make_job(tmp_path / "job", listed=5).job


def test_every_two_of_a_set_are_a_pair() -> None:
    assert pairs_of([[5, 3, 3], [1, 2, 4]]) == {(3, 5), (1, 2), (1, 4), (2, 4)}


def test_each_time_is_a_file_that_stays_and_known_pairs_make_none(job: JobDir) -> None:
    assert read_rejected(job) == set()
    assert reject(job, {(1, 2)}) == {(1, 2)}
    first = job.rejected(1).read_bytes()
    assert reject(job, {(1, 2), (0, 4)}) == {(0, 4)}
    assert reject(job, {(0, 4)}) == set()
    assert job.rejected_numbers() == [1, 2]
    assert job.rejected(1).read_bytes() == first
    assert read_rejected(job) == {(1, 2), (0, 4)}


def test_of_two_at_once_one_is_told_that_nothing_was_done(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(step: str) -> None:
        monkeypatch.setattr(rejected, "failpoint", lambda step: None)
        reject(job, {(0, 1)})

    monkeypatch.setattr(rejected, "failpoint", another)
    with pytest.raises(JobBusy, match="nothing of this call was done"):
        reject(job, {(2, 3)})
    assert read_rejected(job) == {(0, 1)}


def test_a_file_that_is_damaged_or_missing_is_an_error(job: JobDir) -> None:
    for number in range(3):
        reject(job, {(0, number + 1)})
    data = job.rejected(2).read_bytes()
    for damaged in (b"", data[:20], b"{}\n", data.replace(b'"format": 1', b'"format": 9')):
        job.rejected(2).write_bytes(damaged)
        with pytest.raises(CorruptFile, match="000002"):
            read_rejected(job)
    job.rejected(2).unlink()
    with pytest.raises(CorruptFile, match="is missing, and a later one is there"):
        read_rejected(job)


def test_a_kill_leaves_it_before_or_after(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(path: Path, data: bytes, *, keep_first: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_bytes", ended)
    with pytest.raises(KeyboardInterrupt):
        reject(job, {(0, 1)})
    assert read_rejected(job) == set()
