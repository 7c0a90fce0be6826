"""The demo's photographs are cut by another process, and named with what was made of each."""

from pathlib import Path

import pytest

from coordinator.local.demo_photos import cut_photos
from shared.errors import SourceError

pytestmark = pytest.mark.slow


def test_the_reason_why_photos_could_not_be_cut_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "strange.txt").write_text("not ours")
    with pytest.raises(SourceError, match=r"strange\.txt"):
        cut_photos(tmp_path)


def test_photographs_by_name_are_the_only_ones(tmp_path: Path) -> None:
    cut = cut_photos(tmp_path, ["rocket"])
    photos = sorted(path.stem for path in cut.folder.rglob("*.jpg"))
    assert (len(photos), cut.photographs) == (cut.photos, 1)
    assert {name.partition("-")[0] for name in photos} == {"rocket"}
    assert cut.photos < 40, "fewer than are altered of all"
    assert {copy.original for copy in cut.queries} == set(cut.folder.rglob("*.jpg"))
    assert len(cut.queries) == 8 * cut.photos
    assert [stranger.original for stranger in cut.strangers] == [None] * 3
    assert all(query.path.is_file() for query in [*cut.queries, *cut.strangers])
    assert str(cut) == f"{cut.photos} photos, cut from 1 photograph, in {tmp_path}/photos"
    with pytest.raises(SourceError, match=r"no photograph 'rockets'; expected one of astronaut, .*rocket"):
        cut_photos(tmp_path, ["rockets"])
