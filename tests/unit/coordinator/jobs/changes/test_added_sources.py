"""A job of several sources: how one is added, what is judged for each alone, and what is one image in two of them."""

import hashlib
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.changes.refresh import add_source, refresh
from coordinator.jobs.changes.refreshed import Refreshed
from coordinator.jobs.changes.removal import Asked, remove
from coordinator.jobs.create import make_or_open
from coordinator.jobs.source.move import move
from coordinator.jobs.source.same import require_same, source_meant
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.resolve import open_source
from shared.errors import JobBusy, JobMismatch, SourceError
from shared.job.changes.adding import NewRows, add_partitions, require_new
from shared.job.changes.lock import changing
from shared.job.changes.log import ADD, Change, read_change, write_change
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.partition.checkpoint import ImageRow
from shared.job.source.moved import read_moved
from shared.settings import Settings
from tests.support.changed_jobs import embedded, held, wrong
from tests.support.images.forms import write_tar
from tests.support.images.tiles import png, tile
from tests.support.kills import Killed, killed_at
from tests.support.source_jobs import SETTINGS, sealed
from workers.images.reach import require_source

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven photos, two of them in a folder `new`."""
    for number in range(7):
        tile(tmp_path / "photos" / ("new" if number > 4 else "") / f"{number:02d}.png", number)
    return tmp_path / "photos"


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Six other photos."""
    for number in range(20, 26):
        tile(tmp_path / "more" / f"{number:02d}.png", number)
    return tmp_path / "more"


@pytest.fixture
def job(tmp_path: Path, photos: Path) -> OpenJob:
    """The job of the photos, sealed, in partitions of five."""
    return sealed(str(photos), JobDir(tmp_path / "job"))


def added(source: Path | str, job: JobDir, choice: Choice = EVERYTHING) -> Refreshed:
    """Add a source to a job, and embed what came."""
    found = add_source(str(source), job, choice, lambda count: None)
    embedded(job)
    return found


def refreshed(job: JobDir, number: int, *, yes: bool = False) -> Refreshed:
    """Refresh a source of a job from where it is known to be, and embed what came."""
    found = refresh(None, job, lambda count: None, number=number, yes=yes)
    embedded(job)
    return found


def below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.png"))


def test_an_added_source_is_one_change_and_each_is_refreshed_by_itself(photos: Path, more: Path, job: OpenJob) -> None:
    assert str(added(more, job)) == "6 new"
    change = read_change(job, 1)
    assert (change.action, [len(one) for one in change.partitions]) == ("add source", [5, 1])
    opened = open_job(job)
    assert [source.location for source in opened.sources] == [str(photos), str(more)]
    assert [opened.source_of(image_id).location for image_id in (0, 6, 7, 12)] == [str(photos)] * 2 + [str(more)] * 2
    assert sorted(held(job)) == below(photos) + below(more) or sorted(held(job)) == below(more) + below(photos)
    assert (str(refreshed(job, 0)), str(refreshed(job, 1))) == ("", "")
    tile(photos / "30.png", 30)
    tile(more / "31.png", 31)
    (photos / "00.png").unlink()
    (more / "20.png").unlink()
    assert str(refreshed(job, 1)) == "1 new, 1 gone"
    assert (read_change(job, 2).source, read_change(job, 2).adds) == (1, None)
    assert str(refreshed(job, 0)) == "1 new, 1 gone"
    assert sorted(held(job)) == sorted(below(photos) + below(more))
    assert [open_job(job).state.source_of(image_id) for image_id in (6, 7, 13, 14)] == [0, 1, 1, 0]
    assert wrong(job) == []
    # An image of the first source that was seen later, in a partition of its own, is judged with it.
    (photos / "30.png").unlink()
    assert (str(refreshed(job, 1)), str(refreshed(job, 0))) == ("", "1 gone")


