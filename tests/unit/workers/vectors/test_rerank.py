from collections.abc import Callable
from typing import Any

import numkong
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.make_job import clustered, unit
from workers.vectors import rerank
from workers.vectors.embeddings import Floats, Rows, StoredEmbeddings
from workers.vectors.rerank import nearest


def settled(stored: StoredEmbeddings, rows: Rows, query: Floats, k: int) -> tuple[list[int], list[float]]:
    """What `nearest` promises, without a screen."""
    cosines = stored.cosines(rows, query)
    order = np.lexsort((rows, -cosines))[:k]
    return rows[order].tolist(), cosines[order].tolist()


def answer(stored: StoredEmbeddings, rows: Rows, query: Floats, k: int) -> tuple[list[int], list[float]]:
    found, cosines = nearest(stored, rows, query, k)
    return found.tolist(), cosines.tolist()


@given(
    seed=st.integers(0, 10_000),
    dim=st.sampled_from([1, 2, 3, 16, 31, 64, 333, 1_792]),
    rows=st.integers(1, 300),
    k=st.integers(1, 310),
    copies=st.integers(0, 100),
    tiny=st.sampled_from([1.0, 1e-3, 1e-6]),
)
@settings(max_examples=60, deadline=None)
def test_hits_are_those_of_full_precision_with_their_ties(
    seed: int, dim: int, rows: int, k: int, copies: int, tiny: float
) -> None:
    rng = np.random.default_rng(seed)
    # Values of very different sizes, as pooled features have them: float16 holds the smallest as subnormals.
    vectors = np.abs(rng.normal(size=(500, dim))) * tiny ** rng.random((1, dim)) + 1e-9
    half = unit(vectors).astype(np.float16)
    half[rng.permutation(500)[:copies]] = half[0]
    stored = StoredEmbeddings([half[:200], half[200:]], np.arange(500), dim)
    query = unit(half[rng.integers(500)].astype(np.float64) + 0.05 * rng.random(dim))
    some = rng.permutation(500)[:rows]
    assert answer(stored, some, query, k) == settled(stored, some, query, k)


@pytest.fixture
def stored() -> StoredEmbeddings:
    return StoredEmbeddings([clustered(3_000, 64, seed=5).astype(np.float16)], np.arange(3_000) * 2, 64)


def test_few_rows_are_settled_after_the_screen(stored: StoredEmbeddings, monkeypatch: pytest.MonkeyPatch) -> None:
    query = clustered(1, 64, seed=6)[0]
    rows = np.arange(0, 3_000, 2)
    expected = settled(stored, rows, query, 10)
    asked: list[int] = []
    cosines = StoredEmbeddings.cosines

    def counting(self: StoredEmbeddings, some: Rows, one: Floats) -> Floats:
        asked.append(len(some))
        return cosines(self, some, one)

    monkeypatch.setattr(StoredEmbeddings, "cosines", counting)
    monkeypatch.setattr(rerank, "BLOCK_ROWS", 400)
    assert answer(stored, rows, query, 10) == expected
    assert len(asked) == 1
    assert 10 <= asked[0] < 200


def fails(*_: Any, **options: Any) -> Any:
    raise RuntimeError("This processor is unknown.")


def wrong(rows: Any, query: Any, metric: str) -> Any:
    return np.full((len(rows), 1), 0.5)


def nan(rows: Any, query: Any, metric: str) -> Any:
    return np.full((len(rows), 1), np.nan)


@pytest.mark.parametrize("routine", [fails, wrong, nan, None])
def test_without_a_routine_that_is_exact_enough_all_rows_are_settled(
    stored: StoredEmbeddings, monkeypatch: pytest.MonkeyPatch, routine: Callable[..., Any] | None
) -> None:
    query = clustered(1, 64, seed=6)[0]
    rows = np.arange(500)
    expected = settled(stored, rows, query, 10)
    assert expected == answer(stored, rows, query, 10)
    if routine is None:
        monkeypatch.setattr(rerank, "numkong", None)
    else:
        monkeypatch.setattr(numkong, "cdist", routine)
    rerank.screens.cache_clear()
    try:
        assert not rerank.screens(64)
        assert answer(stored, rows, query, 10) == expected
    finally:
        rerank.screens.cache_clear()


def test_this_machinescreens() -> None:
    assert rerank.screens(1_792)
