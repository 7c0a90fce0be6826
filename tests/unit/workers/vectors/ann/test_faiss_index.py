from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest

from shared.errors import CorruptFile, SettingsError
from shared.job.index.request import IndexRequest
from tests.support.make_job import clustered
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.faiss_index import IndexPlan, choose_index, plan_for, plan_from_factory

SMALL = "PCAR16,IVF16,PQ8x4fs"


def small_plan() -> IndexPlan:
    return plan_from_factory(SMALL, 2_000, 24)


def test_the_chosen_factories_say_what_the_plan_says() -> None:
    for family in ("flat", "ivf-pq", "hnsw"):
        chosen = choose_index(30_000, 64, IndexRequest(family))
        typed = plan_from_factory(chosen.factory, 30_000, 64)
        assert (typed.nlist, typed.nprobe, typed.most_nprobe) == (chosen.nlist, chosen.nprobe, chosen.most_nprobe)
        assert (typed.dim, typed.train_rows > 0) == (64, chosen.train_rows > 0)
    assert plan_from_factory(choose_index(30_000, 64).factory, 30_000, 64).m == 32


def test_a_family_is_planned_by_its_name_and_anything_else_by_faiss() -> None:
    assert plan_for(30_000, 64, IndexRequest("rabitq")) == choose_index(30_000, 64, IndexRequest("rabitq"))
    assert plan_for(30_000, 64, IndexRequest("PCAR16,IVF32,PQ4x4fs")).nlist == 32


@pytest.mark.parametrize("factory", ["Flat", "PQ8"])
def test_an_index_that_takes_no_ids_is_refused(factory: str) -> None:
    with pytest.raises(SettingsError, match="IDMap2"):
        plan_from_factory(factory, 1_000, 16)


@pytest.mark.parametrize("factory", ["nonsense", "IVF16,PQ7x4fs", ""])
def test_a_factory_that_faiss_does_not_know_is_named(factory: str) -> None:
    with pytest.raises(SettingsError, match=f"index {factory!r} for 16 dimensions"):
        plan_from_factory(factory, 1_000, 16)


def halves(vectors: np.ndarray) -> list[np.ndarray]:
    """A sample that comes in two blocks."""
    return [vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]]


def filled(plan: IndexPlan, vectors: np.ndarray, ids: np.ndarray, block: int) -> object:
    made = training.train(plan, halves(vectors) if plan.train_rows else None, seed=3)
    for start in range(0, len(vectors), block):
        faiss_index.add(made, ids[start : start + block], vectors[start : start + block])
    return made


