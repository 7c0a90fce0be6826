"""Images near a query that were removed, or that a filter leaves out, hide none of those behind them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shared.messages.filter import Filter
from tests.support.make_job import image_path
from workers.search import searcher as module
from workers.search.candidates import of_index
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.faiss_index import plan_from_factory
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import IMAGES_SCHEMA, Images

pytestmark = pytest.mark.slow

IMAGES, DIM = 12_000, 8


@pytest.fixture(scope="module")
def searcher() -> Searcher:
    """Of images that lie anywhere, with a width that finds ten of them well and a thousand badly."""
    drawn = np.random.default_rng(3).normal(size=(IMAGES, DIM)).astype(np.float32)
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)
    ids = np.arange(IMAGES)
    plan = plan_from_factory("IVF128,PQ8x4fs", IMAGES, DIM)
    index = training.train(plan, [vectors.astype(np.float32)])
    faiss_index.add(index, ids, vectors.astype(np.float32))
    names = pa.array([image_path(image) for image in range(IMAGES)])
    paths = pa.record_batch([pa.array(ids), names], schema=IMAGES_SCHEMA)
    return Searcher(index, StoredEmbeddings([vectors], ids, DIM), Images([paths]), width=Width(12, 80), nlist=128)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(30, DIM)).astype(np.float32)


def recall(searcher: Searcher, queries: np.ndarray, filter: Filter | None = None) -> float:
    found, exact = (searcher.search_many(queries, 10, exact, filter) for exact in (False, True))
    return float(np.mean([len({h.id for h in a} & {h.id for h in b}) for a, b in zip(found, exact, strict=True)])) / 10


def nearest(searcher: Searcher, queries: np.ndarray, count: int) -> np.ndarray:
    """The ids of the images nearest to any of the queries, ascending."""
    return np.unique([hit.id for hits in searcher.search_many(queries, count, exact=True) for hit in hits])


@pytest.mark.parametrize("count", [30, 100, 500])
@pytest.mark.parametrize("removed", [1, 0.5, 0])
def test_what_lies_behind_hidden_images_is_found_as_well_as_before(
    searcher: Searcher, queries: np.ndarray, count: int, removed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the images near a query so many are removed, and a filter leaves out the others."""
    monkeypatch.setattr(module, "NARROW", 100)
    before = recall(searcher, queries)
    hidden = np.random.default_rng(6).permutation(nearest(searcher, queries[:10], count))
    gone = np.sort(hidden[: int(removed * len(hidden))])
    left = searcher.without(gone, IMAGES) if len(gone) else searcher
    filter = None if removed == 1 else Filter(ids=np.setdiff1d(np.arange(IMAGES), hidden))
    assert 0.9 < before < 1.0
    assert recall(left, queries[:10], filter) >= before - 0.02


@pytest.mark.parametrize("most", [10_000, 1_000])
def test_a_filter_that_chooses_what_is_far_from_a_query_finds_it(
    searcher: Searcher, queries: np.ndarray, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NARROW", 100)
    monkeypatch.setattr(of_index, "MOST_HIDDEN", most)
    cosines = searcher.stored.rows(np.arange(IMAGES)) @ queries[0]
    far = np.sort(np.argsort(cosines)[: IMAGES // 2])
    for k in (10, 100):
        found, exact = (searcher.search_many(queries[:1], k, exact, Filter(ids=far)) for exact in (False, True))
        assert len({hit.id for hit in found[0]} & {hit.id for hit in exact[0]}) >= 0.9 * k


def test_with_all_but_a_few_images_removed_near_a_query_all_of_them_are_found(
    searcher: Searcher, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_index, "MOST_HIDDEN", 2_000)
    gone = np.setdiff1d(np.arange(IMAGES), [5, 70, 900, 11_000])
    left = searcher.without(gone, IMAGES)
    for k in (1, 4, 10):
        found, exact = (left.search_many(queries[:3], k, exact) for exact in (False, True))
        assert found == exact
        assert [len(hits) for hits in found] == [min(k, 4)] * 3


def test_where_hardly_any_image_is_left_the_removed_ones_are_not_looked_at(
    searcher: Searcher, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_index, "MOST_HIDDEN", 1_000)
    left = searcher.without(np.setdiff1d(np.arange(IMAGES), np.arange(0, IMAGES, 600)), IMAGES)
    exact = left.search_many(queries[:9], 3, exact=True)
    asked: list[int] = []
    ask = faiss_index.candidates

    def seen(index: Any, units: np.ndarray, depth: int, *rest: Any, **more: Any) -> np.ndarray:
        asked.append(depth)
        return ask(index, units, depth, *rest, **more)

    monkeypatch.setattr(faiss_index, "candidates", seen)
    assert left.search_many(queries[:9], 3) == exact
    assert asked == [IMAGES // 600] * 9


def test_images_removed_anywhere_cost_no_second_look(
    searcher: Searcher, queries: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recall(searcher, queries)
    left = searcher.without(np.random.default_rng(5).permutation(IMAGES)[: IMAGES // 3], IMAGES)
    assert recall(left, queries) >= before - 0.02
    looks: list[int] = []
    ask = faiss_index.candidates

    def counted(index: Any, units: np.ndarray, *rest: Any, **more: Any) -> np.ndarray:
        looks.append(len(units))
        return ask(index, units, *rest, **more)

    monkeypatch.setattr(faiss_index, "candidates", counted)
    for query in queries:
        left.search(query, 10)
    assert len(looks) <= 1.3 * len(queries)


def test_no_removed_image_is_found(searcher: Searcher, queries: np.ndarray) -> None:
    gone = nearest(searcher, queries, 40)
    hits = searcher.without(gone, IMAGES).search_many(queries, 50)
    assert all(len(one) == 50 for one in hits)
    assert not {hit.id for one in hits for hit in one} & set(gone.tolist())
