import faiss
import numpy as np
import pytest

from tests.support.make_job import clustered
from workers.vectors.ann.screen import Screen, screen_beside

VECTORS = clustered(2_000, 32)
QUERIES = clustered(2_050, 32)[2_000:]


@pytest.fixture(scope="module")
def beside() -> Screen:
    index = faiss.index_factory(32, "PCAR24,IVF8,SQ8")
    index.train(VECTORS)
    screen = screen_beside(index)
    assert screen is not None
    return screen


def recall(found: np.ndarray, ids: np.ndarray) -> float:
    true = ids[np.argsort(-(QUERIES @ VECTORS[ids].T), axis=1)[:, :10]]
    return (
        float(np.mean([len(set(one) & set(two)) for one, two in zip(found.tolist(), true.tolist(), strict=True)])) / 10
    )


def test_a_screen_that_grew_in_many_steps_finds_what_one_made_at_once_finds(beside: Screen) -> None:
    ids = np.random.default_rng(0).permutation(2_000)
    whole = beside.grown(ids, [VECTORS[ids]])
    grown, sizes = beside, []
    for some in np.split(ids, [1, 2, 5, 100, 103, 700, 1_200, 1_201, 1_990]):
        if len(some):
            before, held = grown, grown.ids.copy()
            grown = grown.grown(some, [VECTORS[some]])
            assert np.array_equal(before.ids, held)  # Whoever searches the one before is not disturbed.
            sizes.append(len(grown._segments))
    assert sorted(grown.ids.tolist()) == list(range(2_000))
    assert max(sizes) <= 5
    for screen in (whole, grown):
        found = screen.candidates(QUERIES, 50)
        assert found.shape == (50, 50)
        assert recall(found, np.arange(2_000)) >= 0.99
    few = np.arange(0, 2_000, 7)
    found = grown.candidates(QUERIES, 50, few)
    assert set(found[found >= 0].tolist()) <= set(few.tolist())
    assert recall(found, few) >= 0.99


def test_fewer_images_than_are_asked_for_are_all_found(beside: Screen) -> None:
    screen = beside.grown(np.array([7]), [VECTORS[7:8]]).grown(np.array([3, 9, 4]), [VECTORS[[3, 9]], VECTORS[[4]]])
    found = screen.candidates(QUERIES[:2], 50)
    assert [sorted(row[row >= 0].tolist()) for row in found] == [[3, 4, 7, 9]] * 2
    found = screen.candidates(QUERIES[:2], 50, np.array([4, 7, 11]))
    assert [sorted(row[row >= 0].tolist()) for row in found] == [[4, 7]] * 2


def test_an_index_that_reduces_nothing_has_no_screen() -> None:
    for kind in ("Flat", "IVF4,Flat", "HNSW8"):
        assert screen_beside(faiss.index_factory(32, kind)) is None
