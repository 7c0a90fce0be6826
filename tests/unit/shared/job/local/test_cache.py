"""Cached files of stores: whole or absent, by their checksum, bounded, shared."""

import fcntl
import gc
import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared.errors import CorruptFile, JobError, StoreError
from shared.job.local.cache import JobCache
from shared.storage import files
from shared.storage.stores import any_path

Entry = dict[str, Any]
Put = Callable[[str, bytes], tuple[Path, Entry]]


@pytest.fixture
def cache(tmp_path: Path) -> JobCache:
    return JobCache(tmp_path / "cache", 1_000)


@pytest.fixture
def put() -> Put:
    """Writes an object into a store; gives its path, and its size and checksum as a seal has them."""
    root = any_path(f"memory://{uuid.uuid4().hex}")

    def write(name: str, data: bytes) -> tuple[Path, Entry]:
        files.write_bytes(root / name, data)
        return root / name, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    return write


def kept(cache: JobCache) -> list[str]:
    return sorted(path.read_bytes().decode()[0] for path in (cache.directory / "files").iterdir())


def test_a_file_is_fetched_once_for_all_who_hold_it(cache: JobCache, put: Put, fetched: list[str]) -> None:
    one, two = cache.hold(), cache.hold()
    path, entry = put("img_emb.npy", b"a" * 10)
    copy = one.file(path, entry)
    assert copy.read_bytes() == b"a" * 10
    assert copy.suffix == ".npy"
    assert two.file(path, entry) == copy
    assert cache.hold().files([(path, entry)] * 3) == [copy] * 3
    assert fetched == ["img_emb.npy"]


def test_a_file_that_is_replaced_is_another_copy(cache: JobCache, put: Put) -> None:
    held = cache.hold()
    first = held.file(*put("index.faiss", b"old"))
    second = held.file(*put("index.faiss", b"new"))
    assert (first.read_bytes(), second.read_bytes()) == (b"old", b"new")


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"bytes": 4}, {"sha256": "1" * 64, "bytes": 2}])
def test_an_object_that_is_not_what_was_sealed_is_never_kept(cache: JobCache, put: Put, wrong: Entry) -> None:
    path, entry = put("img_emb.npy", b"abc")
    with pytest.raises(CorruptFile, match=r"img_emb\.npy has"):
        cache.hold().file(path, entry | wrong)
    assert kept(cache) == []


def test_an_object_that_is_missing_is_said_to_be(cache: JobCache, put: Put) -> None:
    path, entry = put("img_emb.npy", b"abc")
    path.unlink()
    with pytest.raises(CorruptFile, match=r"img_emb\.npy is missing"):
        cache.hold().file(path, entry)
    assert kept(cache) == []


def test_a_store_that_goes_away_leaves_nothing_half(cache: JobCache, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    path, entry = put("img_emb.npy", b"abcdef")
    monkeypatch.setattr("shared.storage.stores.BLOCK_BYTES", 2)
    whole = MemoryFileSystem.cat_file

    def cut(self: Any, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        if start == 4:
            raise ConnectionError("reset")
        return whole(self, path, start=start, end=end)

    held = cache.hold()
    monkeypatch.setattr(MemoryFileSystem, "cat_file", cut)
    with pytest.raises(StoreError, match="reset"):
        held.file(path, entry)
    assert kept(cache) == []
    monkeypatch.setattr(MemoryFileSystem, "cat_file", whole)
    assert held.file(path, entry).read_bytes() == b"abcdef"


def test_what_a_killed_process_left_half_is_begun_anew(cache: JobCache, put: Put) -> None:
    path, entry = put("img_emb.npy", b"abcdef")
    directory = cache.directory / "files"
    directory.mkdir(parents=True)
    (directory / f".{entry['sha256']}.npy.part").write_bytes(b"abcX")
    assert cache.hold().file(path, entry).read_bytes() == b"abcdef"
    assert kept(cache) == ["a"]


def test_a_damaged_copy_is_found_and_fetched_anew(cache: JobCache, put: Put, fetched: list[str]) -> None:
    path, entry = put("index.faiss", b"abcdef")
    copy = cache.hold().file(path, entry)
    copy.write_bytes(b"abXdef")
    assert cache.hold().file(path, entry).read_bytes() == b"abXdef"  # Its size is the right one.
    assert cache.hold().file(path, entry, check=True).read_bytes() == b"abcdef"
    copy.write_bytes(b"abc")
    assert cache.hold().file(path, entry).read_bytes() == b"abcdef"
    assert len(fetched) == 3


def test_above_the_bound_the_longest_unused_copies_go(cache: JobCache, put: Put) -> None:
    objects = {name: put(name, name.encode() * 400) for name in "abcd"}
    for age, name in enumerate("ba"):
        copy = cache.hold().file(*objects[name])
        os.utime(copy, (1_000 + age, 1_000 + age))
    gc.collect()
    cache.hold().file(*objects["c"])
    assert kept(cache) == ["a", "c"]
    os.utime(cache.hold().file(*objects["c"]), (500, 500))
    cache.hold().file(*objects["c"])  # Used just now, which makes it the youngest.
    cache.hold().file(*objects["d"])
    assert kept(cache) == ["c", "d"]


def test_what_is_held_stays_whatever_the_bound(cache: JobCache, put: Put) -> None:
    objects = {name: put(name, name.encode() * 600) for name in "abc"}
    mine, other = cache.hold(), cache.hold()
    copies = [mine.file(*objects["a"]), mine.file(*objects["b"])]
    other.file(*objects["c"])
    assert kept(cache) == ["a", "b", "c"]
    assert all(copy.is_file() for copy in copies)
    del mine
    gc.collect()
    other.file(*put("e", b"e"))
    assert kept(cache) == ["c", "e"]


def test_holds_of_processes_that_were_killed_count_for_nothing(cache: JobCache, put: Put) -> None:
    path, entry = put("a", b"a" * 900)
    copy = cache.hold().file(path, entry)
    gc.collect()
    (cache.directory / "holds" / "dead").write_text(f"{copy.name}\n")
    cache.hold().file(*put("b", b"b" * 900))
    assert kept(cache) == ["b"]
    assert not (cache.directory / "holds" / "dead").exists()


def test_without_locks_nothing_goes(cache: JobCache, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(file: Any, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    for name in "abc":
        cache.hold().file(*put(name, name.encode() * 900))
    assert kept(cache) == ["a", "b", "c"]


def test_many_threads_that_ask_for_one_file_fetch_it_once(cache: JobCache, put: Put, fetched: list[str]) -> None:
    path, entry = put("img_emb.npy", b"x" * 100)
    begin = threading.Barrier(8)
    found: list[bytes] = []

    def ask() -> None:
        held = cache.hold()
        begin.wait()
        found.append(held.file(path, entry).read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"x" * 100] * 8
    assert fetched == ["img_emb.npy"]
    assert kept(cache) == ["x"]


def test_a_disk_that_takes_no_copy_is_named_with_what_to_do(
    cache: JobCache, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, entry = put("img_emb.npy", b"abc")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(JobError, match=r"No space left on device\): make room there, or set LOOKALIKE_JOB_CACHE_DIR"):
        cache.hold().file(path, entry)
    assert kept(cache) == []
