import io
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from coordinator.doctor import source_sample
from coordinator.doctor.checks import Verdict
from coordinator.doctor.source_sample import ListedSource, SpreadRuns, check, list_source, shown
from coordinator.sources import listing
from coordinator.sources.listing import Listing
from shared.errors import SourceError
from shared.images.location import Location


def numbers(count: int, run: int = 4, least: int = 8) -> list[int]:
    runs = SpreadRuns(run, least)
    for number in range(count):
        runs.add(Location(str(number)))
    return [int(location.path) for location in runs.locations()]


def test_of_a_small_source_every_path_is_kept_once() -> None:
    assert sorted(numbers(63)) == list(range(63))
    assert numbers(0) == []
    assert numbers(3) == [0, 1, 2]


@pytest.mark.parametrize("count", [65, 100, 1_000, 12_345, 100_000])
def test_of_a_large_one_runs_of_neighbours_are_kept_at_equal_distances(count: int) -> None:
    found = numbers(count)
    starts = sorted(number for number in found if number % 4 == 0)
    assert 8 <= len(starts) <= 17
    apart = {after - before for before, after in pairwise(starts)}
    assert len(apart) == 1
    assert starts[0] == 0
    assert starts[-1] + apart.pop() >= count - 4
    for start in starts:  # Those of a run stand side by side, in the order in which a worker reads them.
        place = found.index(start)
        run = [number for number in range(start, start + 4) if number < count]
        assert found[place : place + len(run)] == run


def test_any_beginning_of_the_sample_is_spread_over_the_source() -> None:
    for count in (2_048, 10_000, 12_345):
        found = numbers(count)
        quarters = Counter(number * 4 // count for number in found[: 8 * 4])
        assert all(4 <= quarters[quarter] <= 12 for quarter in range(4)), (count, quarters)
        assert len(found) == len(set(found))


def nothing(count: int) -> None: ...


def test_a_folder_is_listed_counted_and_sampled(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    found = list_source(str(tmp_path), 60, nothing)
    assert (found.count, found.complete, found.kind) == (5, True, "folder")
    assert found.sample == [Location(str(tmp_path / f"{number}.jpg")) for number in range(5)]
    assert found.mean_path_bytes == len(f"{tmp_path}/0.jpg")
    assert found.left_out == {".txt": 1}
    said = check(found, 60)
    assert said.verdict == Verdict.OK
    assert f"5 images in the folder {tmp_path}" in said.sentence
    assert said.sentence.endswith("not listed: 1 .txt.")


def test_images_in_an_archive_are_sampled_with_their_place(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in ("a.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    found = list_source(str(tmp_path / "photos.tar"), 60, nothing)
    assert (found.kind, found.count) == ("archive", 2)
    assert [location.path for location in found.sample] == [f"{tmp_path}/photos.tar::{name}.jpg" for name in "ab"]
    assert [location.member.offset for location in found.sample if location.member] == [0, 1_024]


def test_what_may_be_secret_in_a_url_is_not_shown() -> None:
    assert shown("https://me:secret@host/a.tar?signature=abc") == "https://host/a.tar"
    assert shown("/mnt/a?b.jpg") == "/mnt/a?b.jpg"


def test_what_there_is_not_raises_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is nothing at"):
        list_source(str(tmp_path / "gone"), 60, nothing)


def test_a_source_that_hangs_is_left_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    hung = threading.Event()

    def paths() -> Iterator[listing.ListedImage]:
        yield listing.ListedImage("a.jpg")
        hung.wait(60)
        yield listing.ListedImage("b.jpg")

    monkeypatch.setattr(source_sample, "open_source", lambda *_: Listing("folder", "/mnt", paths()))
    told: list[int] = []
    # The time is up as soon as the first image was told.
    monkeypatch.setattr(source_sample, "time", SimpleNamespace(monotonic=lambda: 1_000.0 if 1 in told else 0.0))
    found = list_source("/mnt", 0.3, told.append)
    try:
        assert (found.count, found.complete, found.sample) == (1, False, [Location("a.jpg")])
        assert told[-1] == 1
        said = check(found, 0.3)
        assert said.verdict == Verdict.WARNING
        assert "not at the end" in said.sentence
    finally:
        hung.set()
    assert found.sample == [Location("a.jpg")], "what comes after the end is not taken"


def test_a_source_that_gives_nothing_is_a_problem() -> None:
    hangs = check(ListedSource("folder", "/mnt"), 120)
    assert (hangs.verdict, hangs.sentence) == (
        Verdict.PROBLEM,
        "/mnt gave no image within 120 s: see that its mount answers.",
    )
    empty = check(ListedSource("folder", "/mnt", complete=True, left_out=Counter({".txt": 3})), 120)
    assert empty.verdict == Verdict.PROBLEM
    assert empty.sentence.startswith("/mnt holds no images (left out: 3 .txt): ")
