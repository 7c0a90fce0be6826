"""What is said of a source that changed since its job was made."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.jobs.create import make_or_open
from coordinator.jobs.source.changes import since_listed, told_since_listed
from coordinator.sources.choosing import Choice
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.settings import Settings
from tests.support.images.forms import write_tar, write_zip

IMAGES = {f"{number:02d}.jpg": b"image" for number in range(12)}
NEW = "This job holds what was listed when it was made. A job of what is there now:  lookalike index {} NEW-JOB"


@pytest.fixture
def job(tmp_path: Path) -> JobDir:
    return JobDir(tmp_path / "job")


def made(source: str, job: JobDir) -> OpenJob:
    return make_or_open(source, job, Settings(partition_size=5), lambda count: None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    for name in ("a/1.jpg", "a/2.jpg", "a.jpg", "b/1.jpg", "b/é.jpg", "c.jpg", "z/y/x.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("came", "went"),
    [
        (["0.jpg"], []),
        ([], ["a.jpg"]),
        ([], ["z/y/x.jpg", "a/1.jpg"]),
        (["zz.png", "a/0.jpg", "b/2/3.jpg"], ["c.jpg"]),
        (["only.jpg"], ["a/1.jpg", "a/2.jpg", "a.jpg", "b/1.jpg", "b/é.jpg", "c.jpg", "z/y/x.jpg"]),
        ([], ["a/1.jpg", "a/2.jpg", "a.jpg", "b/1.jpg", "b/é.jpg", "c.jpg", "z/y/x.jpg"]),
    ],
)
@pytest.mark.parametrize("typed", [str, lambda folder: f"{folder}/**/*.*"], ids=["folder", "glob"])
def test_images_that_came_and_went_are_counted(
    photos: Path, job: JobDir, came: list[str], went: list[str], typed: Callable[[Path], str]
) -> None:
    source = typed(photos)
    job = made(source, job)
    assert since_listed(source, job) == []
    for name in came:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).touch()
    for name in went:
        (photos / name).unlink()
    (photos / "notes.txt").touch()
    if source != str(photos) and len(went) == 7 and not came:
        (photos / "notes.txt").unlink()
        lines = told_since_listed(source, job)
        assert [line.partition(":")[0] for line in lines] == [
            "What came or went since the images were listed is not known"
        ]
        return
    images = "image" if len(came) == 1 else "images"
    assert since_listed(source, job) == [
        f"{source} has {len(came)} {images} that this job does not hold, and lacks {len(went)} that it holds.",
        NEW.format(f"'{source}'"),
    ]


def test_an_image_that_is_there_and_would_not_be_listed_today_did_not_go(photos: Path, job: JobDir) -> None:
    job = made(str(photos), job)
    (photos / "c.jpg").unlink()
    (photos / "c.jpg").mkdir()
    assert since_listed(str(photos), job) == []


def test_archives_that_came_went_or_changed_are_counted(tmp_path: Path, job: JobDir) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in "abcdef":
        write_tar(folder / f"{name}.tar", IMAGES)
    job = made(str(folder), job)
    assert since_listed(str(folder), job) == []
    write_zip(folder / "new.zip", IMAGES)
    (folder / "a.tar").unlink()
    for name in "bcdef":
        with open(folder / f"{name}.tar", "ab") as file:
            file.write(bytes(10_240))
    size = (folder / "b.tar").stat().st_size
    found = since_listed(str(folder), job)
    assert found[0] == f"{folder} has 1 archive that this job does not hold, and lacks 1 that it holds."
    assert found[1] == (
        f"{folder}/b.tar changed: it had {size - 10_240:,} bytes when it was listed, and has {size:,} now."
    )
    assert [line.partition("/")[2].rpartition("/")[2][:5] for line in found[1:4]] == ["b.tar", "c.tar", "d.tar"]
    assert found[4:] == ["So did 2 more.", NEW.format(folder)]


def test_images_beside_archives_are_compared_too_and_what_holds_none_did_not_come(tmp_path: Path, job: JobDir) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_tar(folder / "a.tar", IMAGES)
    write_zip(folder / "documents.zip", {"letter.md": b"x"})
    for name in ("1.jpg", "2.jpg", "@eaDir.jpg"):
        (folder / name).touch()
    job = make_or_open(str(folder), job, Settings(partition_size=5), lambda count: None, Choice(("2.*",)))
    assert (job.listed, since_listed(str(folder), job)) == (14, [])
    for name in ("1.jpg", "a.tar"):
        (folder / name).unlink()
    for name in ("3.jpg", "4.jpg", "1.json"):
        (folder / name).touch()
    assert since_listed(str(folder), job)[:2] == [
        f"{folder} has 0 archives that this job does not hold, and lacks 1 that it holds.",
        f"{folder} has 2 images that this job does not hold, and lacks 1 that it holds.",
    ]


def test_one_archive_that_changed_is_said(tmp_path: Path, job: JobDir) -> None:
    path = write_zip(tmp_path / "x.zip", IMAGES)
    job = made(str(path), job)
    assert since_listed(str(path), job) == []
    write_zip(path, {**IMAGES, "more.jpg": b"more"})
    first, last = since_listed(str(path), job)
    assert first.startswith(f"{path} changed: it had ")
    assert last == NEW.format(path)


def test_a_folder_that_went_away_is_a_line_and_no_failure(photos: Path, job: JobDir) -> None:
    job = made(str(photos), job)
    shutil.rmtree(photos)
    (line,) = told_since_listed(str(photos), job)
    assert line.startswith(f"What came or went since the images were listed is not known: There is nothing at {photos}")
