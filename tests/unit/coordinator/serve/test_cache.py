"""The cache of thumbnails on disk: bounded, whole, and none that is needed."""

import os
from pathlib import Path

from coordinator.serve.images.cache import ThumbnailCache


def jpeg(size: int) -> bytes:
    return b"\xff\xd8" + b"0" * (size - 4) + b"\xff\xd9"


def key(number: int) -> str:
    return f"{number:02d}" * 32 + "-256-reduced"


def test_what_is_kept_is_given_and_the_longest_unused_go(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path / "cache", 1_000)
    for number in range(3):
        cache.put(key(number), jpeg(300))
    for age, number in enumerate((0, 1, 2)):
        (path,) = (tmp_path / "cache").glob(f"{number:02d}/*.jpg")
        os.utime(path, (1_000 + age, 1_000 + age))
    assert cache.get(key(0)) == jpeg(300)  # It was used just now.
    cache.put(key(3), jpeg(300))
    assert [cache.get(key(number)) is not None for number in range(4)] == [True, False, True, True]
    held = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*"))
    assert held <= 1_000
    cache.put(key(4), jpeg(2_000))
    assert cache.get(key(4)) is None


def test_another_server_finds_it_and_counts_what_was_there(tmp_path: Path) -> None:
    ThumbnailCache(tmp_path, 1_000).put(key(1), jpeg(600))
    left = tmp_path / "01" / f"{key(2)}.jpg.0123.aside"
    left.write_bytes(jpeg(300))  # A server was killed here.
    other = ThumbnailCache(tmp_path, 1_000)
    assert other.get(key(1)) == jpeg(600)
    assert other.get(key(2)) is None
    other.put(key(3), jpeg(250))
    assert not left.exists()
    assert (other.get(key(1)), other.get(key(3))) == (jpeg(600), jpeg(250))


def test_one_that_was_cut_short_is_none_and_a_disk_that_refuses_costs_nothing(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path / "cache", 1_000)
    cache.put(key(1), jpeg(100))
    (path,) = (tmp_path / "cache").glob("01/*.jpg")
    for data in (b"", jpeg(100)[:-3]):
        path.write_bytes(data)
        assert cache.get(key(1)) is None
    (tmp_path / "file").write_text("")
    broken = ThumbnailCache(tmp_path / "file", 1_000)
    broken.put(key(1), jpeg(100))
    assert broken.get(key(1)) is None
