from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.sources.begun import Begun, chosen, is_other, patterns_text
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import PathDigest
from coordinator.sources.resolve import open_source
from shared.errors import JobMismatch, PackError
from shared.errors.remedy import Remedy
from shared.job.manifest import Source

MOVES = Remedy("option", does="if it moved, add {}", given={"moved": ""})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").touch()
    return folder


@pytest.fixture
def paths(tmp_path: Path) -> Path:
    path = tmp_path / "photos.txt"
    path.write_text("a.jpg\nb.jpg\n")
    return path


def job_of(source: Path) -> Begun:
    """A job that was made from `source`, as that is now."""
    listing, digest = open_source(str(source)), PathDigest()
    for _ in digest.feed(listing):
        pass
    made = Source(listing.kind, listing.location, digest.hexdigest())
    return Begun("/job", "was made", "from", "name another JOB", JobMismatch, made, digest.count, moves=MOVES)


def test_the_same_source_is_taken_whatever_lies_in_a_folder_by_now(photos: Path, paths: Path) -> None:
    folder, listed = job_of(photos), job_of(paths)
    (photos / "b.jpg").touch()
    folder.require_source(open_source(str(photos)))
    listed.require_source(open_source(str(paths)))
    listed.require_source(open_source(str(paths.rename(paths.with_name("moved.txt")))))


def test_another_place_is_refused_in_the_words_of_what_was_begun(photos: Path, tmp_path: Path) -> None:
    job = job_of(photos)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(JobMismatch) as said:
        job.require_source(open_source(str(other)))
    assert said.value.found == (
        f"/job was made from the folder {photos}, not from the folder {other}: name another JOB for another source."
    )
    assert said.value.remedy == MOVES
    pack = replace(job, path="/pack", made="is a pack", of="of", another="name another directory", error=PackError)
    with pytest.raises(PackError, match=rf"^/pack is a pack of the folder {photos}, not of the folder {other}: name "):
        pack.require_source(open_source(str(other)))


def test_another_kind_of_source_has_not_moved(photos: Path, paths: Path) -> None:
    for job, other in ((job_of(photos), paths), (job_of(paths), photos)):
        with pytest.raises(JobMismatch, match=f"from the {job.source.kind} .*, not from the ") as said:
            job.require_source(open_source(str(other)))
        assert said.value.remedy is None


def test_a_source_that_moved_is_taken_at_its_new_place_alone(photos: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    job = replace(job_of(photos), moved_to=str(new))
    photos.rename(new)
    job.require_source(open_source(str(new)))
    photos.mkdir()
    with pytest.raises(JobMismatch, match=f"the folder {photos}, which moved to {new}, not from the folder {photos}:"):
        job.require_source(open_source(str(photos)))


@pytest.mark.parametrize("now", ["a.jpg\n", "b.jpg\na.jpg\n", "a.jpg\nb.jpg\nc.jpg\n"])
def test_a_list_of_other_paths_is_refused_with_both_counts(paths: Path, now: str) -> None:
    job = job_of(paths)
    paths.write_text(now)
    with pytest.raises(JobMismatch) as said:
        job.require_source(open_source(str(paths)))
    assert said.value.found == (
        f"/job was made from a list of 2 paths ({paths}), and the one given now differs from it ({now.count('.')} "
        "paths): give the same list, or name another JOB."
    )


def test_what_was_not_asked_for_is_as_it_was_begun(photos: Path) -> None:
    source = Source("folder", str(photos), "0" * 64, exclude=["x"], sniff=True)
    for same in (EVERYTHING, Choice(("x",), (), True), Choice(exclude=("x",))):
        assert not any(is_other(asked, begun) for _, asked, begun in chosen(same, source))
    other = [option for option, asked, begun in chosen(Choice(("y",), ("z",), True), source) if is_other(asked, begun)]
    assert other == ["exclude", "include"]


def test_an_option_that_stays_may_be_left_out(photos: Path) -> None:
    error = job_of(photos).stays("decode", "It was begun otherwise")
    assert isinstance(error, JobMismatch)
    assert str(error) == "It was begun otherwise: leave the option decode out, or name another JOB."


def test_patterns_are_said_as_they_are_typed() -> None:
    assert patterns_text("exclude", ["*.png", "raw"]) == "exclude '*.png' exclude raw"
    assert patterns_text("exclude", []) == ""
