from typing import Any

import numpy as np
import pytest

from tests.support.make_job import clustered
from workers.vectors.ann import faiss_index, ivf_lists, layers, training
from workers.vectors.ann.ivf_lists import NearLists

N, D, NLIST = 4_000, 24, 64
FACTORIES = [
    f"PCAR16,IVF{NLIST},PQ8x4fs",
    f"PCAR16,IVF{NLIST},RaBitQfs",
    f"IVF{NLIST},PQ12np",
    f"IVF{NLIST},SQ8",
    f"PCAR16,IVF{NLIST}_HNSW32,PQ8x4fs",
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(N, D)


@pytest.fixture(scope="module", params=FACTORIES)
def made(request: pytest.FixtureRequest, vectors: np.ndarray) -> Any:
    plan = faiss_index.plan_from_factory(request.param, N, D)
    made = training.train(plan, [vectors])
    faiss_index.add(made, np.arange(N) + 7, vectors)
    return made


def reduced(made: Any, queries: np.ndarray) -> tuple[np.ndarray, Any]:
    bare = layers.bare_ivf(made)
    assert bare is not None
    chain, ivf = bare
    for transform in chain:
        queries = transform.apply(queries)
    return queries, ivf


def centroids(ivf: Any) -> np.ndarray:
    return np.stack([ivf.quantizer.reconstruct(number) for number in range(ivf.nlist)])


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_nearest_lists_are_those_of_brute_force(made: Any, vectors: np.ndarray, count: int) -> None:
    queries, ivf = reduced(made, vectors[:count])
    squared = np.square(queries[:, None] - centroids(ivf)[None]).sum(axis=2)
    margin = 0.5 * float(np.median(squared) - squared.min())
    near = ivf_lists.nearest(ivf, queries, 20, margin)
    sizes = []
    for row, found, distances in zip(squared, near.lists, near.distances, strict=True):
        right = np.flatnonzero(row <= row.min() + margin)
        right = right[np.argsort(row[right])][:20]
        kept = found[found >= 0]
        sizes.append(len(kept))
        assert kept.tolist() == right.tolist()
        assert distances[: len(kept)] == pytest.approx(row[right], abs=1e-5)
        assert np.isinf(distances[len(kept) :]).all()
    assert max(sizes) <= 20
    assert min(sizes) >= 1
    assert count < 40 or len(set(sizes)) > 3, "queries differ in how many lists lie near them"


@pytest.mark.parametrize("count", [1, 40])
def test_all_lists_find_what_the_index_finds(made: Any, vectors: np.ndarray, count: int) -> None:
    queries, ivf = reduced(made, vectors[:count])
    distances, ids = ivf_lists.search(ivf, queries, 50, ivf_lists.nearest(ivf, queries, NLIST))
    ivf.nprobe = NLIST
    expected, expected_ids = ivf.search(queries, 50)
    assert np.allclose(distances, expected, rtol=1e-3, atol=1e-3)
    assert np.mean(ids == expected_ids) > 0.98  # Equal codes may change places.
    assert len(np.unique(ids)) >= 50


def test_no_list_is_read_that_was_not_named(made: Any, vectors: np.ndarray) -> None:
    queries, ivf = reduced(made, vectors[:40])
    near = ivf_lists.nearest(ivf, queries, 3)
    kept = np.arange(40) % 3 + 1  # One list for some, up to three for others.
    off = np.arange(3)[None] >= kept[:, None]
    named = NearLists(np.where(off, -1, near.lists), np.where(off, np.inf, near.distances).astype(np.float32))
    _, ids = ivf_lists.search(ivf, queries, 500, named)
    _, own = ivf.quantizer.search(reduced(made, vectors)[0], 1)
    for row, few in zip(ids, named.lists, strict=True):
        where = own[row[row >= 0] - 7, 0]
        assert set(where.tolist()) <= set(few[few >= 0].tolist())
        assert len(where) == min(500, int(np.isin(own[:, 0], few[few >= 0]).sum()))


@pytest.mark.parametrize("nprobe", [2, 8, 30])
def test_a_margin_reads_as_many_lists_on_average_as_were_asked_for(made: Any, vectors: np.ndarray, nprobe: int) -> None:
    queries, ivf = reduced(made, vectors[:200])
    most = min(3 * nprobe, NLIST)
    near = ivf_lists.nearest(ivf, queries, most, ivf_lists.margin_for(ivf, queries, nprobe, most))
    counts = (near.lists >= 0).sum(axis=1)
    assert counts.mean() == pytest.approx(nprobe, rel=0.02)
    assert counts.max() <= most
    assert counts.min() < nprobe < counts.max()


def test_where_all_lists_are_asked_for_the_margin_takes_them_all(made: Any, vectors: np.ndarray) -> None:
    queries, ivf = reduced(made, vectors[:20])
    near = ivf_lists.nearest(ivf, queries, NLIST, ivf_lists.margin_for(ivf, queries, NLIST, NLIST))
    assert (np.sort(near.lists, axis=1)[:, -NLIST:] == np.arange(NLIST)).mean() > 0.99  # HNSW may miss one.


@pytest.mark.parametrize(
    ("factory", "prunes"), [(FACTORIES[0], True), ("IDMap2,Flat", False), ("IDMap2,PCAR16,HNSW16_SQ8", False)]
)
def test_an_index_prunes_where_it_has_lists_under_the_image_ids(
    vectors: np.ndarray, factory: str, prunes: bool
) -> None:
    made = training.train(faiss_index.plan_from_factory(factory, N, D), [vectors])
    assert faiss_index.prunes(made) == prunes
    if not prunes:
        with pytest.raises(ValueError, match="without lists"):
            faiss_index.list_margin(made, vectors[:3], 1, 1)


def test_a_margin_leaves_lists_out_and_a_ratio_candidates(made: Any, vectors: np.ndarray) -> None:
    queries = vectors[:50]
    margin = faiss_index.list_margin(made, queries, 8, 24)
    every = faiss_index.search(made, queries, 400, 24)
    some = faiss_index.search(made, queries, 400, 24, list_margin=margin)
    assert np.count_nonzero(some.ids >= 0) < np.count_nonzero(every.ids >= 0)
    pruned = faiss_index.candidates(made, queries, 400, 24, list_margin=margin, depth_ratio=1.5, k=10)
    counts = (pruned >= 0).sum(axis=1)
    assert counts.min() >= 10
    for row, ids, distances in zip(pruned, some.ids, some.distances, strict=True):
        kept = ids[(distances.astype(np.float64) <= 1.5 * float(distances[9])) & (ids >= 0)]
        assert row[row >= 0].tolist() == kept.tolist()
    assert counts.mean() < 0.8 * (some.ids >= 0).sum(axis=1).mean()


def test_where_the_last_hit_is_no_distance_away_every_candidate_is_kept() -> None:
    distances = np.array([[0.0, 0.0, 0.5, 3.4e38], [0.1, 0.2, 0.25, 0.5], [-0.1, -0.05, 1.0, 2.0]], dtype=np.float32)
    assert faiss_index.farthest(distances, 1.5, 2).tolist() == [np.inf, pytest.approx(0.3), np.inf]
    assert faiss_index.farthest(distances, 1.5, 9)[1] == pytest.approx(0.75)
    assert np.isfinite(faiss_index.farthest(distances, 2.0, 4)).all(), (
        "FAISS's 'nothing there' times two is no overflow"
    )
