from collections.abc import Sequence

import numpy as np
import pytest

from shared.messages.search import Hit
from tests.support.make_job import clustered, unit
from workers.evaluate import recall
from workers.vectors import exact, rerank
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import Neighbours


def stored_of(vectors: np.ndarray, ids: np.ndarray | None = None, parts: Sequence[int] = ()) -> StoredEmbeddings:
    half = vectors.astype(np.float16)
    ids = np.arange(len(half)) if ids is None else ids
    return StoredEmbeddings(np.split(half, parts), ids, half.shape[1])


def brute_force(stored: StoredEmbeddings, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    vectors = stored.rows(np.arange(len(stored))).astype(np.float64)
    cosines = queries @ vectors.T / np.linalg.norm(vectors, axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return stored.ids[order], np.take_along_axis(cosines, order, axis=1)


@pytest.mark.parametrize(("simd", "step"), [(True, 37), (True, 20), (True, 7), (False, 37)])
def test_exact_search_is_brute_force(monkeypatch: pytest.MonkeyPatch, simd: bool, step: int) -> None:
    for module in (exact, rerank):
        monkeypatch.setattr(module, "BLOCK_ROWS", 64)
    if not simd:
        monkeypatch.setattr(rerank, "screens", lambda dim: False)
    vectors = clustered(1_000, 48)
    stored = stored_of(vectors, ids=np.arange(1_000) * 2 + 5, parts=[10, 300, 300, 999])
    queries = unit(vectors[::step] + 0.3 * clustered(1_000, 48, seed=9)[::step])
    for k in (1, 10, 400):
        ids, similarities = exact.exact_search(stored, queries, k)
        true_ids, true_similarities = brute_force(stored, queries, k)
        assert np.allclose(similarities, true_similarities, atol=1e-6)
        # Far down, two images may be closer than float32 can tell.
        assert np.array_equal(ids[:, :10], true_ids[:, :10])
        assert np.mean(ids == true_ids) > 0.99


def test_exact_search_gives_all_there_are_when_they_are_few() -> None:
    stored = stored_of(clustered(4, 8))
    found = exact.exact_search(stored, clustered(2, 8, seed=1), 10)
    assert found.ids.shape == found.similarities.shape == (2, 4)
    assert sorted(found.ids[1].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("simd", [True, False])
def test_ties_are_ordered_by_id_however_many_there_are(monkeypatch: pytest.MonkeyPatch, simd: bool) -> None:
    for module in (exact, rerank):
        monkeypatch.setattr(module, "BLOCK_ROWS", 50)
    if not simd:
        monkeypatch.setattr(rerank, "screens", lambda dim: False)
    rng = np.random.default_rng(2)
    vectors = unit(rng.normal(size=(997, 40)))
    copies = np.sort(rng.permutation(997)[:300])
    vectors[copies] = vectors[copies[0]]
    stored = stored_of(vectors, parts=[333, 334])
    found = exact.exact_search(stored, unit(vectors[copies[:1]] + 0.1), 100)
    assert np.array_equal(found.ids[0], copies[:100])
    assert len(np.unique(found.similarities)) == 1


def test_what_ties_with_the_last_kept_is_ordered_by_row() -> None:
    values = np.array([0.9, 0.5 + 2e-7, 0.5 - 2e-7, 0.5, 0.8, 0.4], dtype=np.float32)
    order = exact._foremost(values, np.array([50, 30, 20, 10, 60, 5]), 3)
    assert order.tolist() == [0, 4, 3, 2, 1, 5]


def neighbours(ids: list[list[int]], similarities: list[list[float]]) -> Neighbours:
    return Neighbours(np.array(ids, dtype=np.int64), np.array(similarities, dtype=np.float32))


def test_recall_is_the_share_of_the_true_neighbours() -> None:
    truth = neighbours([[1, 2, 3, 4], [5, 6, 7, 8]], [[0.9, 0.8, 0.7, 0.6]] * 2)
    found = neighbours([[2, 1, 9, 10], [5, 6, 7, 9]], [[0.8, 0.9, 0.5, 0.4], [0.9, 0.8, 0.7, 0.5]])
    assert recall.recall_at(4, found, truth) == 5 / 8
    assert recall.recall_at(2, found, truth) == 1.0
    assert recall.recall_at(4, truth, truth) == 1.0


def test_a_copy_as_similar_as_the_last_true_neighbour_counts() -> None:
    truth = neighbours([[1, 2]], [[0.9, 0.9]])
    assert recall.recall_at(2, neighbours([[7, 8]], [[0.9, 0.9]]), truth) == 1.0
    assert recall.recall_at(2, neighbours([[7, 8]], [[0.9, 0.8999]]), truth) == 0.5
    assert recall.recall_at(2, neighbours([[7, 7]], [[0.9, 0.9]]), truth) == 0.5


def test_recall_counts_the_neighbours_there_are() -> None:
    nothing = -np.inf
    truth = neighbours([[1, 2, -1], [-1, -1, -1]], [[0.9, 0.8, nothing], [nothing] * 3])
    found = neighbours([[1, -1, -1], [-1, -1, -1]], [[0.9, nothing, nothing], [nothing] * 3])
    assert recall.recall_at(3, found, truth) == 0.5
    assert recall.recall_at(3, found, neighbours([[-1]], [[nothing]])) is None


class Searching:
    """Finds all but every `drop`-th image, and knows which vectors it was asked for."""

    def __init__(self, stored: StoredEmbeddings, drop: int = 10**9) -> None:
        self.stored, self.drop = stored, drop
        self.asked: list[np.ndarray] = []

    def search(self, vector: np.ndarray, k: int) -> list[Hit]:
        self.asked.append(vector)
        ids, similarities = brute_force(self.stored, vector[None], len(self.stored))
        some = [pair for pair in zip(ids[0], similarities[0], strict=True) if pair[0] % self.drop != self.drop - 1]
        return [Hit(rank, int(one), "", float(value)) for rank, (one, value) in enumerate(some[:k], 1)]


def test_a_searcher_that_finds_all_has_a_recall_of_one_and_one_that_does_not_less() -> None:
    stored = stored_of(clustered(600, 32))
    perfect = recall.measure(Searching(stored), stored, queries=80)
    assert (perfect.recall, perfect.queries) == (1.0, 80)
    worse = recall.measure(Searching(stored, drop=4), stored, queries=80).recall
    assert worse is not None
    assert 0.6 < worse < 0.9
    assert 0 < perfect.p50_ms <= perfect.p99_ms


def test_queries_are_asked_in_tens_once_to_warm_up_and_once_for_the_clock() -> None:
    stored = stored_of(clustered(100, 32))
    searcher = Searching(stored)
    rests: list[int] = []
    measured = recall.yardstick(stored, queries=25)
    recall.measure_against(searcher, measured, between=lambda: rests.append(len(searcher.asked)))
    assert rests == [20, 40, 50]
    assert np.array_equal(searcher.asked[:20], np.concatenate([measured.vectors[:10]] * 2))


def test_finding_nothing_but_oneself_is_no_recall() -> None:
    stored = stored_of(clustered(100, 32))

    class Vain(Searching):
        def search(self, vector: np.ndarray, k: int) -> list[Hit]:
            return super().search(vector, 1)

    assert recall.measure(Vain(stored), stored).recall == 0.0


def test_the_truth_leaves_the_query_out_and_the_seed_decides_the_queries() -> None:
    stored = stored_of(clustered(300, 32), ids=np.arange(300) * 7)
    one, again, other = (recall.yardstick(stored, k=5, queries=50, seed=seed) for seed in (1, 1, 2))
    assert one.truth.ids.shape == (50, 5)
    assert not np.any(one.truth.ids == one.ids[:, None])
    assert np.array_equal(one.ids, again.ids)
    assert not np.array_equal(one.ids, other.ids)
    true_ids, _ = brute_force(stored, one.vectors, 6)
    assert np.array_equal(one.truth.ids, true_ids[:, 1:])


@pytest.mark.parametrize(("n", "expected"), [(1, None), (2, 1.0), (5, 1.0)])
def test_fewer_images_than_k_are_measured_by_what_there_is(n: int, expected: float | None) -> None:
    stored = stored_of(clustered(n, 16))
    measured = recall.measure(Searching(stored), stored, k=10)
    assert (measured.recall, measured.queries) == (expected, n)


def test_queries_stay_those_of_a_job_that_changes_and_new_images_are_among_them_as_in_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = np.ones((30_000, 2), np.float32)
    first, more = stored_of(vectors[:20_000]), stored_of(vectors)
    before, after = first.ids[recall.drawn(first, 1_000, 4)], more.ids[recall.drawn(more, 1_000, 4)]
    assert len(np.unique(after)) == 1_000
    old = after[after < 20_000]
    assert set(old) <= set(before)
    assert 0.27 < 1 - len(old) / 1_000 < 0.39  # A third of them is new.
    assert abs(after.mean() - 15_000) < 1_000
    left = stored_of(vectors[:10_000], ids=first.ids[1::2])
    assert set(before[before % 2 == 1]) <= set(left.ids[recall.drawn(left, 1_000, 4)])
    monkeypatch.setattr(recall, "DRAWN_AT_ONCE", 777)
    assert np.array_equal(more.ids[recall.drawn(more, 1_000, 4)], after)
    assert len(recall.drawn(more, 50_000, 4)) == 30_000
