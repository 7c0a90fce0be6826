from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.make_job import clustered
from workers.evaluate import recall
from workers.evaluate.recall import Measurement, Yardstick
from workers.merge.tune import Tuned, tune
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import IMAGES_SCHEMA, Images

pytestmark = pytest.mark.slow

N, D = 3_000, 24


def stored_of(vectors: np.ndarray) -> StoredEmbeddings:
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return StoredEmbeddings([units.astype(np.float16)], np.arange(len(vectors)) * 2 + 1, vectors.shape[1])


class Bench:
    """A small index to be tuned, with what was asked of it."""

    def __init__(self, factory: str, vectors: np.ndarray, queries: int = 200) -> None:
        self.stored = stored_of(vectors)
        rows = [{"id": number, "image_path": f"{number}.jpg"} for number in self.stored.ids.tolist()]
        self.images = Images([pa.RecordBatch.from_pylist(rows, IMAGES_SCHEMA)])
        self.plan: IndexPlan = faiss_index.plan_from_factory(factory, *vectors.shape)
        block = self.stored.rows(np.arange(len(vectors))).astype(np.float32)
        self.index: Any = training.train(self.plan, [block] if self.plan.train_rows else None)
        faiss_index.add(self.index, self.stored.ids, block)
        self.yardstick = recall.yardstick(self.stored, queries=queries)
        self.asked: list[tuple[Width, int]] = []
        self.reports: list[float] = []

    def searcher(self, width: Width) -> Searcher:
        return Searcher(self.index, self.stored, self.images, width=width, nlist=self.plan.nlist)

    def tuned(self, target: float, latency: Callable[[Width], float] | None = None) -> Tuned:
        def measure(width: Width, some: Yardstick) -> Measurement:
            self.asked.append((width, len(some.ids)))
            found = recall.measure_against(self.searcher(width), some)
            if latency is None:
                return found
            return Measurement(found.recall, found.queries, latency(width), 2 * latency(width))

        return tune(self.plan, self.index, self.stored, self.yardstick, target, measure, self.reports.append)


@pytest.fixture(scope="module")
def coarse() -> Bench:
    """Codes so rough that both nprobe and depth decide what is found."""
    return Bench("PCAR16,IVF32,PQ4x4fs", clustered(N, D))


def by_work(width: Width) -> float:
    return width.nprobe * 10 + width.depth / 100


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.97])
def test_the_width_chosen_reaches_the_recall_in_the_real_search(coarse: Bench, target: float) -> None:
    tuned = coarse.tuned(target, by_work)
    assert tuned.measured.recall is not None
    assert tuned.measured.recall >= target
    assert tuned.measured.queries == 200
    assert recall.measure(coarse.searcher(tuned.width), coarse.stored, queries=200).recall == tuned.measured.recall


def test_a_higher_recall_takes_a_wider_search(coarse: Bench) -> None:
    widths = [coarse.tuned(target, by_work).width for target in (0.3, 0.8, 0.97)]
    assert all(by_work(before) < by_work(after) for before, after in pairwise(widths))


def test_the_fastest_of_the_widths_that_reach_it_is_chosen(coarse: Bench) -> None:
    by_lists = coarse.tuned(0.88, by_work).width
    by_depth = coarse.tuned(0.88, lambda width: width.nprobe / 100 + width.depth * 10).width
    assert by_lists.nprobe < by_depth.nprobe
    assert by_lists.depth > by_depth.depth


def test_what_the_index_finds_foretells_what_the_search_does(coarse: Bench) -> None:
    coarse.asked.clear()
    tuned = coarse.tuned(0.88, by_work)
    assert len(tuned.sweep) >= 3
    for width, found in tuned.sweep:
        real = recall.measure_against(coarse.searcher(width), coarse.yardstick).recall
        assert found.recall == pytest.approx(real, abs=0.003)
    few = [width for width, queries in coarse.asked if queries == 100]
    assert few == [width for width, _ in tuned.sweep]
    assert coarse.asked[-1] == (tuned.width, 200)


