"""Several indexes searched as one: the nearest of all, in one order, one after another or side by side."""

import threading

import numpy as np
import pytest

from workers.vectors.ann import faiss_index, shards
from workers.vectors.ann.index_files import together, trained_as
from workers.vectors.ann.shards import Shards, nearest_of

VECTORS = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)


def flat(start: int, stop: int) -> object:
    index = faiss_index.empty("IDMap2,Flat", 8)
    faiss_index.add(index, np.arange(start, stop), VECTORS[start:stop])
    return index


@pytest.mark.parametrize("side_by_side", [0, 10**9])
@pytest.mark.parametrize("only", [None, [3, 70, 71, 150]])
def test_the_nearest_of_all_are_found_in_order_whether_side_by_side_or_not(
    side_by_side: int, only: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SIDE_BY_SIDE", side_by_side)
    chosen = None if only is None else faiss_index.Only(np.array(only))
    one, many = flat(0, 200), together([flat(0, 70), flat(70, 71), flat(71, 200)])
    assert (many.ntotal, many.d) == (200, 8)
    expected = faiss_index.search(one, VECTORS[:5], 20, 0, chosen)
    found = faiss_index.search(many, VECTORS[:5], 20, 0, chosen)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("share", "threads"), [(0.1, {"MainThread"}), (1e6, {"shard_0", "shard_1"})])
def test_threads_are_used_where_many_images_are_compared(share: float, threads: set[str]) -> None:
    seen = set()
    meet = threading.Barrier(2)

    def search(part: object) -> tuple[np.ndarray, np.ndarray]:
        name = threading.current_thread().name
        seen.add(name)
        if name != "MainThread":
            meet.wait(30)  # Each waits for the other, so that no thread does both.
        return np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32)

    nearest_of(Shards([flat(0, 10), flat(10, 20)]), search, 1, share)
    assert len(seen) == len(threads)
    assert {name.partition("_")[0] for name in seen} == {name.partition("_")[0] for name in threads}


def test_equal_distances_are_ordered_by_id() -> None:
    def search(part: object) -> tuple[np.ndarray, np.ndarray]:
        first = 0 if part.ntotal == 10 else 50  # type: ignore[attr-defined]
        return np.array([[first, first + 1]]), np.array([[1.0, 2.0]], np.float32)

    ids, distances = nearest_of(Shards([flat(0, 10), flat(10, 21)]), search, 3)
    assert ids.tolist() == [[0, 50, 1]]
    assert distances.tolist() == [[1.0, 1.0, 2.0]]


@pytest.mark.parametrize(
    "factory", ["PCAR4,IVF4,PQ2x4fs", "PCAR4,IVF4,RaBitQfs", "IDMap2,PCAR4,HNSW8_SQ8", "IVF4_HNSW8,SQ8"]
)
def test_what_an_index_was_trained_to_is_told_from_another_training_and_not_from_its_images(factory: str) -> None:
    def trained(rows: slice) -> object:
        index = faiss_index.empty(factory, 8)
        index.train(VECTORS[rows])
        return index

    one, same, other = trained(slice(None)), trained(slice(None)), trained(slice(0, 150))
    before = trained_as(one)
    faiss_index.add(one, np.arange(50), VECTORS[:50])
    assert trained_as(one) == before == trained_as(same) != trained_as(other)
