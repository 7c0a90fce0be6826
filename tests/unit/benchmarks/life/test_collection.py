"""The photographs of a life are where the job should find them."""

import random
from pathlib import Path

from benchmarks.life.collection import Collection


def test_what_is_held_is_what_is_there_but_for_what_was_deleted(tmp_path: Path) -> None:
    photos = Collection(tmp_path, 100)
    rng = random.Random(1)
    deleted: set[str] = set()
    for _ in range(5):
        before = set(photos.held)
        photos.refresh(rng)
        assert before != photos.held
        deleted |= set(photos.delete(rng))
        photos.add(rng)
        assert photos.source(rng) in photos.folders
    there = {str(path) for path in tmp_path.rglob("*.jpg")}
    assert photos.held == there - deleted
    assert photos.held & deleted == set()


def test_a_broken_photograph_is_mended_once(tmp_path: Path) -> None:
    photos = Collection(tmp_path, 10)
    (broken,) = photos.held - set(photos.whole())
    photos.mend(random.Random(1))
    assert broken in photos.whole()
    assert Path(broken).read_bytes()[:2] == b"\xff\xd8"
    photos.mend(random.Random(1))
