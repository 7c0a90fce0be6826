"""Which image of a group is to be kept: written once each time, the last word counts, and nothing is lost silently."""

from pathlib import Path

import pytest

from shared.errors import CorruptFile, JobBusy
from shared.job.directory import JobDir
from shared.job.index.duplicates import decided
from shared.job.index.duplicates.decided import Decided, decide, read_decided
from tests.support.make_job import make_job

FIRST, SECOND = Decided(3, (1, 3)), Decided(2, (2, 4, 5))


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return make_job(tmp_path / "job", listed=6).job


def test_each_time_is_a_file_and_what_was_the_last_word_makes_none(job: JobDir) -> None:
    assert decide(job, [FIRST, SECOND]) == 2
    assert decide(job, [FIRST]) == 0
    other = Decided(1, (1, 3))
    assert decide(job, [other]) == 1
    assert decide(job, [FIRST]) == 1
    assert read_decided(job) == [FIRST, SECOND, other, FIRST]
    assert job.decided_numbers() == [1, 2, 3]


def test_of_two_at_once_one_is_told_that_nothing_was_done(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(step: str) -> None:
        monkeypatch.setattr(decided, "failpoint", lambda step: None)
        decide(job, [FIRST])

    monkeypatch.setattr(decided, "failpoint", another)
    with pytest.raises(JobBusy, match="nothing of this call was done"):
        decide(job, [SECOND])
    assert read_decided(job) == [FIRST]


@pytest.mark.parametrize(
    "group",
    ['{"keep": 1, "images": [2, 3]}', '{"keep": 2, "images": [2]}', '{"keep": 2, "images": [3, 2]}',
     '{"keep": 2, "images": [2, 2]}', '{"keep": "2", "images": [2, 3]}', '{"keep": 2, "images": [2, true]}', "3"],
)  # fmt: skip
def test_a_file_that_says_something_else_is_an_error(job: JobDir, group: str) -> None:
    job.duplicates_dir.mkdir()
    job.decided(1).write_text(f'{{"format": 1, "at": 0, "groups": [{group}]}}')
    with pytest.raises(CorruptFile, match="decided_000001"):
        read_decided(job)
