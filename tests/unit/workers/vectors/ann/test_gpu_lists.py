"""Lists on a GPU: by a stand-in that computes on the CPU, and on a GPU where faiss-gpu finds one."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from tests.support.make_job import clustered
from workers.vectors.ann import faiss_index, gpu_lists, training
from workers.vectors.ann.layers import ivf_of

FACTORIES = ["PCAR16,IVF16,PQ8x4fs", "IVF16,PQ8x4", "IVF16_HNSW8,RaBitQ", "IVF16,Flat"]
needs_gpu = pytest.mark.skipif(not gpu_lists.is_there(), reason="FAISS finds no GPU.")


class Resources:
    """What stands in for a GPU's memory: how many copies were asked for, and how large each was."""

    copies: list[int]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Resources]:
    """A GPU of faiss-gpu's interface, on the CPU."""

    def index_cpu_to_gpu(resources: Resources, device: int, flat: Any) -> Any:
        assert (type(resources), device, flat.metric_type) == (Resources, 0, faiss.METRIC_L2)
        assert isinstance(flat, faiss.IndexFlat)
        Resources.copies.append(flat.ntotal)
        copy = faiss.IndexFlatL2(flat.d)
        if flat.ntotal:
            copy.add(flat.reconstruct_n(0, flat.ntotal))
        return copy

    Resources.copies = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", index_cpu_to_gpu, raising=False)
    return Resources


def made(factory: str, vectors: np.ndarray) -> Any:
    plan = faiss_index.plan_from_factory(factory, len(vectors), vectors.shape[1])
    return training.train(plan, [vectors], seed=3)


def lists_of(whole: Any) -> Any:
    return ivf_of(whole)


def fill(to: Any, vectors: np.ndarray) -> None:
    for start in range(0, len(vectors), 500):
        faiss_index.add(to, np.arange(start, min(start + 500, len(vectors))), vectors[start : start + 500])


def found(by: Any, vectors: np.ndarray) -> np.ndarray:
    return faiss_index.search(by, vectors[::40], 10, nprobe=4).ids


@pytest.mark.parametrize("factory", FACTORIES)
def test_lists_are_trained_and_chosen_on_the_gpu_and_the_index_is_its_own_again(
    factory: str, stand_in: type[Resources], tmp_path: Path
) -> None:
    vectors = clustered(2_000, 24, seed=5)
    by_gpu = made(factory, vectors)
    assert stand_in.copies == [0]
    ivf = lists_of(by_gpu)
    assert ivf.clustering_index is None
    quantizer = ivf.quantizer.this
    with faiss_index.adding(by_gpu):
        assert stand_in.copies == [0, 16]
        assert isinstance(faiss.downcast_index(ivf.quantizer), faiss.IndexFlat)
        assert ivf.quantizer.this != quantizer
        fill(by_gpu, vectors)
    assert ivf.quantizer.this == quantizer
    faiss_index.save(by_gpu, tmp_path / "index.faiss")
    again = faiss_index.load(tmp_path / "index.faiss", ntotal=2_000, dim=24)
    np.testing.assert_array_equal(found(again, vectors), found(by_gpu, vectors))
    assert np.mean(found(by_gpu, vectors)[:, 0] == np.arange(0, 2_000, 40)) > 0.8


@pytest.mark.parametrize("factory", ["PCAR16,IVF16,PQ8x4fs", "IVF16,Flat"])
def test_what_the_gpu_assigns_lies_where_the_cpu_would_have_put_it(factory: str, stand_in: type[Resources]) -> None:
    vectors = clustered(2_000, 24, seed=6)
    by_gpu, by_cpu = made(factory, vectors), made(factory, vectors)
    with faiss_index.adding(by_gpu):
        fill(by_gpu, vectors)
    fill(by_cpu, vectors)
    assert stand_in.copies == [0, 0, 16]
    np.testing.assert_array_equal(found(by_gpu, vectors), found(by_cpu, vectors))


def test_an_error_leaves_the_index_its_own_quantizer(stand_in: type[Resources]) -> None:
    vectors = clustered(1_000, 24, seed=7)
    whole = made("IVF16_HNSW8,Flat", vectors)
    with pytest.raises(ZeroDivisionError), faiss_index.adding(whole):
        raise ZeroDivisionError
    assert isinstance(faiss.downcast_index(lists_of(whole).quantizer), faiss.IndexHNSW)
    fill(whole, vectors)
    assert whole.ntotal == 1_000


@pytest.mark.parametrize("factory", ["IDMap2,Flat", "IDMap2,HNSW8"])
def test_an_index_without_lists_asks_for_no_gpu(factory: str, stand_in: type[Resources]) -> None:
    vectors = clustered(500, 24, seed=8)
    whole = made(factory, vectors)
    with faiss_index.adding(whole):
        fill(whole, vectors)
    assert stand_in.copies == []
    assert whole.ntotal == 500


def test_without_a_gpu_nothing_changes() -> None:
    if gpu_lists.is_there():
        pytest.skip("There is a GPU.")
    vectors = clustered(1_000, 24, seed=9)
    whole = made("IVF16,Flat", vectors)
    before = lists_of(whole).quantizer.this
    with faiss_index.adding(whole):
        assert lists_of(whole).quantizer.this == before


@needs_gpu
@pytest.mark.parametrize("factory", FACTORIES)
def test_a_gpu_makes_as_good_an_index(factory: str) -> None:
    vectors = clustered(20_000, 24, seed=10)
    whole = made(factory, vectors)
    with faiss_index.adding(whole):
        fill(whole, vectors)
    assert np.mean(found(whole, vectors)[:, 0] == np.arange(0, 20_000, 40)) > 0.8
