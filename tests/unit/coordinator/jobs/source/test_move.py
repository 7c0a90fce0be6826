"""`index NEWPLACE JOB --moved`: images that are elsewhere now are found there, and none is embedded again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from coordinator.jobs.retry import take_back
from coordinator.jobs.source.changes import since_listed
from coordinator.jobs.source.move import move
from shared.errors import CorruptFile, JobMismatch, JobNotFound, SourceError
from shared.images.location import read_bytes
from shared.images.paths import to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.processes.control import Stopped
from shared.settings import Settings
from shared.storage import files
from tests.support.cli import Run
from tests.support.controls import UNWATCHED
from tests.support.embedders import AnyModel, embed, no_after, yes
from tests.support.images.forms import CONTENTS, FORMS, NAMES, half, write_folder, write_tar, write_zip
from tests.support.source_jobs import made, sealed
from workers.evaluate.altered_copies import drawn, sealed_whole
from workers.merge.build import merge
from workers.search.pool import SearcherPool

pytestmark = pytest.mark.slow


def moved(source: Path | str, job: JobDir) -> bool:
    return move(str(source), job, lambda count: None)


def embedded_now(job: JobDir) -> int:
    """Embed and seal what is not sealed; how many images went through the model."""
    job = open_job(job)
    model = AnyModel(job.manifest)
    for partition in job.partitions:
        embed(job, partition.number, embedder=model)
    return sum(model.batches)


def state(job: JobDir) -> dict[str, tuple[int, bytes]]:
    """Every file of a job that says what it holds, with its time of change and bytes."""
    return {
        str(path.relative_to(job.path)): (path.stat().st_mtime_ns, path.read_bytes())
        for path, _ in job.files()
        if path not in (job.moved, job.looked_at)
    }


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    """The sealed job of a folder `photos`."""
    job = JobDir(tmp_path / "job")
    sealed(str(write_folder(tmp_path / "photos")), job)
    return job


@pytest.mark.parametrize("name", sorted(FORMS))
def test_each_form_of_a_source_is_found_where_it_moved_to_or_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "old").mkdir()
    job = JobDir(tmp_path / "job")
    form = FORMS[name](tmp_path / "old")
    job = sealed(form.source, job)
    before = state(job)
    listed = [path for partition in job.partitions for path in path_list.read_paths(job, partition)]
    (tmp_path / "old").rename(tmp_path / "new place")
    source = form.source.replace(str(tmp_path / "old"), str(tmp_path / "new place"))
    if job.manifest.source.kind == "list":
        with pytest.raises(JobMismatch, match="a list names each of its files: make another JOB"):
            moved(source, job)
        return
    there = r"If its images moved there, add the option moved; to have it in this job too, add the option add\."
    with pytest.raises(JobMismatch, match=rf"name another JOB.* {there}"):
        made(source, job)
    assert moved(source, job)
    assert made(source, job).manifest == job.manifest
    assert embedded_now(job) == 0
    assert state(job) == before
    places = [place for partition in job.partitions for place in path_list.read_locations(job, partition)]
    assert [path_list.read_location(job, job.partition_of(one), one) for one in range(job.listed)] == places
    assert [place.path for place in places] == listed
    for place, image in zip(places, NAMES, strict=True):
        assert place.place == place.path.replace(f"{tmp_path}/old", f"{tmp_path}/new place")
        assert read_bytes(place.place, 10**6, place.member) == CONTENTS[image]
    assert since_listed(source, job) == []


@pytest.mark.parametrize("typed", ["{}", "{}/**/*.*"], ids=["folder", "glob"])
@pytest.mark.parametrize("odd", ["plain", "umläut", "line\nend", os.fsdecode(b"no\xffutf-8")])
def test_odd_names_of_folders_and_files_are_found_where_they_moved_to(tmp_path: Path, odd: str, typed: str) -> None:
    old, new = tmp_path / "old" / odd, tmp_path / f"new {odd}"
    write_folder(old)
    (old / f"z{odd}.jpg").write_bytes(CONTENTS[NAMES[0]])
    job = JobDir(tmp_path / "job")
    job = sealed(typed.format(old), job)
    new.parent.mkdir(exist_ok=True)
    old.rename(new)
    assert moved(typed.format(new), job)
    assert made(typed.format(new), job).manifest == job.manifest
    places = [place for partition in job.partitions for place in path_list.read_locations(job, partition)]
    there = {to_text(str(path)) for path in new.rglob("*") if path.is_file()}
    assert len(places) == 13
    assert {place.place for place in places} == there
    assert all(read_moved(job).listed(place.place) == place.path for place in places)


def test_a_source_that_moved_twice_and_back_is_found_each_time(job: JobDir, tmp_path: Path) -> None:
    before = state(job)
    # Also into the folder that it lay in, and one above it.
    for place in ("photos/within", "elsewhere", "photos", "a/b", "a", "photos"):
        now = Path(read_moved(job).now(str(tmp_path / "photos")))
        now.rename(tmp_path / "in hand")
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in hand").rename(tmp_path / place)
        assert moved(tmp_path / place, job)
        assert not moved(tmp_path / place, job), "it is no news any more"
        assert embedded_now(job) == 0
        assert state(job) == before
        one = path_list.read_locations(job, open_job(job).manifest.partition(1))[0]
        assert one.place == one.path.replace("/photos/", f"/{place}/")
    assert not job.moved.exists()


def test_the_old_place_is_refused_once_the_source_moved(job: JobDir, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "photos", tmp_path / "new")
    moved(tmp_path / "new", job)
    with pytest.raises(JobMismatch, match=f"from the folder {tmp_path}/photos, which moved to {tmp_path}/new, not fro"):
        made(str(tmp_path / "photos"), job)


def _gone(folder: Path) -> str:
    (folder / NAMES[4]).unlink()
    return rf"of 12 files that the job has from there, 1 are missing \({folder}/{NAMES[4]}\)"


def _many_gone(folder: Path) -> str:
    for name in NAMES[:5]:
        (folder / name).unlink()
    return rf"5 are missing \({folder}/\S+, {folder}/\S+, {folder}/\S+, …\)\. Nothing was changed"


def _another_size(folder: Path) -> str:
    size = (folder / NAMES[2]).stat().st_size
    with open(folder / NAMES[2], "ab") as file:
        file.write(b"more")
    return f"1 are others \\({folder}/{NAMES[2]} has {size + 4:,} bytes instead of {size:,}\\)"


def _another_content(folder: Path) -> str:
    path = folder / NAMES[2]
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    return f"1 are others \\({path} has as many bytes, but others than those that were embedded\\)"


def _a_folder_of_its_name(folder: Path) -> str:
    (folder / NAMES[3]).unlink()
    (folder / NAMES[3]).mkdir()
    return f"1 are missing \\({folder}/{NAMES[3]}\\)"


def _both(folder: Path) -> str:
    return f"{_gone(folder).split(', ')[1]} and {_another_size(folder)}"


@pytest.mark.parametrize("spoiled", [_gone, _many_gone, _another_size, _another_content, _a_folder_of_its_name, _both])
def test_a_place_that_lacks_an_image_or_has_another_is_refused(
    job: JobDir, tmp_path: Path, spoiled: Callable[[Path], str]
) -> None:
    before = state(job)
    (tmp_path / "photos").rename(tmp_path / "new")
    sentence = spoiled(tmp_path / "new")
    with pytest.raises(SourceError, match=sentence):
        moved(tmp_path / "new", job)
    assert not job.moved.exists()
    assert state(job) == before


def _in_another_folder(folder: Path) -> dict[str, str]:
    (folder / "c" / "d").mkdir(parents=True)
    (folder / NAMES[4]).rename(folder / "c" / "d" / "4.png")
    return {NAMES[4]: "c/d/4.png"}


def _all_of_a_folder(folder: Path) -> dict[str, str]:
    (folder / "a").rename(folder / "2020")
    return {name: name.replace("a/", "2020/") for name in NAMES[:6]}


def _swapped(folder: Path) -> dict[str, str]:
    (folder / NAMES[2]).rename(folder / "x")
    (folder / NAMES[3]).rename(folder / NAMES[2])
    (folder / "x").rename(folder / NAMES[3])
    return {NAMES[2]: NAMES[3], NAMES[3]: NAMES[2]}


def _an_odd_name(folder: Path) -> dict[str, str]:
    (folder / NAMES[0]).rename(folder / "line\nend.png")
    return {NAMES[0]: "line%0Aend.png"}


def _beside_another_of_its_size(folder: Path) -> dict[str, str]:
    data = (folder / NAMES[7]).read_bytes()
    (folder / "0.jpg").write_bytes(data[:-3] + b"xyz")
    (folder / NAMES[7]).rename(folder / "1.jpg")
    return {NAMES[7]: "1.jpg"}


@pytest.mark.parametrize(
    "renamed", [_in_another_folder, _all_of_a_folder, _swapped, _an_odd_name, _beside_another_of_its_size]
)
@pytest.mark.parametrize("stays", [True, False])
def test_files_of_another_name_are_found_by_their_size_and_sha256(
    job: JobDir, tmp_path: Path, renamed: Callable[[Path], dict[str, str]], stays: bool
) -> None:
    before = state(job)
    new = tmp_path / ("photos" if stays else "new")
    (tmp_path / "photos").rename(new)
    names = renamed(new)
    assert moved(new, job)
    assert not moved(new, job)
    assert embedded_now(job) == 0
    assert state(job) == before
    places = [one for partition in load_manifest(job).partitions for one in path_list.read_locations(job, partition)]
    contents = [read_bytes(one.place, 10**6) for one in places]
    expected = [CONTENTS[name] for name in NAMES]
    assert contents == expected
    assert {one.path for one in places if one.place.endswith(tuple(f"/{name}" for name in names.values()))} == {
        f"{tmp_path}/photos/{name}" for name in names
    }
    assert all(read_moved(job).listed(one.place) == one.path for one in places)
    new.rename(tmp_path / "again")
    assert moved(tmp_path / "again", job)
    places = [one for partition in load_manifest(job).partitions for one in path_list.read_locations(job, partition)]
    assert [read_bytes(one.place, 10**6) for one in places] == expected


def test_a_copy_that_is_an_image_of_its_own_is_not_taken_for_one_that_is_gone(job: JobDir, tmp_path: Path) -> None:
    assert CONTENTS[NAMES[5]] == CONTENTS[NAMES[1]]
    (tmp_path / "photos").rename(tmp_path / "new")
    (tmp_path / "new" / NAMES[5]).unlink()
    with pytest.raises(SourceError, match=rf"1 are missing \({tmp_path}/new/{NAMES[5]}\)"):
        moved(tmp_path / "new", job)


def test_a_shard_of_another_name_is_found_by_its_size_and_digest(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "0.tar", half(first=True))
    write_zip(shards / "1.zip", half(first=False))
    job = JobDir(tmp_path / "job")
    job = sealed(str(shards), job)
    shards.rename(tmp_path / "new")
    (tmp_path / "new" / "1.zip").rename(tmp_path / "new" / "second.zip")
    assert moved(tmp_path / "new", job)
    places = [one for partition in job.partitions for one in path_list.read_locations(job, partition)]
    assert [read_bytes(one.place, 10**6, one.member) for one in places] == [CONTENTS[name] for name in NAMES]
    assert places[-1].place == f"{tmp_path}/new/second.zip::{NAMES[-1]}"


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_another_archive_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    suffix = ".tar" if write is write_tar else ".zip"
    job = JobDir(tmp_path / "job")
    sealed(str(write(tmp_path / f"old{suffix}")), job)
    whole = (tmp_path / f"old{suffix}").rename(tmp_path / f"whole{suffix}")
    other = write(tmp_path / f"new{suffix}", half(first=True))
    with pytest.raises(SourceError, match=r"of 1 files .* are others \(.*bytes instead of"):
        moved(other, job)
    same_size = tmp_path / f"same{suffix}"
    data = bytearray(whole.read_bytes())
    data[40] ^= 1
    same_size.write_bytes(data)
    with pytest.raises(SourceError, match="has as many bytes, but others at its beginning"):
        moved(same_size, job)
    assert moved(shutil.copyfile(whole, tmp_path / f"copy{suffix}"), job), "a copy of another time is the same"


def test_an_image_that_was_not_there_when_it_was_embedded_need_not_be_there_now(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos")
    (photos / "zz.jpg").symlink_to("nothing")
    job = JobDir(tmp_path / "job")
    sealed(str(photos), job)
    (photos / "zz.jpg").unlink()
    photos.rename(tmp_path / "new")
    assert moved(tmp_path / "new", job)


def test_a_job_under_way_goes_on_at_the_new_place(tmp_path: Path) -> None:
    whole, job = JobDir(tmp_path / "whole"), JobDir(tmp_path / "job")
    photos = write_folder(tmp_path / "photos")
    sealed(str(photos), whole)
    job = made(str(photos), job)
    embed(job, 0, embedder=AnyModel(job.manifest))
    asked = no_after(1)
    with pytest.raises(Stopped):
        embed(job, 1, embedder=AnyModel(job.manifest), keep_going=yes, may_commit=asked)
    assert job.chunk_numbers(1) == [0]
    photos.rename(tmp_path / "new")
    with pytest.raises(SourceError, match=f"{photos} is out of reach"):
        embed(job, 1, embedder=AnyModel(job.manifest))
    assert moved(tmp_path / "new", job)
    embedded_now(job)
    for number in range(job.partition_count):
        assert [path.read_bytes() for path in job.sealed_files(number)] == [
            path.read_bytes() for path in whole.sealed_files(number)
        ]
    # What a worker finds missing is missing where the images are now.
    (tmp_path / "new").rename(tmp_path / "away")
    job.seal(1).unlink()
    with pytest.raises(SourceError, match=f"{tmp_path}/new is out of reach"):
        embed(job, 1, embedder=AnyModel(job.manifest))


def test_an_archive_that_changes_at_the_new_place_stops_the_worker(tmp_path: Path) -> None:
    job = JobDir(tmp_path / "job")
    made(str(write_tar(tmp_path / "old.tar")), job)
    (tmp_path / "old.tar").rename(tmp_path / "new.tar")
    assert moved(tmp_path / "new.tar", job)
    write_tar(tmp_path / "new.tar", half(first=False))
    with pytest.raises(SourceError, match=f"The archive {tmp_path}/new.tar is not the one that was listed"):
        embedded_now(job)
    (tmp_path / "new.tar").unlink()
    with pytest.raises(SourceError, match=f"The archive {tmp_path}/new.tar is out of reach"):
        embedded_now(job)


def test_failed_images_are_tried_again_at_the_new_place(job: JobDir, tmp_path: Path) -> None:
    job = open_job(job)
    (tmp_path / "photos").rename(tmp_path / "new")
    moved(tmp_path / "new", job)
    shutil.copy(tmp_path / "new" / NAMES[0], tmp_path / "new" / NAMES[8])
    assert take_back(job) == {"not-an-image": 1}
    embedded_now(job)
    rows = pq.read_table(job.metadata(1)).to_pylist()
    assert [row["image_path"] for row in rows if row["id"] == 8] == [f"{tmp_path}/photos/{NAMES[8]}"]
    # Of another dimension than the model's is what the model of this test gives.
    assert [finding for finding in verify(job, Checked()) if finding.path != "job.json"] == []


def test_hits_and_copies_and_show_name_the_new_place(run: Run, job: JobDir, tmp_path: Path) -> None:
    job = open_job(job)
    merge(job, Settings(recall_target=0.01), UNWATCHED)
    pool = SearcherPool(Settings())
    searcher = pool.searcher(job)
    vector = searcher.stored.rows(searcher.stored.rows_of(searcher.stored.ids[:1]))[0]
    before = pool.searcher(job).search(vector, 20)
    assert before[0].image_path.startswith(f"{tmp_path}/photos/")
    (tmp_path / "photos").rename(tmp_path / "new")
    moved(tmp_path / "new", job)
    after = pool.searcher(job).search(vector, 20)
    assert [(hit.id, hit.image_path) for hit in after] == [
        (hit.id, hit.image_path.replace("/photos/", "/new/")) for hit in before
    ]
    assert all(os.path.isfile(hit.image_path) for hit in after)
    assert {one.path for one in drawn(job, sealed_whole(job))} == {hit.image_path for hit in after}
    for typed in (after[3].image_path, before[3].image_path, str(after[3].id)):
        facts = json.loads(run("show", job.path, typed, "--json", "-o", tmp_path / "out.jpg").out)
        assert (facts["id"], facts["image_path"]) == (after[3].id, after[3].image_path)
        assert (tmp_path / "out.jpg").read_bytes() == Path(after[3].image_path).read_bytes()


def test_index_says_that_it_finds_the_images_and_takes_the_new_place_from_then_on(
    run: Run, job: JobDir, tmp_path: Path
) -> None:
    merge(open_job(job), Settings(recall_target=0.01), UNWATCHED)
    before = state(job)
    new = (tmp_path / "photos").rename(tmp_path / "new")
    (new / NAMES[0]).rename(new / "first.png")
    refused = run("index", new, job.path)
    assert (refused.status, "add --moved" in refused.err) == (1, True)
    ran = run("index", new, job.path, "--moved")
    assert ran.status == 0
    assert f"{job.path} finds its images there now, 1 of its files under other names.\n" in ran.err
    assert "as before, 1 of its files" in run("index", new, job.path, "--moved").err
    again = run("index", new, job.path)
    assert again.status == 0
    assert "does not hold" not in again.err
    gone = run("index", tmp_path / "photos", job.path)
    assert (gone.status, f"The images of {job.path} moved to {new}." in gone.err) == (1, True)
    shutil.copytree(new, tmp_path / "photos")
    assert "which moved to" in run("index", tmp_path / "photos", job.path).err
    assert state(job) == before
    (new / NAMES[1]).unlink()
    new.rename(tmp_path / "third")
    lacks = run("index", tmp_path / "third", job.path, "--moved")
    assert (lacks.status, "1 are missing" in lacks.err) == (1, True)
    assert run("index", new, tmp_path / "none", "--moved").status == 1


def test_path_lists_are_written_anew_from_where_the_source_is_now(run: Run, job: JobDir, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "new")
    moved(tmp_path / "new", job)
    for number in job.sealed_numbers():
        job.seal(number).unlink()
        for path in job.sealed_files(number):
            path.unlink()
    before = {number: job.paths(number).read_bytes() for number in job.paths_numbers()}
    job.paths(1).unlink()
    assert f"from the folder {tmp_path}/new" in run("repair", job.path).out
    assert {number: job.paths(number).read_bytes() for number in job.paths_numbers()} == before


def test_what_came_and_went_is_counted_at_the_new_place(job: JobDir, tmp_path: Path) -> None:
    (tmp_path / "photos").rename(tmp_path / "new")
    moved(tmp_path / "new", job)
    (tmp_path / "new" / NAMES[0]).unlink()
    shutil.copy(tmp_path / "new" / NAMES[1], tmp_path / "new" / "more.jpg")
    said = since_listed(str(tmp_path / "new"), open_job(job))
    assert said[0] == f"{tmp_path}/new has 1 image that this job does not hold, and lacks 1 that it holds."


def test_what_cannot_move_is_refused_in_a_sentence(job: JobDir, tmp_path: Path) -> None:
    write_tar(tmp_path / "photos.tar")
    with pytest.raises(JobMismatch, match=f"{tmp_path}/photos.tar is the archive: give the folder on a disk to which"):
        moved(tmp_path / "photos.tar", job)
    with pytest.raises(JobNotFound, match="There is no job"):
        moved(tmp_path / "photos", JobDir(tmp_path / "other"))
    with pytest.raises(SourceError, match="There is nothing at"):
        moved(tmp_path / "nowhere", job)
    pattern = JobDir(tmp_path / "pattern")
    made(f"{tmp_path}/*.tar", pattern)
    with pytest.raises(JobMismatch, match=r"in more than the folder: type that folder and behind it \*\.tar, in quote"):
        moved(f"{tmp_path}/p*.tar", pattern)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}\n", b"[]\n", b'{"format": 2, "moves": []}\n', b'{"format": 1, "moves": [{"old": 1, "new": 2}]}\n'],
)
def test_a_damaged_file_of_what_moved_is_named(job: JobDir, data: bytes) -> None:
    files.write_bytes(job.moved, data)
    with pytest.raises(
        CorruptFile, match=r"moved\.json does not say where .* indexing NEWPLACE with moved says it again"
    ):
        read_moved(job)


@pytest.mark.parametrize(
    ("moved", "listed", "now"),
    [
        (Moved("/a", "/b"), "/a/x.jpg", "/b/x.jpg"),
        (Moved("/a", "/b"), "/a", "/b"),
        (Moved("/a", "/a/b"), "/a/b/x.jpg", "/a/b/b/x.jpg"),
        (Moved("/a/b", "/a"), "/a/b/b/x.jpg", "/a/b/x.jpg"),
        (Moved("/a", "/"), "/a/x.jpg", "/x.jpg"),
        (Moved("/", "/a"), "/x.jpg", "/a/x.jpg"),
        (Moved("/a.tar", "/b/c.tar"), "/a.tar::d/e.jpg", "/b/c.tar::d/e.jpg"),
        (Moved("/a", "/b"), "/a/c.zip::é.jpg", "/b/c.zip::é.jpg"),
        (Moved("/a", "/b"), "file:///a/%FF.jpg", "file:///b/%FF.jpg"),
        (Moved("/a", "file:///%FF"), "/a/x.jpg", "file:///%FF/x.jpg"),
    ],
)
def test_a_path_is_carried_over_and_back(moved: Moved, listed: str, now: str) -> None:
    assert (moved.now(listed), moved.listed(now)) == (now, listed)


def test_of_several_places_the_nearest_above_a_path_decides(tmp_path: Path) -> None:
    several = Moved("/a", "/z", {"/a/r.jpg": "/q.jpg"}, (("/a/b", "/y"), ("/c", "/a")))
    places = {"/a/x": "/z/x", "/a/b/x": "/y/x", "/a/bx": "/z/bx", "/c/b/x": "/a/b/x", "/d": "/d", "/a/r.jpg": "/q.jpg"}
    for listed, now in places.items():
        assert (several.now(listed), several.listed(now)) == (now, listed)
    job = JobDir(tmp_path)
    write_moved(job, several)
    assert read_moved(job) == several
    write_moved(job, Moved("/a", "/a", {}, (("/c", "/d"),)))
    assert read_moved(job).places == [("/c", "/d")]
    write_moved(job, Moved("/a", "/a"))
    assert not read_moved(job)


@pytest.mark.parametrize("path", ["/ab/x.jpg", "/c", "s3://a/x.jpg", "a/x.jpg", "/b.tar::/a/x.jpg"])
def test_a_path_from_elsewhere_stays(path: str) -> None:
    assert Moved("/a", "/z").now(path) == Moved().now(path) == path
