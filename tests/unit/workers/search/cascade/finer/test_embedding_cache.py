"""Embeddings of finer models survive kills and other workers, stay within their bound, and are never torn."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.make_job import unit
from workers.search.cascade.finer import embedding_cache
from workers.search.cascade.finer.embedding_cache import FILE, EmbeddingCache

ROOM = 10_000_000
VECTORS = unit(np.random.default_rng(0).normal(size=(40, 64)))


def digest(number: int) -> str:
    return f"{number:064x}"


def kept(cache: EmbeddingCache, numbers: range, model: str = "a@1") -> list[int]:
    return [int(one, 16) for one in cache.get(model, [digest(number) for number in numbers])]


def put(cache: EmbeddingCache, numbers: range, model: str = "a@1") -> None:
    cache.put(model, {digest(number): VECTORS[number] for number in numbers})


def test_what_was_put_is_there_for_the_same_model_and_bytes_alone(tmp_path: Path) -> None:
    put(EmbeddingCache(tmp_path, ROOM), range(10))
    other = EmbeddingCache(tmp_path, ROOM)
    assert sorted(kept(other, range(20))) == list(range(10))
    assert kept(other, range(20), "b@1") == []
    (found,) = other.get("a@1", [digest(3)]).values()
    np.testing.assert_allclose(found, VECTORS[3], atol=1e-3)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert other.get("a@1", []) == {}


def test_a_kill_in_a_commit_leaves_what_was_committed_before_and_nothing_of_it(tmp_path: Path) -> None:
    put(EmbeddingCache(tmp_path, ROOM), range(3))
    program = f"""
import os, signal
import numpy as np
from pathlib import Path
from workers.search.cascade.finer import embedding_cache
embedding_cache.failpoint = lambda name: os.kill(os.getpid(), signal.SIGKILL)
cache = embedding_cache.EmbeddingCache(Path({str(tmp_path)!r}), {ROOM})
cache.put("a@1", {{f"{{number:064x}}": np.ones(64, np.float32) for number in range(2, 30)}})
"""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == -9
    cache = EmbeddingCache(tmp_path, ROOM)
    assert sorted(kept(cache, range(30))) == [0, 1, 2]
    np.testing.assert_allclose(cache.get("a@1", [digest(2)])[digest(2)], VECTORS[2], atol=1e-3)
    put(cache, range(2, 30))
    assert len(kept(cache, range(30))) == 30


def test_above_its_bound_those_that_were_unused_longest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**9, 10_000))
    monkeypatch.setattr(embedding_cache, "time", lambda: float(next(now)))
    cache = EmbeddingCache(tmp_path, 40_960)
    put(cache, range(5))
    put(cache, range(5, 10))
    assert kept(cache, range(2)) == [0, 1]  # They are used again.
    for _ in range(60):
        cache.put("b@1", {digest(number): np.ones(640, np.float32) for number in next_numbers()})
    assert (tmp_path / FILE).stat().st_size < 120_000
    left = set(kept(cache, range(10)))
    assert {2, 3, 4}.isdisjoint(left)
    assert kept(cache, range(COUNTED[-1], COUNTED[-1] + 1), "b@1") == [COUNTED[-1]]


COUNTED = [1_000]


def next_numbers() -> range:
    COUNTED.append(COUNTED[-1] + 1)
    return range(COUNTED[-1], COUNTED[-1] + 1)


def test_several_workers_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "WAIT_SECONDS", 60.0)  # A slow disk may let 40 commits take its 5 s.

    def some(numbers: range) -> None:
        cache = EmbeddingCache(tmp_path, ROOM)
        for number in numbers:
            put(cache, range(number, number + 1))

    workers = [threading.Thread(target=some, args=(range(start, 40, 3),)) for start in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(kept(EmbeddingCache(tmp_path, ROOM), range(40))) == list(range(40))


@pytest.mark.parametrize("changed", ["vector", "checksum", "model"])
def test_a_row_that_is_not_as_it_was_written_counts_as_none(tmp_path: Path, changed: str) -> None:
    cache = EmbeddingCache(tmp_path, ROOM)
    put(cache, range(3))
    with sqlite3.connect(tmp_path / FILE) as database:
        value = {"vector": "x'0102'", "checksum": "7", "model": "'b@1'"}[changed]
        database.execute(f"UPDATE embeddings SET {changed} = {value} WHERE sha256 = ?", (bytes.fromhex(digest(1)),))
    database.close()
    assert sorted(kept(cache, range(3))) == [0, 2]
    assert kept(cache, range(3), "b@1") == []
    put(cache, range(1, 2))
    assert sorted(kept(cache, range(3))) == [0, 1, 2]


def test_a_file_that_is_no_database_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, and is as long as a page of one" * 100)
    cache = EmbeddingCache(tmp_path, ROOM)
    assert kept(cache, range(3)) == []
    assert "can't be read" in caplog.text
    put(cache, range(3))
    assert sorted(kept(cache, range(3))) == [0, 1, 2]


def test_a_folder_that_can_not_be_written_costs_only_the_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = EmbeddingCache(tmp_path / "file" / "below", ROOM)
    put(cache, range(3))
    assert "can't be written" in caplog.text
    assert kept(cache, range(3)) == []
    none = EmbeddingCache(tmp_path / "none", 0)
    put(none, range(3))
    assert kept(none, range(3)) == []
    assert not (tmp_path / "none").exists()