PLANS = {
    "Flat": choose_index(2_000, 24),
    "IVF-PQ": small_plan(),
    "IVF-RaBitQ": replace(choose_index(2_000, 24, IndexRequest("rabitq")), nprobe=16),
    "HNSW": choose_index(2_000, 24, IndexRequest("hnsw")),
    "8-bit PQ without PCA": plan_from_factory("IVF16,PQ12np", 2_000, 24),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


@every_plan
def test_vectors_are_found_under_their_image_ids(plan: IndexPlan) -> None:
    vectors = clustered(2_000, 24)
    ids = np.arange(2_000, dtype=np.int64) * 3 + 2**40
    made = filled(plan, vectors, ids, block=333)
    found = faiss_index.candidates(made, vectors[:200], depth=20, nprobe=plan.most_nprobe)
    assert found.shape == (200, 20)
    assert np.mean([own in row for own, row in zip(ids[:200], found, strict=True)]) > 0.99
    assert len(np.unique(found)) > 500


def test_more_lists_find_more_and_too_few_leave_gaps() -> None:
    vectors = clustered(2_000, 24)
    made = filled(small_plan(), vectors, np.arange(2_000), block=2_000)
    all_lists = faiss_index.candidates(made, vectors[:50], depth=2_000, nprobe=16)
    assert np.array_equal(np.sort(all_lists, axis=1), np.tile(np.arange(2_000), (50, 1)))
    one_list = faiss_index.candidates(made, vectors[:50], depth=2_000, nprobe=1)
    assert 0 < np.count_nonzero(one_list >= 0) < 50 * 1_000
    assert set(one_list[one_list < 0].tolist()) == {-1}


def test_a_trained_plan_without_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2000 rows"):
        training.train(small_plan(), None)


def test_the_same_seed_and_vectors_make_the_same_bytes(tmp_path: Path) -> None:
    vectors = clustered(2_000, 24)
    for name in ("one", "two"):
        faiss_index.save(filled(small_plan(), vectors, np.arange(2_000), block=500), tmp_path / name)
    other = training.train(small_plan(), halves(vectors), seed=4)
    faiss_index.add(other, np.arange(2_000), vectors)
    faiss_index.save(other, tmp_path / "other")
    one, two, third = ((tmp_path / name).read_bytes() for name in ("one", "two", "other"))
    assert one == two != third


@every_plan
def test_no_other_image_is_found_where_some_alone_may_be(plan: IndexPlan) -> None:
    vectors = clustered(2_000, 24)
    made = filled(plan, vectors, np.arange(2_000), block=2_000)
    ids = np.arange(5, 2_000, 7)
    found = faiss_index.candidates(made, vectors[:50], 30, plan.most_nprobe, faiss_index.Only(ids))
    assert np.isin(found[found >= 0], ids).all()
    assert len(np.unique(found)) > 100
    assert np.mean(found[:, 0] >= 0) == 1.0
    nothing = faiss_index.candidates(made, vectors[:3], 30, plan.most_nprobe, faiss_index.Only(ids[:0]))
    assert set(nothing.ravel().tolist()) == {-1}


def test_pca_is_that_of_the_whole_sample_however_it_is_cut() -> None:
    vectors = clustered(2_000, 24)
    whole, cut = (training.train(small_plan(), sample) for sample in ([vectors], np.array_split(vectors, 7)))
    transforms = [faiss.downcast_VectorTransform(made.chain.at(0)) for made in (whole, cut)]
    reduced, again = (transform.apply(vectors) for transform in transforms)
    assert np.allclose(reduced @ reduced.T, again @ again.T, atol=1e-3)
    assert np.linalg.norm(reduced @ reduced.T) > 10
    theirs = faiss.PCAMatrix(24, 16)
    theirs.train(vectors)
    kept = [np.square(some).sum() for some in (reduced, theirs.apply(vectors))]
    assert kept[0] == pytest.approx(kept[1], rel=1e-3)
    assert np.allclose(reduced.mean(axis=0), 0, atol=1e-4)


@every_plan
def test_an_index_read_back_answers_as_before(tmp_path: Path, plan: IndexPlan) -> None:
    vectors = clustered(2_000, 24)
    made = filled(plan, vectors, np.arange(2_000), block=2_000)
    faiss_index.save(made, tmp_path / "index.faiss")
    again = faiss_index.load(tmp_path / "index.faiss", ntotal=2_000, dim=24)
    before, after = (
        faiss_index.candidates(one, vectors[:20], depth=30, nprobe=min(4, plan.most_nprobe)) for one in (made, again)
    )
    assert np.array_equal(before, after)
    assert len(np.unique(after)) > 50


@pytest.mark.parametrize("keep", [0, 10, 5_000])
def test_an_index_cut_short_is_a_corrupt_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index.faiss"
    faiss_index.save(filled(choose_index(2_000, 24), clustered(2_000, 24), np.arange(2_000), block=2_000), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        CorruptFile, match=r"index\.faiss.*2000 vectors of 24 dimensions.*what made the job builds it anew"
    ):
        faiss_index.load(path, ntotal=2_000, dim=24)


def test_an_index_of_other_vectors_is_a_corrupt_file(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    faiss_index.save(filled(choose_index(50, 24), clustered(50, 24), np.arange(50), block=50), path)
    with pytest.raises(CorruptFile, match="holds 50 vectors of 24"):
        faiss_index.load(path, ntotal=51, dim=24)