def test_a_recall_out_of_reach_ends_at_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.merge.tune.DEPTHS", (20, 50, 100))
    bench = Bench("PCAR16,IVF32,PQ4x4fs", clustered(N, D))
    tuned = bench.tuned(1.0, by_work)
    assert tuned.measured.recall is not None
    assert 0.3 < tuned.measured.recall < 1.0
    assert tuned.width.depth == 100
    widest = recall.measure_against(bench.searcher(Width(32, 100)), bench.yardstick).recall
    assert widest is not None
    assert tuned.measured.recall >= widest - 0.001  # Rough codes crowd each other: more lists may even find less.


def test_copies_of_one_photo_are_as_good_as_each_other() -> None:
    bench = Bench("PCAR16,IVF8,PQ4x4fs", np.tile(clustered(30, D), (50, 1)), queries=50)
    tuned = bench.tuned(0.99, by_work)
    assert tuned.measured.recall == 1.0
    assert tuned.width.depth <= 200


@pytest.mark.parametrize("factory", ["IDMap2,Flat", "IDMap2,PCAR16,HNSW16_SQ8"])
def test_an_index_without_lists_is_tuned_too(factory: str) -> None:
    bench = Bench(factory, clustered(N, D))
    tuned = bench.tuned(0.98)
    assert tuned.measured.recall is not None
    assert tuned.measured.recall >= 0.98
    assert (tuned.width.nprobe == 0) == (factory == "IDMap2,Flat")


@pytest.mark.parametrize(("n", "expected"), [(1, None), (2, 1.0), (12, 1.0)])
def test_a_handful_of_images_is_tuned_without_complaint(n: int, expected: float | None) -> None:
    tuned = Bench("IDMap2,Flat", clustered(n, D)).tuned(0.99)
    assert tuned.measured.recall == expected
    assert tuned.width.depth <= max(n, 20)


def test_progress_rises_from_nothing_to_all(coarse: Bench) -> None:
    coarse.reports.clear()
    coarse.tuned(0.9, by_work)
    assert coarse.reports == sorted(coarse.reports)
    assert (coarse.reports[0], coarse.reports[-1]) == (0.0, 1.0)


def test_first_queries_are_a_yardstick_of_their_own(coarse: Bench) -> None:
    few = coarse.yardstick.first(30)
    assert len(few.ids) == len(few.vectors) == len(few.truth.ids) == 30
    assert np.array_equal(few.truth.ids, coarse.yardstick.truth.ids[:30])


def test_easy_queries_read_fewer_lists_and_compare_less(coarse: Bench) -> None:
    tuned = coarse.tuned(0.9)
    assert tuned.width.list_margin > 0
    assert all(width.nprobe <= 32 for width, _ in tuned.sweep)
    without = recall.measure_against(coarse.searcher(Width(tuned.width.nprobe, tuned.width.depth)), coarse.yardstick)
    assert without.recall is not None
    assert tuned.measured.recall is not None
    assert without.recall >= tuned.measured.recall - 0.001, "the bounds only leave out"
    narrow = faiss_index.search(
        coarse.index, coarse.yardstick.vectors, N, tuned.width.nprobe, list_margin=tuned.width.list_margin
    )
    wide = faiss_index.search(coarse.index, coarse.yardstick.vectors, N, tuned.width.nprobe)
    read, all_read = ((found.ids >= 0).sum(axis=1) for found in (narrow, wide))
    assert (read <= all_read).all()
    assert read.mean() < 0.6 * all_read.mean()
    assert read.min() < 0.5 * read.max()


def test_an_index_without_lists_has_no_bounds_to_tune() -> None:
    tuned = Bench("IDMap2,PCAR16,HNSW16_SQ8", clustered(N, D)).tuned(0.9)
    assert {(width.list_margin, width.depth_ratio) for width, _ in tuned.sweep} == {(0.0, 0.0)}
