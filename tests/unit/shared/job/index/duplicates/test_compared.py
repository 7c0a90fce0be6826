"""Batches of pairs: their names, what is read of them again, and what is not taken for them."""

from pathlib import Path

import pytest

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.index.duplicates import compared
from shared.job.index.duplicates.compared import Compared, Pair, ask, read_asked, read_compared, write_compared
from tests.support.make_job import make_job

PAIRS = [Pair(3, 1), Pair(3, 4)]


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return make_job(tmp_path / "job", listed=5).job


def test_what_is_written_is_read_again(job: JobDir) -> None:
    batch = ask(job, PAIRS, 2)
    assert read_asked(job, batch) == PAIRS
    found = [Compared(PAIRS[0], "same picture", "{}", None, 1.5, 2.5), Compared(PAIRS[1], unread="It is gone.")]
    write_compared(job, batch, found)
    assert read_compared(job.compared_pairs(batch)) == (found, 2)
    write_compared(job, batch, [])
    assert read_compared(job.compared_pairs(batch))[0] == found, "the first stays"
    assert all(ours for _, ours in job.files())


def test_other_pairs_another_attempt_and_another_way_have_another_name(
    job: JobDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [ask(job, PAIRS, 1), ask(job, PAIRS, 2), ask(job, PAIRS[:1], 1), ask(job, PAIRS, 1, pixels_alone=True)]
    monkeypatch.setattr(compared, "COMPARED_BY", "another way")
    names.append(ask(job, PAIRS, 1))
    assert len(set(names)) == 5
    monkeypatch.undo()
    assert ask(job, PAIRS, 1) == names[0]


def test_what_was_compared_in_another_way_is_not_read(job: JobDir, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ask(job, PAIRS, 1)
    write_compared(job, batch, [Compared(pair) for pair in PAIRS])
    monkeypatch.setattr(compared, "COMPARED_BY", "another way")
    with pytest.raises(CorruptFile, match="as this version compares them"):
        read_compared(job.compared_pairs(batch))


def test_damaged_pairs_are_an_error_and_written_anew_when_they_are_asked_for(job: JobDir) -> None:
    batch = ask(job, PAIRS, 1)
    path = job.asked_pairs(batch)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CorruptFile):
        read_asked(job, batch)
    assert ask(job, PAIRS, 1) == batch
    assert read_asked(job, batch) == PAIRS
