import hashlib
import json
import re
from pathlib import Path

import pytest

from benchmarks.truth.queries import collection
from benchmarks.truth.queries.alterations import KINDS
from benchmarks.truth.queries.collection import Photo, Twins, draw, queries, without_twins
from shared.errors import UsageError
from tests.support.images.textured import write_textured

KIND = {kind.name: kind for kind in KINDS}


def write(folder: Path, count: int) -> Path:
    write_textured(folder / "a", count, 60, 80)
    return folder


def test_originals_and_others_are_different_photographs_and_drawn_the_same_again(tmp_path: Path) -> None:
    drawn = draw(write(tmp_path / "photos", 14), 4, 3)
    names = [photo.name for photo in drawn.photos]
    assert len(names) == 11
    assert names == sorted(names)
    assert names[0].startswith("a/")
    assert len({names[place] for place in drawn.originals}) == 4
    assert not {photo.name for photo in drawn.others} & set(names)
    assert draw(tmp_path / "photos", 4, 3) == drawn
    assert draw(tmp_path / "photos", 4, 3, seed=1).originals != drawn.originals
    assert len(draw(tmp_path / "photos", 4, 3, most=10).photos) == 7


def test_too_few_photographs_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="9 different photographs were found, and 5 originals, 3 others"):
        draw(write(tmp_path / "photos", 9), 5, 3)


def test_of_equal_bytes_and_of_known_twins_the_first_by_name_stays(tmp_path: Path) -> None:
    photos = []
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1"), ("d", b"3"), ("e", b"4"), ("f", b"3")):
        (tmp_path / name).write_bytes(content)
        photos.append(Photo(name, tmp_path / name))
    known = [{"sha256": [hashlib.sha256(content).hexdigest() for content in (b"3", b"2")], "why": "seen to be one"}]
    kept, twins = without_twins(photos, known)
    assert [photo.name for photo in kept] == ["a", "b", "e"]
    assert twins == [
        Twins("a", "c", collection.SAME_BYTES),
        Twins("b", "d", "seen to be one"),
        Twins("b", "f", collection.SAME_BYTES),
    ]


def test_every_original_is_altered_in_every_way_the_same_again(tmp_path: Path) -> None:
    drawn = draw(write(tmp_path / "photos", 14), 4, 3)
    kinds = [KIND["grey"], KIND["collage"]]
    made = queries(drawn, kinds)
    assert [(query.original, query.kind) for query in made] == [
        (number, kind.name) for number in drawn.originals for kind in kinds
    ]
    assert len({query.data for query in made}) == 8
    assert queries(drawn, kinds) == made


def test_the_known_twins_are_digests_of_files_each_with_why_and_in_one_entry() -> None:
    known = json.loads((Path(collection.__file__).parent / "twins.json").read_text())
    every = [digest for entry in known for digest in entry["sha256"]]
    assert all(len(entry["sha256"]) >= 2 and entry["why"] for entry in known)
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in every)
    assert len(set(every)) == len(every) > 0
