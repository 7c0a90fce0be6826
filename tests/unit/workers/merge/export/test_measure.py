"""What a bundle is worth is measured by true similarities, whatever it says itself."""

from typing import Any, cast

import numpy as np
import pytest

from shared.messages.search import Hit
from tests.support.make_job import clustered
from workers.merge.export.measure import measure
from workers.search.searcher import Searcher
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import exact_search


class _Answers:
    """Answers with the images `choose` gives for a query, each of which it takes to be `off` nearer than it is."""

    def __init__(self, stored: StoredEmbeddings, choose: Any, off: float) -> None:
        self._stored, self._choose, self._off = stored, choose, off

    def search(self, vector: np.ndarray, k: int) -> list[Hit]:
        ids = self._choose(vector, k)
        cosines = self._stored.cosines(self._stored.rows_of(ids), vector) + self._off
        return [
            Hit(rank, *one)
            for rank, one in enumerate(zip(ids.tolist(), map(str, ids), cosines.tolist(), strict=True), 1)
        ]


@pytest.fixture
def stored() -> StoredEmbeddings:
    return StoredEmbeddings([clustered(400, 32, clusters=20).astype(np.float16)], np.arange(400) * 2, 32)


def test_the_true_neighbours_are_a_recall_of_1(stored: StoredEmbeddings) -> None:
    def true(vector: np.ndarray, k: int) -> np.ndarray:
        return exact_search(stored, vector[None], k).ids[0]

    worth = measure(cast(Searcher, _Answers(stored, true, 0.003)), stored)
    assert (worth.recall, worth.queries) == (1.0, 100)
    assert worth.error_p99 == pytest.approx(0.003, abs=1e-5)
    assert worth.error_most == pytest.approx(0.003, abs=1e-5)
    assert 0 < worth.p50_ms <= worth.p99_ms


def test_wrong_hits_that_claim_to_be_near_do_not_count(stored: StoredEmbeddings) -> None:
    worth = measure(cast(Searcher, _Answers(stored, lambda vector, k: stored.ids[:k], 0.9)), stored)
    assert worth.recall is not None
    assert worth.recall < 0.1
    assert worth.error_most > 0.5


def test_one_image_has_no_neighbour() -> None:
    alone = StoredEmbeddings([clustered(1, 32).astype(np.float16)], np.array([5]), 32)
    worth = measure(cast(Searcher, _Answers(alone, lambda vector, k: alone.ids, 0.0)), alone)
    assert (worth.recall, worth.queries, worth.error_most) == (None, 1, 0.0)
