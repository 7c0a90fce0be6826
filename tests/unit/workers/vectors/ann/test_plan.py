from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.job.index.request import FAMILIES, IndexRequest
from workers.vectors.ann.faiss_index import plan_for
from workers.vectors.ann.plan import choose_index


@pytest.mark.parametrize(
    ("n", "d", "factory", "nprobe", "train_rows"),
    [
        (1, 1280, "IDMap2,Flat", 0, 0),
        (20_000, 1280, "IDMap2,Flat", 0, 0),
        (20_001, 1280, "PCAR256,IVF256,PQ128x4fs", 32, 20_001),
        (200_000, 1280, "PCAR256,IVF512,PQ128x4fs", 64, 60_000),
        (2_000_000, 1792, "PCAR256,IVF2048,PQ128x4fs", 256, 102_400),
        (10_000_000, 1792, "PCAR256,IVF4096,PQ128x4fs", 512, 204_800),
        (100_000_000, 1792, "PCAR256,IVF16384_HNSW32,PQ128x4fs", 2_048, 819_200),
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


@given(n=st.integers(1, 10**8), d=st.integers(1, 4096), recall=st.floats(0, 1))
@example(n=20_001, d=2, recall=0.99)
def test_every_choice_can_be_trained_and_searched(n: int, d: int, recall: float) -> None:
    plan = choose_index(n, d, IndexRequest(recall=recall))
    assert 0 <= plan.train_rows <= n
    assert 0 <= plan.nprobe <= plan.nlist == plan.most_nprobe
    if plan.nlist:
        assert plan.train_rows >= min(n, 50 * plan.nlist, 60_000)
        assert 0.9 * np.sqrt(n) < plan.nlist < 2 * np.sqrt(n)
        kept = int(plan.factory.removeprefix("PCAR").split(",")[0])
        assert kept <= d
        assert kept == 2 * plan.m


@pytest.mark.parametrize(
    ("family", "factory", "type_"),
    [
        ("flat", "IDMap2,Flat", "Flat"),
        ("ivf-pq", "PCAR256,IVF512,PQ128x4fs", "IVF-PQ"),
        ("rabitq", "PCAR256,IVF512,RaBitQfs", "IVF-RaBitQ"),
        ("hnsw", "IDMap2,PCAR256,HNSW32_SQ8", "HNSW"),
        ("annoy", "Annoy50", "Annoy"),
    ],
)
def test_a_family_is_built_at_any_size_when_it_is_named(family: str, factory: str, type_: str) -> None:
    assert choose_index(200_000, 1280, IndexRequest(family)).factory == factory
    assert choose_index(100, 1280, IndexRequest(family)).type == type_


def test_a_recall_near_one_keeps_more_dimensions() -> None:
    assert choose_index(200_000, 1280, IndexRequest(recall=0.9949)).factory.startswith("PCAR256,")
    assert choose_index(200_000, 1280, IndexRequest(recall=0.995)).factory == "PCAR512,IVF512,PQ256x4fs"


@pytest.mark.parametrize("n", [200_000, 2_000_000, 10_000_000, 100_000_000])
def test_the_page_about_the_index_shows_the_plan(n: int) -> None:
    plan = choose_index(n, 1_792)
    page = (Path(__file__).parents[5] / "docs" / "index.md").read_text()
    size = f"{plan.bytes / 1e6:.0f} MB" if plan.bytes < 2e8 else f"{plan.bytes / 1e9:.2g} GB"
    assert f"| {n:,} | `{plan.factory}` | {plan.train_rows:,} | {size} |" in page


def test_less_memory_means_shorter_codes_and_too_little_is_refused() -> None:
    plans = [choose_index(2_000_000, 1792, IndexRequest(memory_bytes=size)) for size in (0, 100_000_000, 60_000_000)]
    assert [plan.m for plan in plans] == [128, 64, 32]
    assert all(plan.bytes <= size for plan, size in zip(plans[1:], (100_000_000, 60_000_000), strict=True))
    with pytest.raises(SettingsError, match=r"No ivf-pq index of 2,000,000 .* into 1,000,000 bytes: .* about \d\d,"):
        choose_index(2_000_000, 1792, IndexRequest(memory_bytes=1_000_000))


@pytest.mark.parametrize(("n", "d"), [(0, 8), (8, 0), (-1, 8)])
def test_there_is_no_index_of_nothing(n: int, d: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        choose_index(n, d)


def test_a_factory_string_is_not_planned_without_faiss() -> None:
    with pytest.raises(ValueError, match="not the name of a family"):
        choose_index(100, 8, IndexRequest("IVF16,Flat"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_request_makes_the_same_plan(family: str) -> None:
    assert choose_index(123_456, 640, IndexRequest(family)) == choose_index(123_456, 640, IndexRequest(family))


@pytest.mark.parametrize(
    ("request_", "shards", "rows"),
    [
        (IndexRequest(), 1, 0),
        (IndexRequest(shards=8), 8, 12_500_000),
        (IndexRequest(shards=7), 7, 14_285_715),
        (IndexRequest(shard_bytes=2_000_000_000), 4, 26_993_109),
        (IndexRequest(shard_bytes=20_000_000_000), 1, 276_993_109),
    ],
)
def test_a_hundred_million_in_shards(request_: IndexRequest, shards: int, rows: int) -> None:
    plan = choose_index(100_000_000, 1792, request_)
    assert (plan.factory, plan.shards, plan.shard_rows) == ("PCAR256,IVF16384_HNSW32,PQ128x4fs", shards, rows)


@given(
    n=st.integers(1, 10**8),
    d=st.integers(2, 4096),
    most=st.integers(10_000, 10**10),
    family=st.sampled_from(["auto", "flat", "ivf-pq", "rabitq", "hnsw"]),
)
def test_shards_of_a_size_are_as_few_as_keep_each_below_it_or_refused(n: int, d: int, most: int, family: str) -> None:
    whole, request = choose_index(n, d, IndexRequest(family)), IndexRequest(family, shard_bytes=most)
    if most < whole.shared_bytes + whole.row_bytes * -(-n // 1_000):
        with pytest.raises(SettingsError, match="No shard of an index"):
            choose_index(n, d, request)
        return
    plan = choose_index(n, d, request)
    assert plan.shared_bytes + plan.shard_rows * plan.row_bytes <= most
    assert plan.shared_bytes + (plan.shard_rows + 1) * plan.row_bytes > most
    assert (plan.shards - 1) * plan.shard_rows < n <= plan.shards * plan.shard_rows


def test_more_shards_take_more_memory_together_which_counts_for_what_was_asked_for() -> None:
    one = choose_index(2_000_000, 1792)
    many = choose_index(2_000_000, 1792, IndexRequest(shards=100))
    assert many.bytes == one.bytes + 99 * one.shared_bytes
    fitted = choose_index(2_000_000, 1792, IndexRequest(memory_bytes=one.bytes, shards=2))
    assert fitted.m < one.m


def test_the_size_of_shards_of_a_factory_string_is_not_known() -> None:
    with pytest.raises(SettingsError, match=r"is not known before it is built.*shards=N"):
        plan_for(50_000, 64, IndexRequest("PCAR16,IVF32,PQ4x4fs", shard_bytes=10**9))
    assert plan_for(50_000, 64, IndexRequest("PCAR16,IVF32,PQ4x4fs", shards=3)).shard_rows == 16_667
