import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import CorruptFile, JobBusy, JobMismatch
from shared.job.changes.log import Change, read_changes, removal_of, write_change
from shared.job.changes.replaced import Replaced, SealFacts
from shared.job.identity import identity_of_bytes
from shared.job.manifest import Partition, Source, load_manifest
from shared.job.opened import OpenJob, open_job
from shared.storage import files
from tests.support.make_job import make_job


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images in partitions of 25."""
    return make_job(tmp_path / "job").job


def removal(number: int, *ids: int) -> Change:
    return Change(number, "delete", removed=np.array(ids, np.int64), reasons={"asked for": len(ids)})


def test_a_change_is_read_as_it_was_written(job: OpenJob) -> None:
    write_change(job, job.manifest, removal(1, 3, 7))
    write_change(job, job.manifest, Change(2, "refresh", (Partition(3, 60, 65), Partition(4, 65, 66))))
    first, second = read_changes(job)
    assert (first.number, first.action, first.removed.tolist(), first.partitions) == (1, "delete", [3, 7], ())
    assert first.removed.dtype == np.int64
    assert (first.reasons, first.made_by.split()[0]) == ({"asked for": 2}, "lookalike")
    assert first.at > 1_600_000_000
    assert (second.partitions, second.removed.tolist()) == ((Partition(3, 60, 65), Partition(4, 65, 66)), [])
    assert (second.source, second.adds) == (0, None)
    more = Source("glob", "/é/*.png", "0" * 64, {"without suffix": 2}, exclude=["a"], sniff=True, notes={"noted": 1})
    write_change(job, job.manifest, Change(3, "add source", (Partition(5, 66, 67),), source=1, adds=more))
    assert (read_changes(job)[2].source, read_changes(job)[2].adds) == (1, more)


@pytest.mark.parametrize(
    "damage", [{"exclude": "*.png"}, {"sniff": 1}, {"location": 5}, {"known": {"a": "float"}}, {"x": 1}]
)
def test_a_source_that_is_none_is_damage(job: OpenJob, damage: dict[str, Any]) -> None:
    more = Source("folder", "/more", "0" * 64)
    write_change(job, job.manifest, Change(1, "add source", (Partition(3, 60, 61),), source=1, adds=more))
    table = json.loads(job.change(1).read_text())
    job.change(1).write_text(json.dumps(table | {"adds": table["adds"] | damage}))
    with pytest.raises(CorruptFile, match=r"changes/000001\.json can't be read"):
        open_job(job)


def test_a_job_that_was_never_changed_has_no_changes_and_the_format_that_it_had(job: OpenJob) -> None:
    assert read_changes(job) == []
    assert json.loads(job.spec.read_text())["format"] == 1


def test_the_first_change_gives_the_job_a_format_that_versions_without_changes_refuse(job: OpenJob) -> None:
    before = json.loads(job.spec.read_text())
    write_change(job, job.manifest, removal(1, 3))
    after = json.loads(job.spec.read_text())
    assert after == before | {"format": 2}
    assert load_manifest(job) == job.manifest


def test_a_job_of_an_earlier_version_keeps_the_identity_that_was_taken_from_its_bytes(job: OpenJob) -> None:
    table = json.loads(job.spec.read_text())
    del table["identity"]
    job.spec.write_text(json.dumps(table, indent=2) + "\n")
    identity = identity_of_bytes(job.spec.read_bytes())
    old = open_job(job)
    assert old.manifest.identity == identity
    write_change(old, old.manifest, removal(1, 3))
    assert open_job(job).manifest.identity == identity


def test_of_two_changes_of_one_number_the_first_stays_and_the_other_is_told(job: OpenJob) -> None:
    write_change(job, job.manifest, removal(1, 3))
    with pytest.raises(JobBusy, match=r"Another process changed .* as its change 1: nothing of this one was done"):
        write_change(job, job.manifest, removal(1, 4))
    (only,) = read_changes(job)
    assert only.removed.tolist() == [3]


DAMAGES: dict[str, Any] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "flipped": lambda path: path.write_bytes(path.read_bytes().replace(b"o", b"p")),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["000001.json", "000001.*.npy"])
def test_a_damaged_change_is_named_and_nothing_is_opened_without_it(job: OpenJob, damage: str, which: str) -> None:
    write_change(job, job.manifest, removal(1, 1, 11))
    write_change(job, job.manifest, removal(2, 5))
    (path,) = job.changes_dir.glob(which)
    DAMAGES[damage](path)
    with pytest.raises(CorruptFile, match=r"changes/000001.*restore it from a copy"):
        open_job(job)


def test_a_change_of_a_newer_version_is_refused(job: OpenJob) -> None:
    write_change(job, job.manifest, removal(1, 3))
    path = job.change(1)
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(
        JobMismatch, match=r"000001\.json has format 9, and this version of lookalike reads the formats 1 and 2"
    ):
        open_job(job)


def test_a_change_is_that_of_its_number(job: OpenJob) -> None:
    write_change(job, job.manifest, removal(1, 3))
    shutil.copy(job.change(1), job.change(2))
    with pytest.raises(CorruptFile, match=r"000002\.json can't be read .*it is the change 1"):
        open_job(job)


@pytest.mark.parametrize("leave", [0, 1, 2])
def test_a_change_that_is_killed_has_happened_or_not(job: OpenJob, leave: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    calls = iter(range(10))

    write = files.write_bytes

    def killed(*arguments: Any, **options: Any) -> None:
        if next(calls) == leave:
            raise Killed
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", killed)
        with pytest.raises(Killed):
            write_change(job, job.manifest, removal(1, 3))
    assert open_job(job).state.number == 0
    write_change(job, job.manifest, removal(1, 3))
    assert open_job(job).state.removed.tolist() == [3]


def test_the_change_that_removed_an_image_is_found_and_named(job: OpenJob) -> None:
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([3], np.int64), at=1_800_000_000.0))
    write_change(job, job.manifest, Change(2, "refresh", removed=np.array([7, 9], np.int64)))
    assert removal_of(job, 3).named == "change 1, delete, 2027-01-15 08:00 UTC"
    assert (removal_of(job, 9).number, removal_of(job, 9).action) == (2, "refresh")
    with pytest.raises(LookupError, match="removed the image 4"):
        removal_of(job, 4)


@pytest.mark.parametrize("at", ["-1", "1e300", "NaN"])
def test_a_time_that_is_none_is_damage(job: OpenJob, at: str) -> None:
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([3], np.int64), at=1_800_000_000.0))
    job.change(1).write_text(job.change(1).read_text().replace("1800000000.0", at))
    with pytest.raises(CorruptFile, match=r"000001\.json can't be read .*it was made at"):
        open_job(job)


def test_an_open_job_is_renewed_by_a_change_alone(job: OpenJob) -> None:
    assert job.renewed() is job
    write_change(job, job.manifest, removal(1, 3))
    write_change(job, job.manifest, removal(2, 5))
    now = job.renewed()
    assert (now.state.number, now.state.removed.tolist()) == (2, [3, 5])
    assert now.renewed() is now


def test_files_of_removed_ids_are_told_by_their_names(job: OpenJob) -> None:
    assert job.removed_files() == []
    write_change(job, job.manifest, removal(1, 3))
    write_change(job, job.manifest, Change(2, "refresh", (Partition(3, 60, 65),)))
    for name in ("000003.0123456789abcdef.npy", "000003.0123456789abcde.npy", ".000003.0123456789abcdef.npy.tmp"):
        (job.changes_dir / name).touch()
    first, second = read_changes(job)
    assert second.digest == ""
    assert job.removed_files() == [
        (1, job.removed(1, first.digest)),
        (3, job.changes_dir / "000003.0123456789abcdef.npy"),
    ]


def test_a_compaction_is_read_as_it_was_written(job: OpenJob) -> None:
    sealed = SealFacts(Partition(3, 25, 60), 30, "a" * 64, "b" * 64)
    former = (SealFacts(Partition(1, 25, 50), 24, "c" * 64, "d" * 64), SealFacts(Partition(2, 50, 60), 9, "e", "f"))
    replaced = (Replaced(sealed, former, 12.5, ((25, 13.0), (50, 14.5))),)
    write_change(job, job.manifest, Change(1, "compact", replaced=replaced))
    (change,) = read_changes(job)
    assert change.replaced == replaced
    assert json.loads(job.change(1).read_text())["format"] == 2


def write_failed(job: OpenJob, failed: object) -> None:
    """Write a compaction whose partition has these times of failed images in its file."""
    one = SealFacts(Partition(3, 25, 50), 24, "a" * 64, "b" * 64)
    other = SealFacts(Partition(1, 25, 50), 24, "c" * 64, "d" * 64)
    write_change(job, job.manifest, Change(1, "compact", replaced=(Replaced(one, (other,), 1.5, ((25, 2.0),)),)))
    table = json.loads(job.change(1).read_text())
    assert table["replaced"][0]["failed"] == [[25, 2.0]]
    table["replaced"][0]["failed"] = failed
    job.change(1).write_text(json.dumps(table, indent=2) + "\n")


def test_a_compaction_of_an_earlier_version_has_one_time_for_all_its_failed_images(job: OpenJob) -> None:
    write_failed(job, 2.0)
    (change,) = read_changes(job)
    assert change.replaced[0].failed == ((25, 2.0),)


@pytest.mark.parametrize("failed", [[], [[26, 2.0]], [[25, 2.0], [50, 3.0]], [[25, 2.0], [25, 3.0]], [[25]], None])
def test_times_of_failed_images_that_are_not_of_the_partition_are_damage(job: OpenJob, failed: object) -> None:
    write_failed(job, failed)
    with pytest.raises(CorruptFile, match=r"000001\.json can't be read"):
        open_job(job)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"former": [', '"former": [], "formerly": ['),
        ('"replaced"', '"displaced"'),
        ('"format": 2', '"format": 1'),
        ('"began": 1.5', '"began": null'),
    ],
)
def test_a_compaction_that_was_cut_is_no_change(job: OpenJob, before: str, after: str) -> None:
    one = SealFacts(Partition(3, 25, 50), 24, "a" * 64, "b" * 64)
    other = SealFacts(Partition(1, 25, 50), 24, "c" * 64, "d" * 64)
    write_change(job, job.manifest, Change(1, "compact", replaced=(Replaced(one, (other,), 1.5, ((25, 2.0),)),)))
    text = job.change(1).read_text()
    assert before in text
    job.change(1).write_text(text.replace(before, after))
    with pytest.raises(CorruptFile, match=r"000001\.json can't be read"):
        open_job(job)
