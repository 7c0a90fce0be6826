"""The log of changes is verified, and what is left over there is removed when no process may need it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coordinator.integrity.findings import Checked, Finding, Kind
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, write_change
from shared.job.opened import OpenJob, open_job
from tests.support.cli import Run
from tests.support.damage import DAMAGES, age, snapshot
from tests.support.source_jobs import job_of_a_list


def removal(number: int, *ids: int) -> Change:
    return Change(number, "delete", removed=np.array(ids, np.int64))


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job that was changed three times."""
    job = job_of_a_list(tmp_path)
    for change in (removal(1, 3, 8), removal(2, 5), removal(3, 59)):
        write_change(job, job.manifest, change)
    return open_job(job)


def found(job: OpenJob) -> list[Finding]:
    return list(verify(job, Checked()))


def ids_of(job: OpenJob, number: int) -> Path:
    (path,) = (path for change, path in job.removed_files() if change == number)
    return path


def test_a_job_that_was_changed_is_whole_and_all_of_it_is_read(job: OpenJob) -> None:
    before, checked = snapshot(job.path), Checked()
    assert list(verify(job, checked)) == []
    assert (checked.files, checked.bytes) == (len(before), sum(map(len, before.values())))
    assert list(repair(job, Checked())) == []
    assert snapshot(job.path) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["change", "ids"])
def test_a_damaged_change_is_named_and_stays_as_it_is(job: OpenJob, which: str, damage: str) -> None:
    path = job.change(2) if which == "change" else ids_of(job, 2)
    if which == "change" and damage == "flipped":  # JSON has no checksum: what is flipped must make no sense.
        path.write_bytes(path.read_bytes().replace(b'"number": 2', b'"number": 3'))
    else:
        DAMAGES[damage](path)
    before = snapshot(job.path)
    (finding,) = found(job)
    assert (finding.path, finding.kind, finding.remedy, finding.mends) == (
        "changes/000002.json", Kind.DAMAGE, "", None
    )  # fmt: skip
    assert "restore it from a copy. Repair can't make it anew, and nothing else can be judged" in finding.sentence
    assert "missing" in finding.sentence or damage != "deleted"
    assert [outcome.mended for outcome in repair(job, Checked())] == [False]
    assert snapshot(job.path) == before


def test_each_damaged_change_is_named_and_the_commands_say_so(job: OpenJob, run: Run) -> None:
    DAMAGES["cut"](job.change(1))
    DAMAGES["deleted"](ids_of(job, 3))
    assert [finding.path for finding in found(job)] == ["changes/000001.json", "changes/000003.json"]
    ran = run("verify", job.path)
    assert ran.status == 1
    assert "changes/000001.json: " in ran.out
    assert "not whole (2 damaged)" in ran.out
    for command in (["status", job.path], ["show", job.path, "1"], ["delete", job.path, "1"]):
        ran = run(*command)
        assert (ran.status, ran.out) == (1, "")
        assert "000001.json can't be read" in ran.err
        assert f"`lookalike verify {job.path}` names every file that is damaged" in ran.err


def test_a_change_that_does_not_fit_or_is_newer_is_named(job: OpenJob) -> None:
    shutil.copy(job.change(2), job.change(4))
    job.change(4).write_text(job.change(4).read_text().replace('"number": 2', '"number": 4'))
    shutil.copy(ids_of(job, 2), job.changes_dir / ids_of(job, 2).name.replace("000002", "000004"))
    (finding,) = found(job)
    assert finding.path == "changes/000004.json"
    assert "does not fit what the job held before (it removes an id that was removed before)" in finding.sentence
    job.change(3).write_text(job.change(3).read_text().replace('"format": 1', '"format": 9'))
    first, *_ = found(job)
    assert "has format 9, and this version of lookalike reads the formats 1 and 2" in first.sentence


@pytest.fixture
def left(job: OpenJob) -> Path:
    """Removed ids that no change names, two hours old, as a kill before the commit leaves them."""
    path = job.changes_dir / f"000004.{'a' * 16}.npy"
    shutil.copy(ids_of(job, 2), path)
    age(path)
    return path


def test_what_no_change_names_goes_when_it_is_old(job: OpenJob, left: Path) -> None:
    lost = job.changes_dir / f"000002.{'b' * 16}.npy"  # Of one that came second.
    aside = job.changes_dir / f".000004.json.{'c' * 32}.tmp"
    for path in (lost, aside):
        path.write_bytes(b"half")
        age(path)
    before = snapshot(job.path)
    assert {(finding.path, finding.kind) for finding in found(job)} == {
        (f"changes/{path.name}", Kind.LEFTOVER) for path in (left, lost, aside)
    }
    assert [outcome.mended for outcome in repair(job, Checked())] == [True] * 3
    gone = {str(path) for path in (left, lost, aside)}
    assert snapshot(job.path) == {path: data for path, data in before.items() if path not in gone}
    assert found(job) == []


def test_what_a_process_may_need_stays(job: OpenJob, left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with changing(job):
        (outcome,) = repair(job, Checked())
        assert not outcome.mended
        assert "could not be removed: Another process is changing" in outcome.sentence
    monkeypatch.setattr("coordinator.integrity.repair.is_fresh", lambda path: True)  # It is written again meanwhile.
    list(repair(job, Checked()))
    assert left.exists()
    monkeypatch.undo()
    left.touch()
    (finding,) = found(job)
    assert (finding.kind, finding.remedy) == (Kind.LEFTOVER, "")
    assert "until they are an hour old" in finding.sentence


def test_a_disk_that_does_not_answer_condemns_nothing(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Path], bytes] = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == job.change(2):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    (finding,) = found(job)
    assert (finding.path, finding.kind, finding.remedy) == ("changes/000002.json", Kind.UNREAD, "")
