"""What a job takes up of what came to its source, changed there, or went."""

import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.repair import repair
from coordinator.jobs.changes import refresh
from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.changes.compaction import compact
from coordinator.jobs.changes.refreshed import Refreshed
from coordinator.jobs.changes.removal import Asked, remove
from coordinator.jobs.create import make_or_open, write_path_list
from coordinator.jobs.source import compared
from coordinator.jobs.source.move import move
from shared.errors import CorruptFile, JobBusy, JobError, SourceError
from shared.job.changes.adding import NewRows, add_partitions, require_new
from shared.job.changes.lock import changing
from shared.job.changes.log import read_change
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.source.moved import stored_path
from shared.settings import Settings
from shared.storage import files
from tests.support.changed_jobs import embedded, held, wrong
from tests.support.controls import UNWATCHED
from tests.support.images.tiles import png, tile
from tests.support.kills import Killed, killed_at
from tests.support.source_jobs import made, sealed
from workers.merge import build as merging
from workers.search.searcher import Searcher

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos in three folders."""
    for number in range(12):
        tile(tmp_path / "photos" / "abc"[number % 3] / f"{number:02d}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> OpenJob:
    """The job of the photos, sealed, in partitions of five."""
    return sealed(str(photos), JobDir(tmp_path / "job"))


def refreshed(source: Path | str, job: JobDir, **options: Any) -> Refreshed:
    """Refresh a job from its source, and embed what came."""
    found = refresh.refresh(str(source), job, lambda count: None, **options)
    embedded(job)
    return found


def of_now(source: Path | str, folder: Path) -> dict[str, bytes]:
    """What a job holds that is made of a source as it is now."""
    shutil.rmtree(folder, ignore_errors=True)
    return held(sealed(str(source), JobDir(folder)))


def later(path: Path) -> None:
    """Give a file a time of change that is later than any listing."""
    os.utime(path, (4e9, 4e9))


@pytest.mark.parametrize("typed", [str, lambda folder: f"{folder}/**/*.png"], ids=["folder", "glob"])
def test_what_came_changed_and_went_is_taken_up_in_one_change(
    photos: Path, tmp_path: Path, typed: Callable[[Path], str]
) -> None:
    source = typed(photos)
    job = sealed(source, JobDir(tmp_path / "job"))
    assert refreshed(source, job) == Refreshed()
    assert job.change_numbers() == []
    for number in range(20, 27):
        tile(photos / "b" / f"{number}.png", number)
    tile(photos / "c" / "02.png", 100)
    (photos / "a" / "03.png").unlink()
    found = refreshed(source, job)
    assert str(found) == "7 new, 1 changed, 1 gone"
    assert held(job) == of_now(source, tmp_path / "other")
    change = read_change(job, 1)
    assert (change.action, change.reasons) == ("refresh", {"gone": 1, "changed": 1})
    assert [len(partition) for partition in change.partitions] == [5, 3]
    assert str(refreshed(source, job)) == ""
    assert job.change_numbers() == [1]
    assert wrong(job) == []


def test_a_job_grown_in_four_steps_answers_as_one_made_at_once(photos: Path, tmp_path: Path) -> None:
    everything = {path: path.read_bytes() for path in sorted(photos.rglob("*.png"))}
    steps = [list(everything)[at::4] for at in range(4)]
    for path in everything:
        path.unlink()
    job = JobDir(tmp_path / "job")
    for step in steps:
        for path in step:
            path.write_bytes(everything[path])
        if job.spec.is_file():
            assert str(refreshed(photos, job)) == "3 new"
        else:
            sealed(str(photos), job)
    other = sealed(str(photos), JobDir(tmp_path / "other"))
    assert held(job) == held(other)
    grown, at_once = searcher(embedded(job)), searcher(other)
    for vector in held(job).values():
        query = np.frombuffer(vector, np.float16).astype(np.float32)
        hits, expected = grown.search(query, 12), at_once.search(query, 12)
        assert {hit.image_path: round(hit.similarity, 5) for hit in hits} == {
            hit.image_path: round(hit.similarity, 5) for hit in expected
        }


def searcher(job: OpenJob) -> Searcher:
    info = merging.merge(job, Settings(), UNWATCHED)
    return Searcher.open(JobFiles.of(job, Settings()), info.build)


@pytest.mark.parametrize("same", [True, False])
def test_a_file_that_was_written_again_counts_by_its_bytes_and_is_read_once(
    photos: Path, job: OpenJob, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photos / "a" / "00.png"
    data = path.read_bytes()
    read: list[str] = []

    def reading(path: str, *arguments: Any) -> bytes:
        read.append(path)
        return Path(path).read_bytes()

    aged(job)
    monkeypatch.setattr(compared, "read_bytes", reading)
    assert str(refreshed(photos, job)) == ""
    assert not read
    path.write_bytes(data if same else png(99))
    later(path)
    assert str(refreshed(photos, job)) == ("" if same else "1 changed")
    assert read == [str(path)]
    read.clear()
    assert str(refreshed(photos, job)) == ""
    assert not [one for one in read if same]
    if same:
        job.looked_at.write_bytes(b"damaged")
        assert str(refreshed(photos, job)) == ""
        assert read == [str(path)]


def aged(job: JobDir) -> None:
    """Let the job be listed ten seconds later than its photos were written."""
    for number in job.paths_numbers():
        found = job.paths(number).stat().st_mtime + 10
        os.utime(job.paths(number), (found, found))
        seal = job.seal(number)
        text = seal.read_text()
        start = text.index('"sealed_at": ') + len('"sealed_at": ')
        seal.write_text(text[:start] + str(found + 10) + text[text.index(",", start) :])


def test_a_file_under_another_name_keeps_its_id_and_embedding(photos: Path, job: OpenJob, tmp_path: Path) -> None:
    before = held(job)
    (photos / "a").rename(photos / "summer")
    (photos / "b" / "01.png").rename(photos / "z.png")
    found = refreshed(photos, job)
    assert str(found) == "5 renamed"
    assert (open_job(job).state.number, open_job(job).listed) == (0, 12)
    now = held(job)
    assert now[f"{photos}/summer/00.png"] == before[f"{photos}/a/00.png"]
    assert now == of_now(photos, tmp_path / "other")
    assert str(refreshed(photos, job)) == ""
    # What comes to a place that was left is a new image there.
    tile(photos / "a" / "00.png", 50)
    assert str(refreshed(photos, job)) == "1 new, 1 changed"
    assert held(job) == of_now(photos, tmp_path / "other")
    (photos / "z.png").rename(photos / "b" / "01.png")  # Where the job has it.
    assert str(refreshed(photos, job)) == ""
    assert held(job) == of_now(photos, tmp_path / "other")


def test_more_renamed_files_than_are_named_one_by_one_are_gone_and_new(
    photos: Path, job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.jobs.source.news.MOST", 3)
    (photos / "a").rename(photos / "summer")
    assert str(refreshed(photos, job)) == "1 new, 1 gone, 3 renamed"
    assert held(job) == of_now(photos, tmp_path / "other")


def test_a_deleted_image_stays_out_while_its_file_is_as_it_was(photos: Path, job: OpenJob) -> None:
    deleted = [path for path in held(job) if path.endswith(("02.png", "05.png", "07.png"))]
    remove(job, Asked(images=deleted), lambda event: None)
    tile(photos / "a" / "20.png", 20)
    tile(Path(deleted[0]), 21)
    Path(deleted[1]).unlink()
    later(Path(deleted[2]))
    found = refreshed(photos, job)
    assert str(found) == "2 new"
    assert found.notes == ["not taken up: 1 image that was deleted, whose files are there as they were"]
    assert sorted(held(job)) == sorted(of_now(photos, photos.parent / "other").keys() - {deleted[2]})

    tile(Path(deleted[0]), int(Path(deleted[0]).stem))  # What was deleted, in the place of what was taken up.
    tile(Path(deleted[1]), int(Path(deleted[1]).stem))
    assert str(refreshed(photos, job)) == "1 gone"
    assert str(refreshed(photos, job)) == ""
    assert not set(deleted) & set(held(job))
    assert wrong(job) == []


def test_a_deleted_image_stays_out_also_when_a_compaction_left_nothing_of_it(photos: Path, job: OpenJob) -> None:
    deleted = [path for path in held(job) if path.endswith(("02.png", "05.png"))]
    remove(job, Asked(images=deleted), lambda event: None)
    assert compact(job, Bounds(), lambda event: None).purged == 2
    tile(Path(deleted[0]), 21)
    found = refreshed(photos, job)
    assert str(found) == "1 new"
    assert found.notes == ["not taken up: 1 image that was deleted, whose files are there as they were"]
    assert held(job).keys() == of_now(photos, photos.parent / "other").keys() - {deleted[1]}

    tile(Path(deleted[0]), int(Path(deleted[0]).stem))  # What was deleted, in the place of what was taken up.
    assert str(refreshed(photos, job)) == "1 gone"
    assert str(refreshed(photos, job)) == ""
    assert not set(deleted) & set(held(job))
    assert wrong(job) == []
    (array,) = (path for change, path in job.removed_files() if change == 2)
    array.unlink()
    assert any("leaves out, is missing" in sentence for sentence in wrong(job))
    with pytest.raises(CorruptFile, match="leaves out, is missing"):
        refreshed(photos, job)


def test_a_deleted_image_that_failed_stays_out_after_a_compaction_until_its_file_changes(
    photos: Path, tmp_path: Path
) -> None:
    broken = photos / "a" / "30.png"
    broken.write_bytes(b"no image")
    job = sealed(str(photos), JobDir(tmp_path / "job"))
    remove(job, Asked(images=[str(broken)]), lambda event: None)
    assert compact(job, Bounds(), lambda event: None).purged == 1
    assert str(refreshed(photos, job)) == ""
    tile(broken, 30)
    later(broken)
    assert str(refreshed(photos, job)) == "1 new"
    assert str(broken) in held(job)


def test_a_copy_of_an_image_that_stays_is_new(photos: Path, job: OpenJob) -> None:
    shutil.copy(photos / "a" / "00.png", photos / "copy.png")
    assert str(refreshed(photos, job)) == "1 new"


def test_what_comes_to_a_source_that_moved_is_listed_below_its_old_place(
    photos: Path, job: OpenJob, tmp_path: Path
) -> None:
    new = photos.rename(tmp_path / "new")
    move(str(new), job, lambda count: None)
    tile(new / "d" / "20.png", 20)
    (new / "b" / "01.png").rename(new / "b" / "1.png")
    (new / "c" / "02.png").unlink()
    assert str(refreshed(new, job)) == "1 new, 1 gone, 1 renamed"
    assert held(job) == of_now(new, tmp_path / "other")
    again = new.rename(tmp_path / "again")
    move(str(again), job, lambda count: None)
    assert str(refreshed(again, job)) == ""
    assert held(job) == of_now(again, tmp_path / "other")


@pytest.mark.parametrize("count", [3, 12])
def test_a_source_that_may_be_away_is_asked_about_and_nothing_changes(
    photos: Path, job: OpenJob, count: int, tmp_path: Path
) -> None:
    for path in sorted(photos.rglob("*.png"))[:count]:
        path.unlink()
    tile(photos / "new.png", 20)
    before = sorted(path for path in job.path.rglob("*"))
    with pytest.raises(SourceError, match=rf"{count} of the 12 images of .* are not in {photos} any.*the option yes"):
        refreshed(photos, job)
    assert sorted(path for path in job.path.rglob("*")) == before
    assert str(refreshed(photos, job, yes=True)) == f"1 new, {count} gone"
    assert held(job) == of_now(photos, tmp_path / "other")


def test_a_fifth_may_go_without_a_question(photos: Path, job: OpenJob) -> None:
    for path in sorted(photos.rglob("*.png"))[:2]:
        path.unlink()
    assert str(refreshed(photos, job)) == "2 gone"


def test_files_that_can_not_be_looked_at_are_not_taken_for_gone(
    photos: Path, job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstat = os.lstat

    def refused(path: str) -> os.stat_result:
        if "/a/" in path:
            raise PermissionError(13, "Permission denied")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", refused)
    found = refreshed(photos, job)
    assert str(found) == ""
    assert found.notes == [f"4 images can't be looked at, such as {photos}/a/00.png: they stay as they are."]


def test_what_is_there_and_would_not_be_listed_today_stays(photos: Path, job: OpenJob) -> None:
    (photos / "a" / "00.png").unlink()
    (photos / "a" / "00.png").mkdir()
    assert str(refreshed(photos, job)) == ""


def test_a_failed_image_is_a_new_one_once_its_file_changed(photos: Path, tmp_path: Path) -> None:
    bad = photos / "a" / "00.png"
    bad.write_bytes(b"no image")
    job = sealed(str(photos), JobDir(tmp_path / "job"))
    assert (len(held(job)), str(refreshed(photos, job))) == (11, "")
    tile(bad, 30)
    assert str(refreshed(photos, job)) == "1 changed"
    assert str(refreshed(photos, job)) == ""
    assert open_job(job).state.removed.tolist() == [0]
    assert held(job) == of_now(photos, tmp_path / "other")


def test_a_failed_image_is_no_new_one_because_a_compaction_joined_it_with_older_ones(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "a" / "00.png").unlink()
    (photos / "c" / "11.png").write_bytes(b"no image")
    job = sealed(str(photos), JobDir(tmp_path / "job"))
    for number in (20, 21):  # The second compaction joins what the first one joined.
        (photos / "b" / f"{number}.png").write_bytes(b"no image either")
        assert str(refreshed(photos, job)) == "1 new"
        assert compact(job, Bounds(), lambda event: None).made == 1
        assert str(refreshed(photos, job)) == ""
    tile(photos / "b" / "20.png", 21)
    assert str(refreshed(photos, job)) == "1 changed"
    assert held(job) == of_now(photos, tmp_path / "other")


def a_list(folder: Path, *numbers: int) -> Path:
    """A list of photos, in this order."""
    path = folder / "list.csv"
    rows = [f"photos/{'abc'[number % 3]}/{number:02d}.png,{number}" for number in numbers]
    path.write_text("\n".join(["image_path,stars", *rows]) + "\n")
    return path


def test_a_list_that_differs_adds_and_removes_what_it_names(photos: Path, tmp_path: Path) -> None:
    path = a_list(tmp_path, *range(10))
    job = sealed(str(path), JobDir(tmp_path / "job"))
    assert str(refreshed(a_list(tmp_path, *reversed(range(10))), job)) == ""
    a_list(tmp_path, *range(1, 12))
    made(str(path), job)
    assert str(refreshed(path, job)) == "2 new, 1 gone"
    assert held(job) == of_now(path, tmp_path / "other")
    partition = open_job(job).partitions[-1]
    assert pq.read_table(job.metadata(partition.number))["stars"].to_pylist() == [10, 11]
    (photos / "b" / "01.png").rename(photos / "b" / "13.png")
    a_list(tmp_path, *range(2, 12), 13)
    assert str(refreshed(path, job)) == "1 renamed"
    assert held(job) == of_now(path, tmp_path / "other")
    a_list(tmp_path, *range(1, 12))
    (photos / "b" / "13.png").rename(photos / "b" / "01.png")
    assert str(refreshed(path, job)) == ""
    assert held(job) == of_now(path, tmp_path / "other")


def test_a_list_on_standard_input_is_read_as_often_as_need_be(photos: Path, tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(photos.rglob("*.png"))]
    job = JobDir(tmp_path / "job")
    listed = io.BytesIO("\n".join(paths[:10]).encode())
    make_or_open("-", job, Settings(partition_size=5, chunk_size=2), lambda count: None, stdin=listed)
    embedded(job)
    now = io.BytesIO("\n".join(paths[1:]).encode())
    make_or_open("-", job, Settings(), lambda count: None, stdin=now)
    assert str(refreshed("-", job, stdin=now)) == "2 new, 1 gone"
    assert list(held(job)) == paths[1:]


def write_tar(path: Path, images: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in images.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_zip(path: Path, images: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in images.items():
            file.writestr(name, data)


def write_parquet(path: Path, images: dict[str, bytes]) -> None:
    pq.write_table(pa.table({"image": pa.array(images.values(), pa.binary())}), path)


WRITERS = {".tar": write_tar, ".zip": write_zip, ".parquet": write_parquet}


def some(*seeds: int) -> dict[str, bytes]:
    return {f"{number}.png": png(seed) for number, seed in enumerate(seeds)}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, suffix in enumerate(WRITERS):
        WRITERS[suffix](folder / f"x{suffix}", some(*range(number * 4, number * 4 + 4)))
    return folder


@pytest.mark.parametrize("suffix", WRITERS)
def test_archives_that_came_went_and_are_under_other_names(shards: Path, tmp_path: Path, suffix: str) -> None:
    job = sealed(str(shards), JobDir(tmp_path / "job"))
    assert str(refreshed(shards, job)) == ""
    WRITERS[suffix](shards / f"new{suffix}", some(20, 21))
    assert str(refreshed(shards, job)) == "2 new"
    (shards / f"new{suffix}").unlink()
    (shards / f"x{suffix}").rename(shards / f"y{suffix}")
    assert str(refreshed(shards, job)) == "2 gone, 4 renamed"
    assert held(job) == of_now(shards, tmp_path / "other")
    assert str(refreshed(shards, job)) == ""
    assert wrong(job) == []


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("whole", [False, True], ids=["in a folder", "alone"])
def test_an_archive_that_changed_is_compared_image_by_image(
    shards: Path, tmp_path: Path, suffix: str, whole: bool
) -> None:
    source = shards / f"x{suffix}" if whole else shards
    job = sealed(str(source), JobDir(tmp_path / "job"))
    assert str(refreshed(source, job)) == ""
    first = "048"[list(WRITERS).index(suffix)]
    images = some(*range(int(first), int(first) + 4), 30, 31)
    WRITERS[suffix](shards / f"x{suffix}", images)
    assert str(refreshed(source, job)) == "2 new"
    assert held(job) == of_now(source, tmp_path / "other")
    assert str(refreshed(source, job)) == ""
    images["5.png"] = png(31)[::-1]
    WRITERS[suffix](shards / f"x{suffix}", images)
    assert str(refreshed(source, job)) == "1 changed"
    assert held(job) == of_now(source, tmp_path / "other")
    del images["5.png"]
    WRITERS[suffix](shards / f"x{suffix}", images)
    assert str(refreshed(source, job)) == "1 gone"
    assert held(job) == of_now(source, tmp_path / "other")
    del images["4.png"]
    WRITERS[suffix](shards / f"x{suffix}", images)
    assert str(refreshed(source, job)) == "1 gone"
    assert held(job) == of_now(source, tmp_path / "other")


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_image_deleted_out_of_an_archive_stays_out_when_that_is_written_again(
    shards: Path, tmp_path: Path, suffix: str
) -> None:
    job = sealed(str(shards), JobDir(tmp_path / "job"))
    path = next(path for path in held(job) if f"x{suffix}::" in path)
    remove(job, Asked(images=[path]), lambda event: None)
    assert str(refreshed(shards, job)) == ""
    first = "048"[list(WRITERS).index(suffix)]
    WRITERS[suffix](shards / f"x{suffix}", some(*range(int(first), int(first) + 4), 30))
    found = refreshed(shards, job)
    assert (str(found), len(found.notes)) == ("1 new", 1)
    assert held(job).keys() == of_now(shards, tmp_path / "other").keys() - {path}
    WRITERS[suffix](shards / f"x{suffix}", some(31))
    assert str(refreshed(shards, job, yes=True)) == "1 new, 4 gone"


def test_an_archive_that_can_not_be_read_is_named_and_nothing_changes(shards: Path, tmp_path: Path) -> None:
    job = sealed(str(shards), JobDir(tmp_path / "job"))
    (shards / "x.zip").write_bytes((shards / "x.zip").read_bytes()[:-10])
    tile(shards / "new.png", 40)
    with pytest.raises(SourceError, match=rf"{shards}/x\.zip"):
        refreshed(shards, job)
    assert (job.change_numbers(), job.paths_numbers()) == ([], [0, 1, 2])


def test_what_the_job_has_no_column_for_is_said_and_left_out(photos: Path, tmp_path: Path) -> None:
    path = a_list(tmp_path, *range(10))
    job = sealed(str(path), JobDir(tmp_path / "job"))
    rows = [
        line + (",x" if at else ",mood") for at, line in enumerate(a_list(tmp_path, *range(12)).read_text().split())
    ]
    path.write_text("\n".join(rows).replace("11.png,11", "11.png,many") + "\n")
    found = refreshed(path, job)
    assert str(found) == "2 new"
    assert found.notes == [
        "not taken up: 1 value of the column stars, which holds int64; "
        "2 values of a column mood that the job does not have"
    ]
    assert pq.read_table(job.metadata(2))["stars"].to_pylist() == [10, None]


def test_a_refresh_that_is_killed_at_any_step_leaves_the_state_before_or_after(
    photos: Path, job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(job)
    for number in range(20, 27):
        tile(photos / "b" / f"{number}.png", number)
    tile(photos / "c" / "02.png", 100)
    (photos / "a" / "03.png").unlink()
    (photos / "a" / "00.png").rename(photos / "a" / "first.png")
    after, ended = of_now(photos, tmp_path / "other"), 0
    renamed = {path.replace("a/00", "a/first"): vector for path, vector in before.items()}
    for kill in range(100):
        again = open_job(JobDir(shutil.copytree(job.path, tmp_path / f"job-{kill}")))
        with killed_at(kill, monkeypatch):
            try:
                refresh.refresh(str(photos), again, lambda count: None)
                ended = kill
            except Killed:
                pass
        now = open_job(again)
        assert now.state.number in (0, 1)
        if now.state.number == 0:
            assert held(again) in (before, renamed)
            assert embedded(again).partition_count == 3  # What was written for a change to come is no partition.
            refresh.refresh(str(photos), again, lambda count: None)
        embedded(again)
        assert held(again) == after
        assert wrong(again) == []
        if ended:
            break
    assert ended > 8


def test_two_that_refresh_at_once_are_told_apart(photos: Path, job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    tile(photos / "new.png", 20)
    with changing(job), pytest.raises(JobBusy, match="is changing"):
        refresh.refresh(str(photos), job, lambda count: None)

    # Without locks, the one that comes later finds the change of the other, and touches none of its files.
    def overtaken(*arguments: Any) -> None:
        write_path_list(*arguments)
        files.write_bytes(job.change(1), b"{}\n")

    monkeypatch.setattr(refresh, "write_path_list", overtaken)
    with pytest.raises(JobBusy, match="as its change 1: nothing of this one was done"):
        refresh.refresh(str(photos), job, lambda count: None)
    assert job.paths(3).is_file()


def test_a_job_in_a_store_is_refreshed_as_one_on_a_disk(photos: Path, tmp_path: Path) -> None:
    job = sealed(str(photos), JobDir.at("memory://bucket-of-refreshes/job"))
    tile(photos / "new.png", 20)
    (photos / "a" / "00.png").unlink()
    assert str(refreshed(photos, job)) == "1 new, 1 gone"
    assert open_job(job).state.removed.tolist() == [0]
    assert len(open_job(job).kept(open_job(job).partition(0))) == 4
    assert job.sealed_numbers() == [0, 1, 2, 3]
    assert str(refreshed(photos, job)) == ""


def test_a_damaged_path_list_of_what_came_later_is_written_anew_from_its_seal(photos: Path, job: OpenJob) -> None:
    tile(photos / "new.png", 20)
    refreshed(photos, job)
    whole = job.paths(3).read_bytes()
    job.paths(3).unlink()
    (outcome,) = (one for one in repair(job, Checked()) if one.finding.relist is not None)
    assert (outcome.finding.relist, outcome.mended) == (3, True)
    assert job.paths(3).read_bytes() == whole
    assert wrong(job) == []


def test_a_damaged_path_list_of_what_is_not_sealed_yet_is_restored_from_a_copy(photos: Path, job: OpenJob) -> None:
    tile(photos / "new.png", 20)
    refresh.refresh(str(photos), job, lambda count: None)
    job.paths(3).unlink()
    (outcome,) = (one for one in repair(job, Checked()) if one.finding.relist is not None)
    assert not outcome.mended
    assert "came to the source after the job was made" in outcome.done


def added(job: JobDir, *paths: Path) -> None:
    """Add images to a job by their names, as `lookalike add` does, with embeddings that are made up."""
    data = [path.read_bytes() for path in paths]
    facts = {
        "width": pa.array([8] * len(data), pa.int32()),
        "height": pa.array([8] * len(data), pa.int32()),
        "bytes": pa.array([len(one) for one in data], pa.int64()),
        "sha256": pa.array([hashlib.sha256(one).hexdigest() for one in data]),
    }
    embeddings = np.eye(len(data), 12, dtype=np.float16)
    with changing(job) as opened:
        listed = require_new(opened, [str(path) for path in paths])
        add_partitions(opened, "add", NewRows(listed, pa.table(facts), embeddings, seconds=60).partitions(opened))


@pytest.mark.parametrize("kind", ["folder", "glob", "list"])
def test_what_was_added_by_its_name_and_is_not_in_the_source_is_left_alone(
    photos: Path, tmp_path: Path, kind: str
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, sorted(photos.rglob("*.png")))))
    source = {"folder": str(photos), "glob": f"{photos}/**/*.png", "list": str(listed)}[kind]
    job = sealed(source, JobDir(tmp_path / "job"))
    outside = [tile(tmp_path / "more" / f"{number}.png", number) for number in range(30, 33)]
    added(job, *outside)
    assert str(refreshed(source, job)) == ""
    outside[0].unlink()
    tile(outside[1], 99)
    new = tile(photos / "new.png", 20)
    listed.write_text(f"{listed.read_text()}\n{new}")
    assert str(refreshed(source, job)) == "1 new"
    assert [path for path in held(job) if "/more/" in path] == [str(path) for path in outside]
    assert str(refreshed(source, job)) == ""


def test_what_was_added_out_of_the_folder_is_not_new_again_and_goes_with_it(photos: Path, job: OpenJob) -> None:
    inside = [tile(photos / "b" / f"{number}.png", number) for number in range(30, 33)]
    added(job, *inside)
    assert str(refreshed(photos, job)) == ""
    tile(inside[0], 99)
    later(inside[0])
    inside[1].unlink()
    assert str(refreshed(photos, job)) == "1 changed, 1 gone"
    assert sorted(path for path in held(job) if "/3" in path) == [str(inside[0]), str(inside[2])]
    assert str(refreshed(photos, job)) == ""


def test_what_was_added_and_is_in_the_list_later_is_not_new_nor_gone_with_it(photos: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    names = "\n".join(map(str, sorted(photos.rglob("*.png"))))
    listed.write_text(names)
    job = sealed(str(listed), JobDir(tmp_path / "job"))
    one = tile(tmp_path / "more" / "30.png", 30)
    added(job, one)
    listed.write_text(f"{names}\n{one}")
    assert str(refreshed(listed, job)) == ""
    listed.write_text(names)
    assert str(refreshed(listed, job)) == ""


def test_an_image_that_was_added_after_its_source_moved_is_found_where_it_is(photos: Path, job: OpenJob) -> None:
    there = photos.rename(photos.parent / "there")
    move(str(there), job, lambda count: None)
    new, old = tile(there / "new.png", 30), tile(photos / "a" / "00.png", 31)
    added(job, new)
    assert str(new) in held(job)
    assert str(refreshed(there, job)) == ""
    with pytest.raises(JobError, match="since its source moved, the job has other images under that name"):
        added(job, old)


def test_a_killed_addition_is_not_taken_for_what_a_refresh_adds(
    photos: Path, job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("shared.job.changes.adding.write_change", killed)
        patch.setattr("shared.job.changes.adding.take_back", lambda *arguments: None)
        with pytest.raises(Killed):
            added(job, tile(tmp_path / "more" / "30.png", 30))
    assert ledger.is_sealed(job, 3)
    tile(photos / "new.png", 20)
    assert str(refreshed(photos, job)) == "1 new"
    assert held(job) == of_now(photos, tmp_path / "other")
    assert wrong(job) == []


def test_an_archive_of_which_an_image_was_added_is_listed_for_the_others(photos: Path, job: OpenJob) -> None:
    with tarfile.open(photos / "new.tar", "w") as tar:
        for number in range(30, 34):
            tar.add(tile(photos.parent / "more" / f"{number}.png", number), f"{number}.png")
    archive, data = photos / "new.tar", png(30)
    with changing(job) as opened:
        facts = {
            "width": pa.array([8], pa.int32()),
            "height": pa.array([8], pa.int32()),
            "bytes": pa.array([len(data)], pa.int64()),
            "sha256": pa.array([hashlib.sha256(data).hexdigest()]),
        }
        listed = require_new(opened, [f"{archive}::30.png"])
        rows = NewRows(listed, pa.table(facts), np.eye(1, 12, dtype=np.float16))
        add_partitions(opened, "add", rows.partitions(opened))
    assert str(refreshed(photos, job)) == "3 new"
    assert sorted(path for path in held(job) if "new.tar" in path) == [f"{archive}::{n}.png" for n in range(30, 34)]
    assert str(refreshed(photos, job)) == ""


def test_images_that_a_job_in_its_own_source_holds_are_not_listed(photos: Path, tmp_path: Path) -> None:
    job = sealed(str(photos), JobDir(photos / "job"))
    digest = hashlib.sha256(png(50)).hexdigest()
    tile(job.added(digest, "mine.png"), 50)
    with changing(job) as opened:
        facts = {"width": pa.array([8], pa.int32()), "height": pa.array([8], pa.int32())}
        facts |= {"bytes": pa.array([len(png(50))], pa.int64()), "sha256": pa.array([digest])}
        rows = NewRows([stored_path(digest, "mine.png")], pa.table(facts), np.eye(1, 12, dtype=np.float16))
        add_partitions(opened, "add", rows.partitions(opened))
    assert str(refreshed(photos, job)) == ""
    there = photos.rename(tmp_path / "there")
    moved = JobDir(there / "job")
    move(str(there), moved, lambda count: None)
    assert str(refreshed(there, moved)) == ""
    assert str(moved.added(digest, "mine.png")) in held(moved)
    assert wrong(moved) == []