def test_a_kill_at_any_step_leaves_the_job_without_the_source_or_with_it(
    photos: Path, more: Path, job: OpenJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, ended = held(job), 0
    for kill in range(100):
        again = JobDir(shutil.copytree(job.path, tmp_path / f"job-{kill}"))
        with killed_at(kill, monkeypatch):
            try:
                add_source(str(more), again, EVERYTHING, lambda count: None)
                ended = kill
            except Killed:
                pass
        if open_job(again).state.number == 0:
            assert held(again) == before
            assert embedded(again).partition_count == 2
            add_source(str(more), again, EVERYTHING, lambda count: None)
        embedded(again)
        assert sorted(held(again)) == sorted(below(photos) + below(more))
        assert wrong(again) == []
        if ended:
            break
    assert ended > 4


def test_an_image_in_two_sources_is_one_and_that_of_the_source_that_had_it(
    photos: Path, more: Path, job: OpenJob, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=r"new has no image for .* not there already.*: 2 images are in another sour"):
        added(photos / "new", job)
    assert job.change_numbers() == []
    names = tmp_path / "list.txt"
    names.write_text(f"photos/00.png\nmore/20.png\n{more}/21.png\n")
    found = added(names, job)
    assert (str(found), found.elsewhere) == ("2 new", 1)
    assert found.notes == ["1 image is in another source of the job already, and there only once"]
    tile(photos / "new" / "40.png", 40)
    # The list has the image first that came to a folder, and lets go of it.
    names.write_text(f"{names.read_text()}photos/new/40.png\n")
    assert str(refreshed(job, 1)) == "1 new"
    found = refreshed(job, 0)
    assert (str(found), found.elsewhere) == ("", 1)
    names.write_text("photos/00.png\nmore/20.png\nmore/21.png\n")
    assert str(refresh(None, job, lambda count: None, number=1, yes=True)) == "1 gone"
    assert str(refreshed(job, 0)) == "1 new"
    assert sorted(held(job)) == sorted([*below(photos), str(more / "20.png"), str(more / "21.png")])
    # A file that changed is judged by the source that has it.
    tile(photos / "00.png", 41)
    assert (str(refreshed(job, 1)), str(refreshed(job, 0))) == ("", "1 changed")


def test_images_that_were_added_by_name_or_deleted_are_judged_in_each_source_that_has_them(
    photos: Path, more: Path, job: OpenJob, tmp_path: Path
) -> None:
    mine, other = more / "20.png", tile(tmp_path / "elsewhere" / "40.png", 40)
    with changing(job) as opened:
        listed = require_new(opened, [str(mine), str(other)])
        data = [path.read_bytes() for path in (mine, other)]
        facts = {"width": pa.array([8] * 2, pa.int32()), "height": pa.array([8] * 2, pa.int32())}
        facts |= {"bytes": pa.array([len(some) for some in data])}
        facts |= {"sha256": pa.array([hashlib.sha256(some).hexdigest() for some in data])}
        rows = NewRows(listed, pa.table(facts), np.eye(2, 12, dtype=np.float16))
        add_partitions(opened, ADD, rows.partitions(opened))
    remove(job, Asked(images=[str(photos / "new" / "05.png")]), lambda event: None)
    assert str(refreshed(job, 0)) == ""
    assert str(added(more, job)) == "5 new"
    with pytest.raises(SourceError, match="no image for"):
        added(photos / "new", job)
    assert sorted(held(job)) == sorted({*below(photos), *below(more), str(other)} - {str(photos / "new" / "05.png")})
    other.unlink()
    mine.unlink()
    assert (str(refreshed(job, 0)), str(refreshed(job, 1))) == ("", "1 gone")
    assert str(other) in held(job)
    assert wrong(job) == []


def test_an_archive_is_that_of_one_source(tmp_path: Path, photos: Path, job: OpenJob) -> None:
    tar = photos / "x.tar"
    write_tar(tar, {"a.png": png(50), "b.png": png(51)})
    names = tmp_path / "list.txt"
    names.write_text(f"{tar}::a.png\n")
    assert str(added(names, job)) == "1 new"
    found = refreshed(job, 0)
    assert (str(found), found.notes) == ("", ["1 archive is in another source of the job already, and there only once"])
    write_tar(tar, {"z.png": png(52), "a.png": png(50), "b.png": png(51)})
    assert str(refreshed(job, 0)) == ""
    assert str(refreshed(job, 1)) == ""
    names.write_text("photos/00.png\n")
    with pytest.raises(SourceError, match=rf"1 of the 1 images that .* are not in {names} any.*indexing {names}"):
        refreshed(job, 1)
    assert str(refreshed(job, 1, yes=True)) == "1 gone"
    assert str(refreshed(job, 0)) == "3 new"


def test_more_than_a_fifth_gone_is_asked_about_for_each_source(photos: Path, more: Path, job: OpenJob) -> None:
    added(more, job)
    for name in ("20.png", "21.png"):
        (more / name).unlink()
    with pytest.raises(SourceError, match=rf"2 of the 6 images that .* has from there are not in {more}"):
        refreshed(job, 1)
    assert (str(refreshed(job, 0)), str(refreshed(job, 1, yes=True))) == ("", "2 gone")
    shutil.rmtree(more)
    away = rf"{more}, a source of {job.path}, is not there.* If it moved, indexing NEWPLACE with moved"
    with pytest.raises(SourceError, match=away):
        refreshed(job, 1)


def test_a_worker_looks_for_lost_images_in_the_source_that_they_were_listed_in(more: Path, job: OpenJob) -> None:
    added(more, job)
    lost = more / "20.png"
    row = ImageRow(7, str(lost), None, None, None, None, "vanished", "gone")
    shutil.rmtree(more)
    more.mkdir()
    with pytest.raises(SourceError, match=f"folder {more} is out of reach"):
        require_source(open_job(job), [row])
    (more / "21.png").touch()
    require_source(open_job(job), [row])


def test_each_source_keeps_its_patterns_and_its_columns_are_those_of_the_job(tmp_path: Path, photos: Path) -> None:
    names = tmp_path / "list.csv"
    names.write_text("image_path,stars\nphotos/00.png,1\nphotos/01.png,2\n")
    job = sealed(str(names), JobDir(tmp_path / "job"))
    other = tmp_path / "other.csv"
    other.write_text("image_path,stars,mood\nphotos/02.png,3,x\nphotos/03.png,many,y\n")
    found = added(other, job)
    assert found.notes == [
        "not taken up: 1 value of the column stars, which holds int64; "
        "2 values of a column mood that the job does not have"
    ]
    assert pq.read_table(job.metadata(1))["stars"].to_pylist() == [3, None]
    assert str(added(photos, job, Choice(exclude=("06.png",)))) == "2 new"
    source = open_job(job).sources[2]
    assert (source.exclude, source.left_out) == (["06.png"], {"excluded by 06.png": 1})
    tile(photos / "new" / "60.png", 60)
    assert str(refreshed(job, 2)) == "1 new"
    assert f"{photos}/new/06.png" not in held(job)
    with pytest.raises(JobMismatch, match=r"were listed with exclude '?06.png'?, not with exclude"):
        require_same(str(photos), open_job(job), Settings(), Choice(exclude=("07.png",)), None, None)


def test_what_is_added_already_or_can_not_be_is_refused_and_nothing_changes(
    photos: Path, more: Path, job: OpenJob, tmp_path: Path
) -> None:
    added(more, job)
    for source in (photos, more):
        with pytest.raises(JobMismatch, match=f"has the folder {source} as a source already"):
            added(source, job)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty holds no images"):
        added(tmp_path / "empty", job)
    frozen = make_or_open(str(photos), JobDir(tmp_path / "frozen"), SETTINGS, lambda count: None, frozen=True)
    with pytest.raises(JobMismatch, match="made as a job that takes up nothing, and no source can be added to it"):
        added(more, frozen)
    assert (job.change_numbers(), frozen.change_numbers()) == ([1], [])
    add_source("-", job, EVERYTHING, lambda count: None, io.BytesIO(f"{tile(tmp_path / 'a.png', 70)}\n".encode()))
    with pytest.raises(JobMismatch, match=r"a list on standard input as a source already.*save the list as a file"):
        add_source("-", job, EVERYTHING, lambda count: None, io.BytesIO(b"b.png\n"))


def test_the_source_that_is_meant_is_found_by_its_place(photos: Path, more: Path, job: OpenJob, tmp_path: Path) -> None:
    added(more, job)
    names = tmp_path / "list.txt"
    for number in (80, 81):
        tile(tmp_path / "c" / f"{number}.png", number)
    names.write_text("c/80.png\n")
    added(names, job)
    for number, source in enumerate((photos, more, names)):
        require_same(str(source), open_job(job), Settings(), EVERYTHING, None, None)
        assert source_meant(open_source(str(source)), open_job(job)) == number
    elsewhere = names.rename(tmp_path / "renamed.txt")
    assert source_meant(open_source(str(elsewhere)), open_job(job)) == 2
    with pytest.raises(JobMismatch, match=rf"has the sources the folder {photos}, the folder {more}, the list .* and "):
        require_same(str(tmp_path / "c"), open_job(job), Settings(), EVERYTHING, None, None)
    other = tmp_path / "other.txt"
    other.write_text("c/81.png\n")
    added(other, job)
    # One of two lists that is elsewhere could be taken for the other one.
    with pytest.raises(JobMismatch, match="is none of them: name one of these"):
        require_same(str(elsewhere), open_job(job), Settings(), EVERYTHING, None, None)


def test_each_source_may_move_and_takes_what_came_there(photos: Path, more: Path, job: OpenJob, tmp_path: Path) -> None:
    added(more, job)
    there = more.rename(tmp_path / "there")
    (there / "20.png").rename(there / "first.png")
    assert move(str(there), job, lambda count: None)
    away = photos.rename(tmp_path / "away")
    (away / "new" / "05.png").rename(away / "05.png")
    tile(there / "90.png", 90)
    assert str(refreshed(job, 1)) == "1 new"
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SourceError, match=r"elsewhere is not what .* was made of"):
        move(str(tmp_path / "elsewhere"), job, lambda count: None)
    assert move(str(away), job, lambda count: None)
    assert sorted(held(job)) == sorted(below(away) + below(there))
    assert sorted(read_moved(job).places) == sorted([(str(photos), str(away)), (str(more), str(there))])
    tile(away / "91.png", 91)
    assert (str(refreshed(job, 0)), str(refreshed(job, 1))) == ("1 new", "")
    assert not move(str(there), job, lambda count: None)
    there.rename(more)
    assert move(str(more), job, lambda count: None)
    away.rename(photos)
    assert move(str(photos), job, lambda count: None)
    assert (str(refreshed(job, 0)), str(refreshed(job, 1))) == ("", "")
    assert sorted(held(job)) == sorted(below(photos) + below(more))
    assert wrong(job) == []


