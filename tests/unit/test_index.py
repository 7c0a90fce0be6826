from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import CorruptFile, SettingsError
from tests.unit.make_job import clustered
from workers import index
from workers.index import IndexPlan, choose_index, plan_from_factory

SMALL = "PCAR16,IVF16,PQ8x4fs"


def small_plan() -> IndexPlan:
    return plan_from_factory(SMALL, 2_000, 24)


@pytest.mark.parametrize(
    ("n", "d", "factory", "nprobe", "train_rows"),
    [
        (1, 1280, "IDMap2,Flat", 0, 0),
        (20_000, 1280, "IDMap2,Flat", 0, 0),
        (20_001, 1280, "PCAR256,IVF256,PQ128x4fs", 32, 20_001),
        (200_000, 1280, "PCAR256,IVF512,PQ128x4fs", 64, 60_000),
        (2_000_000, 1792, "PCAR256,IVF2048,PQ128x4fs", 256, 102_400),
        (50_000, 100, "PCAR100,IVF256,PQ50x4fs", 32, 50_000),
        (50_000, 33, "PCAR32,IVF256,PQ16x4fs", 32, 50_000),
        (50_000, 1, "IDMap2,Flat", 0, 0),
    ],
)
def test_the_choice_for_a_size_is_the_documented_one(
    n: int, d: int, factory: str, nprobe: int, train_rows: int
) -> None:
    plan = choose_index(n, d)
    assert (plan.factory, plan.nprobe, plan.train_rows, plan.dim) == (factory, nprobe, train_rows, d)
    assert plan.type == ("Flat" if "Flat" in factory else "IVF-PQ")


@given(n=st.integers(1, 10**8), d=st.integers(1, 4096))
@example(n=20_001, d=2)
def test_every_choice_can_be_trained_and_searched(n: int, d: int) -> None:
    plan = choose_index(n, d)
    assert 0 <= plan.train_rows <= n
    assert 0 <= plan.nprobe <= plan.nlist
    if plan.nlist:
        assert plan.train_rows >= min(n, 50 * plan.nlist, 60_000)
        assert 0.9 * np.sqrt(n) < plan.nlist < 2 * np.sqrt(n)
        kept = int(plan.factory.removeprefix("PCAR").split(",")[0])
        assert kept <= d
        assert kept == 2 * plan.m


@pytest.mark.parametrize(("n", "d"), [(0, 8), (8, 0), (-1, 8)])
def test_there_is_no_index_of_nothing(n: int, d: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        choose_index(n, d)


def test_the_chosen_factories_say_what_the_plan_says() -> None:
    chosen = choose_index(30_000, 64)
    assert plan_from_factory(chosen.factory, 30_000, 64) == chosen


@pytest.mark.parametrize("factory", ["Flat", "PQ8"])
def test_an_index_that_takes_no_ids_is_refused(factory: str) -> None:
    with pytest.raises(SettingsError, match="IDMap2"):
        plan_from_factory(factory, 1_000, 16)


@pytest.mark.parametrize("factory", ["nonsense", "IVF16,PQ7x4fs", ""])
def test_a_factory_that_faiss_does_not_know_is_named(factory: str) -> None:
    with pytest.raises(SettingsError, match=f"index {factory!r} for 16 dimensions"):
        plan_from_factory(factory, 1_000, 16)


def filled(plan: IndexPlan, vectors: np.ndarray, ids: np.ndarray, block: int) -> object:
    made = index.train(plan, vectors if plan.train_rows else None, seed=3)
    for start in range(0, len(vectors), block):
        index.add(made, ids[start : start + block], vectors[start : start + block])
    return made


@pytest.mark.parametrize("plan", [choose_index(2_000, 24), small_plan()], ids=["Flat", "IVF-PQ"])
def test_vectors_are_found_under_their_image_ids(plan: IndexPlan) -> None:
    vectors = clustered(2_000, 24)
    ids = np.arange(2_000, dtype=np.int64) * 3 + 2**40
    made = filled(plan, vectors, ids, block=333)
    found = index.candidates(made, vectors[:200], depth=20, nprobe=plan.nlist)
    assert found.shape == (200, 20)
    assert np.mean([own in row for own, row in zip(ids[:200], found, strict=True)]) > 0.99
    assert len(np.unique(found)) > 500


def test_more_lists_find_more_and_too_few_leave_gaps() -> None:
    vectors = clustered(2_000, 24)
    made = filled(small_plan(), vectors, np.arange(2_000), block=2_000)
    all_lists = index.candidates(made, vectors[:50], depth=2_000, nprobe=16)
    assert np.array_equal(np.sort(all_lists, axis=1), np.tile(np.arange(2_000), (50, 1)))
    one_list = index.candidates(made, vectors[:50], depth=2_000, nprobe=1)
    assert 0 < np.count_nonzero(one_list >= 0) < 50 * 1_000
    assert set(one_list[one_list < 0].tolist()) == {-1}


def test_a_trained_plan_without_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 2000 rows"):
        index.train(small_plan(), None)


def test_the_same_seed_and_vectors_make_the_same_bytes(tmp_path: Path) -> None:
    vectors = clustered(2_000, 24)
    for name in ("one", "two"):
        index.save(filled(small_plan(), vectors, np.arange(2_000), block=500), tmp_path / name)
    other = index.train(small_plan(), vectors, seed=4)
    index.add(other, np.arange(2_000), vectors)
    index.save(other, tmp_path / "other")
    one, two, third = ((tmp_path / name).read_bytes() for name in ("one", "two", "other"))
    assert one == two != third


@pytest.mark.parametrize("plan", [choose_index(2_000, 24), small_plan()], ids=["Flat", "IVF-PQ"])
def test_an_index_read_back_answers_as_before(tmp_path: Path, plan: IndexPlan) -> None:
    vectors = clustered(2_000, 24)
    made = filled(plan, vectors, np.arange(2_000), block=2_000)
    index.save(made, tmp_path / "index.faiss")
    again = index.load(tmp_path / "index.faiss", ntotal=2_000, dim=24)
    before, after = (
        index.candidates(one, vectors[:20], depth=30, nprobe=4 * bool(plan.nlist)) for one in (made, again)
    )
    assert np.array_equal(before, after)
    assert len(np.unique(after)) > 50


@pytest.mark.parametrize("keep", [0, 10, 5_000])
def test_an_index_cut_short_is_a_corrupt_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "index.faiss"
    index.save(filled(choose_index(2_000, 24), clustered(2_000, 24), np.arange(2_000), block=2_000), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFile, match=r"index\.faiss.*2000 vectors of 24 dimensions.*lookalike index"):
        index.load(path, ntotal=2_000, dim=24)


def test_an_index_of_other_vectors_is_a_corrupt_file(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    index.save(filled(choose_index(50, 24), clustered(50, 24), np.arange(50), block=50), path)
    with pytest.raises(CorruptFile, match="holds 50 vectors of 24"):
        index.load(path, ntotal=51, dim=24)