def test_what_comes_to_the_place_that_a_source_left_is_not_mixed_with_it(
    photos: Path, more: Path, job: OpenJob, tmp_path: Path
) -> None:
    added(more, job)
    there = photos.rename(tmp_path / "there")
    move(str(there), job, lambda count: None)
    tile(photos / "00.png", 95)
    with pytest.raises(SourceError, match="1 images where the job has others, since its source moved"):
        added(f"{photos}/*.png", job)
    assert sorted(held(job)) == sorted(below(there) + below(more))


def test_a_change_of_a_source_that_the_job_does_not_have_is_damage(more: Path, job: OpenJob) -> None:
    added(more, job)
    write_change(job, job.manifest, Change(2, "refresh", source=2))
    assert any("is of source 2, and the job has 0 to 1" in finding.wrong for finding in verify(job, Checked()))


def test_other_paths_than_were_added_are_found_by_their_digest(more: Path, job: OpenJob) -> None:
    added(more, job)
    whole = job.paths(3).read_bytes()
    assert wrong(job) == []
    table = pq.read_table(job.paths(3))
    pq.write_table(table.set_column(1, "image_path", [["/other.png"]]), job.paths(3))
    assert any(f"the change that added {more} has" in finding for finding in wrong(job))
    job.paths(3).write_bytes(whole)
    assert wrong(job) == []


def test_an_added_source_waits_for_the_lock(more: Path, job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def overtaken(source: str, target: str, **options: object) -> None:
        if Path(target) == job.change(1):
            Path(target).write_text("{}\n")
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(JobBusy, match="as its change 1: nothing of this one was done"):
        add_source(str(more), job, EVERYTHING, lambda count: None)
