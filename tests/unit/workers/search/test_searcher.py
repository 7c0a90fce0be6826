import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pytest

from shared.errors import CorruptFile, FingerprintMismatch, QueryError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.request import IndexRequest
from shared.job.local.job_files import JobFiles
from shared.job.manifest import write_manifest
from shared.messages.filter import Filter
from shared.messages.search import Hit
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, image_path, make_job, model_spec, unit
from workers.merge.build import merge
from workers.search.candidates.width import Width
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.faiss_index import IndexPlan, plan_from_factory
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import exact_search
from workers.vectors.image_list import IMAGES_SCHEMA, Images

pytestmark = pytest.mark.slow

FAILED = {0, 3, *range(500, 520), 1199}


def small_ivf(n: int, d: int, request: IndexRequest) -> IndexPlan:
    return replace(plan_from_factory("PCAR16,IVF16,PQ8x4fs", n, d), nprobe=4)


def merged(made: MadeJob, flat: bool = True, recall_target: float = 0.95) -> str:
    choose = faiss_index.plan_for if flat else small_ivf
    return merge(made.job, Settings(recall_target=recall_target), UNWATCHED, choose).build


@pytest.fixture(scope="module", params=["Flat", "IVF-PQ"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    vectors = clustered(1_200, 32, clusters=40)
    vectors[700:730] = vectors[700]
    made = make_job(
        tmp_path_factory.mktemp("search") / "job", vectors, failed=FAILED, partition_size=500, chunk_size=250
    )
    merged(made, flat=request.param == "Flat")
    return made


@pytest.fixture
def searcher(made: MadeJob) -> Searcher:
    build = builds.current_build(made.job)
    assert build is not None
    return Searcher.open(JobFiles.of(made.job), build)


def truth(made: MadeJob, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    vectors = made.embeddings.astype(np.float64)
    cosines = vectors @ unit(query).astype(np.float64) / np.linalg.norm(vectors, axis=1)
    order = np.argsort(-cosines, kind="stable")[:k]
    return made.ids[order], cosines[order]


def test_exact_hits_are_the_brute_force_ones(made: MadeJob, searcher: Searcher) -> None:
    for query in clustered(20, 32, seed=4) * 7.5:
        hits = searcher.search(query, 10, exact=True)
        ids, cosines = truth(made, query, 10)
        assert [hit.id for hit in hits] == ids.tolist()
        assert np.allclose([hit.similarity for hit in hits], cosines, atol=1e-6)
        assert [hit.rank for hit in hits] == list(range(1, 11))
        assert [hit.image_path for hit in hits] == [image_path(image) for image in ids.tolist()]


def test_the_index_finds_nearly_what_exact_search_finds(made: MadeJob, searcher: Searcher) -> None:
    queries = clustered(60, 32, clusters=40)
    found = searcher.search_many(queries, 10)
    exact = searcher.search_many(queries, 10, exact=True)
    same = np.mean([len(set(one) & set(two)) / 10 for one, two in zip(found, exact, strict=True)])
    assert same > 0.85, "queries near the images, and not those that the width was chosen by"
    every = {hit.id for hits in found for hit in hits}
    assert len(every) > 100
    assert not every & FAILED


@pytest.mark.parametrize("k", [10, 100, 400])
def test_recall_is_kept_when_more_hits_are_asked_for_than_the_width_was_tuned_for(tmp_path: Path, k: int) -> None:
    made = make_job(tmp_path / "job", clustered(6_000, 32, clusters=200), partition_size=6_000, chunk_size=6_000)
    # The narrowest width that does for ten hits.
    searcher = Searcher.open(JobFiles.of(made.job), merged(made, flat=False, recall_target=0.9)).widened(Width(4, 60))
    queries = np.random.default_rng(2).permutation(6_000)[:50]
    found = right = 0
    for query in made.embeddings[queries].astype(np.float32):
        wanted, _ = truth(made, query, k)
        right += len({hit.id for hit in searcher.search(query, k)} & set(wanted.tolist()))
        found += k
    assert 0.8 < right / found < 1.0  # At the width for ten, .6 of 100 and of 400 would be found.


def test_an_image_finds_itself_and_its_copies_in_the_order_of_ids(made: MadeJob, searcher: Searcher) -> None:
    own = made.embeddings[made.ids == 705][0].astype(np.float32)
    for exact in (False, True):
        hits = searcher.search(own, 12, exact)
        assert [hit.id for hit in hits] == list(range(700, 712))
        assert hits[0].similarity == pytest.approx(1.0, abs=1e-6)
        assert max(hit.similarity for hit in hits) <= 1.0
    alone = made.embeddings[made.ids == 42][0].astype(np.float32)
    assert searcher.search(alone, 1)[0].id == 42


def test_a_hit_is_as_like_to_others_as_their_embeddings_are(made: MadeJob, searcher: Searcher) -> None:
    hit, *others = [Hit(1, image, "", 0.0) for image in (42, 1_100, 705, 7, 711, 42)]
    rows = made.embeddings[np.searchsorted(made.ids, [one.id for one in (hit, *others)])].astype(np.float32)
    assert searcher.alike(hit, others) == pytest.approx((rows[1:] @ rows[0]).tolist(), abs=1e-3)
    assert searcher.alike(hit, others[::-1]) == searcher.alike(hit, others)[::-1]
    assert searcher.alike(hit, []) == []


def test_many_queries_are_answered_as_one_by_one(searcher: Searcher) -> None:
    queries = clustered(40, 32, seed=8)
    for exact in (False, True):
        together = searcher.search_many(queries, 5, exact)
        assert together == [searcher.search(query, 5, exact) for query in queries]
        assert len({hits[0].id for hits in together}) > 3


@pytest.mark.parametrize(
    ("asked", "cores", "slices"),
    [(7, 2, [7]), (8, 2, [4, 4]), (64, 2, [32, 32]), (65, 2, [17, 16, 16, 16]), (64, 4, [16] * 4), (33, 1, [17, 16])],
)
def test_a_batch_is_shared_out_in_slices_that_are_as_large_as_one_thread_answers(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch, asked: int, cores: int, slices: list[int]
) -> None:
    found: list[int] = []
    threads: list[int] = []
    candidates, set_threads = faiss_index.candidates, faiss.omp_set_num_threads

    def counting(index: object, queries: np.ndarray, *width: Any, **bounds: Any) -> np.ndarray:
        found.append(len(queries))
        return candidates(index, queries, *width, **bounds)

    def setting(count: int) -> None:
        threads.append(count)
        set_threads(count)

    queries = clustered(asked, 32, seed=8)
    alone = [searcher.search(query, 5) for query in queries]
    monkeypatch.setattr(faiss_index, "candidates", counting)
    monkeypatch.setattr(faiss, "omp_set_num_threads", setting)
    monkeypatch.setattr(faiss_index, "ALL_THREADS", 7)  # It may be one for all tests; see tests/conftest.py.
    monkeypatch.setattr("workers.search.searcher.CORES", cores)
    assert searcher.search_many(queries, 5) == alone
    assert sorted(found, reverse=True) == slices
    assert set(threads) == {1}


def test_the_length_of_a_query_does_not_matter(searcher: Searcher) -> None:
    query = clustered(1, 32, seed=8)[0]
    first = searcher.search(query, 20)
    for length in (1e-30, 3.0, 1e30):
        again = searcher.search(query * np.float32(length), 20)
        assert [hit.id for hit in again] == [hit.id for hit in first]


def test_asking_for_more_than_the_probed_lists_hold_reads_all_lists(made: MadeJob, searcher: Searcher) -> None:
    hits = searcher.search(clustered(1, 32, seed=8)[0], 1_000)
    assert len(hits) == 1_000
    assert len({hit.id for hit in hits}) == 1_000
    assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)


@pytest.mark.parametrize("exact", [False, True])
def test_a_job_of_five_images_gives_five_hits(tmp_path: Path, exact: bool) -> None:
    made = make_job(tmp_path / "job", listed=6, failed={2})
    hits = Searcher.open(JobFiles.of(made.job), merged(made)).search(np.ones(16), exact=exact)
    assert sorted(hit.id for hit in hits) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("vector", "k", "sentence"),
    [
        (np.ones(31), 10, "31 values, and this job's embeddings have 32"),
        (np.ones((2, 32)), 10, r"shape \(2, 32\)"),
        (np.float32(1), 10, r"shape \(\)"),
        (np.zeros(32), 10, "only zeros"),
        (np.full(32, np.nan), 10, "not a finite number"),
        (np.array([np.inf] + [1.0] * 31), 10, "not a finite number"),
        (np.ones(32), 0, "1 to 1000, not 0"),
        (np.ones(32), -3, "1 to 1000, not -3"),
        (np.ones(32), 1_001, "1 to 1000, not 1001"),
        (np.ones(32), True, "not True"),
        (np.ones(32), 2.5, "not 2.5"),
    ],
)
def test_a_query_that_means_nothing_says_why(searcher: Searcher, vector: np.ndarray, k: int, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        searcher.search(vector, k)


def test_the_bad_one_of_many_queries_is_named(searcher: Searcher) -> None:
    queries = np.ones((5, 32))
    queries[3] = 0
    with pytest.raises(QueryError, match="vector 4 of 5"):
        searcher.search_many(queries)


def test_answers_are_remembered_up_to_the_size_of_the_cache(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), str(builds.current_build(made.job)), cache_size=2)
    asked: list[int] = []
    candidates = faiss_index.candidates

    def counting(index: object, queries: np.ndarray, *width: Any, **bounds: Any) -> np.ndarray:
        asked.append(len(queries))
        return candidates(index, queries, *width, **bounds)

    monkeypatch.setattr(faiss_index, "candidates", counting)
    one, two, three = clustered(3, 32, seed=8)
    first = searcher.search(one, 5)
    first_again = searcher.search(one, 5)
    assert first == first_again
    assert asked == [1]
    first_again.clear()  # What was handed out is the caller's.
    assert searcher.search(one, 5) == first
    assert len(searcher.search(one, 6)) == 6
    assert asked == [1, 1]
    searcher.search_many([one, two, three], 5)
    assert asked == [1, 1, 2]
    searcher.search(two, 5)
    searcher.search(one, 5)  # Pushed out when three came, and pushes out three, as two was asked for since.
    assert asked == [1, 1, 2, 1]
    searcher.search(two, 5)
    assert asked == [1, 1, 2, 1]
    searcher.search(three, 5)
    assert asked == [1, 1, 2, 1, 1]


def test_an_exact_answer_is_not_taken_from_the_index(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), str(builds.current_build(made.job)), cache_size=9)
    query = clustered(1, 32, seed=8)[0]
    monkeypatch.setattr(faiss_index, "candidates", lambda *_, **__: made.ids[None, :7])
    assert sorted(hit.id for hit in searcher.search(query, 7)) == made.ids[:7].tolist()
    for _ in range(2):
        assert [hit.id for hit in searcher.search(query, 7, exact=True)] == truth(made, query, 7)[0].tolist()
    assert sorted(hit.id for hit in searcher.search(query, 7)) == made.ids[:7].tolist()


def test_threads_get_the_answers_that_one_would(made: MadeJob) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), str(builds.current_build(made.job)), cache_size=8)
    queries = clustered(40, 32, seed=11)
    expected = Searcher.open(JobFiles.of(made.job), str(builds.current_build(made.job))).search_many(queries, 7)
    results: dict[int, list[object]] = {}

    def ask(number: int) -> None:
        results[number] = [searcher.search(query, 7) for query in queries]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[number] == expected for number in range(4)] == [True] * 4


def test_an_index_of_another_model_names_both(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    build = merged(made)
    other = model_spec("another-model", dim=16)
    write_manifest(made.job, replace(made.job.manifest, model=other))
    with pytest.raises(FingerprintMismatch, match=rf"{made.job.manifest.model.fingerprint}.*{other.fingerprint}"):
        Searcher.open(JobFiles.of(made.job), build)


@pytest.mark.parametrize("name", [builds.INDEX_FILE, builds.IMAGES_FILE])
@pytest.mark.parametrize("damage", ["cut short", "flipped bit", "gone"])
def test_a_damaged_build_is_not_searched(tmp_path: Path, name: str, damage: str) -> None:
    made = make_job(tmp_path / "job")
    build = merged(made)
    path = made.job.build_dir(build) / name
    content = bytearray(path.read_bytes())
    if damage == "cut short":
        path.write_bytes(content[:-5])
    elif damage == "flipped bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(CorruptFile, match=name) as said:
        Searcher.open(JobFiles.of(made.job), build)
    assert said.value.remedy is not None
    assert said.value.remedy.action == "repair"


def test_an_index_of_partitions_that_were_sealed_anew_is_not_searched(tmp_path: Path) -> None:
    made, other = make_job(tmp_path / "job", seed=1), make_job(tmp_path / "other", seed=2)
    build = merged(made)
    for path in (JobDir.img_emb, JobDir.metadata, JobDir.seal):
        path(made.job, 1).write_bytes(path(other.job, 1).read_bytes())
    with pytest.raises(CorruptFile, match="not those sealed now"):
        Searcher.open(JobFiles.of(made.job), build)


# Filters.


def filtered_truth(made: MadeJob, query: np.ndarray, k: int, ids: np.ndarray) -> list[int]:
    order, _ = truth(made, query, len(made.ids))
    return [image for image in order.tolist() if image in set(ids.tolist())][:k]


@pytest.mark.parametrize("many", [1, 6])
@pytest.mark.parametrize("exact", [False, True])
def test_a_narrow_filter_gives_what_exact_search_among_its_images_gives(
    made: MadeJob, searcher: Searcher, exact: bool, many: int
) -> None:
    queries = clustered(many, 32, seed=8)
    even = made.ids[made.ids % 2 == 0]
    for filter in (Filter(ids=even), Filter(where="id % 2 = 0")):
        found = searcher.search_many(queries, 12, exact, filter)
        assert [[hit.id for hit in hits] for hits in found] == [filtered_truth(made, q, 12, even) for q in queries]
        assert [hit.image_path for hit in found[0]] == [image_path(hit.id) for hit in found[0]]
    few = searcher.search(queries[0], 12, exact, Filter(ids=even[:5]))
    assert [hit.id for hit in few] == filtered_truth(made, queries[0], 12, even[:5])
    assert [hit.rank for hit in few] == [1, 2, 3, 4, 5]


def test_a_filter_is_part_of_what_an_answer_is_remembered_by(made: MadeJob) -> None:
    searcher = Searcher.open(JobFiles.of(made.job), str(builds.current_build(made.job)), cache_size=9)
    query = clustered(1, 32, seed=8)[0]
    filters = (None, Filter(where="id < 100"), Filter(where="id >= 1000"), Filter(ids=made.ids[5:9]))
    first = [searcher.search(query, 3, filter=filter) for filter in filters]
    assert [searcher.search(query, 3, filter=filter) for filter in filters] == first
    assert all(hit.id < 100 for hit in first[1])
    assert all(hit.id >= 1000 for hit in first[2])
    assert len({tuple(hit.id for hit in hits) for hits in first}) == 4


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("kind", ["any", "alike"])
def test_recall_is_kept_when_the_index_looks_among_a_share_of_the_images(
    monkeypatch: pytest.MonkeyPatch, wide_searcher: Searcher, share: float, kind: str
) -> None:
    monkeypatch.setattr("workers.search.searcher.NARROW", 0)  # As of a job that is a hundred times as large.
    stored = wide_searcher.stored
    queries = clustered(80, 32, seed=3, clusters=200)
    # What is chosen by a value that similar images share is in few lists, and beside those that the query leads to.
    by = np.random.default_rng(1).random(len(stored)) if kind == "any" else stored.rows(np.arange(len(stored)))[:, 3]
    filter = Filter(ids=np.sort(np.argsort(by, kind="stable")[-round(len(stored) * share) :]))
    found, exact = (wide_searcher.search_many(queries, 10, exact, filter) for exact in (False, True))
    ids = [({hit.id for hit in one}, {hit.id for hit in two}) for one, two in zip(found, exact, strict=True)]
    assert filter.ids is not None
    assert not set().union(*(one for one, _ in ids)) - set(filter.ids.tolist())
    everywhere = wide_searcher.search_many(queries, 10), wide_searcher.search_many(queries, 10, exact=True)
    unfiltered = np.mean([len({h.id for h in a} & {h.id for h in b}) for a, b in zip(*everywhere, strict=True)]) / 10
    assert np.mean([len(one & two) / len(two) for one, two in ids]) >= min(float(unfiltered) - 0.01, 0.98)


@pytest.fixture(scope="module", params=[("PCAR16,IVF64,PQ8x4fs", 12), ("IDMap2,PCAR16,HNSW16_SQ8", 64)])
def wide_searcher(request: pytest.FixtureRequest) -> Searcher:
    factory, nprobe = request.param
    vectors = clustered(8_000, 32, seed=3, clusters=200).astype(np.float16)
    ids = np.arange(len(vectors))
    plan = plan_from_factory(factory, *vectors.shape)
    index = training.train(plan, [vectors.astype(np.float32)])
    faiss_index.add(index, ids, vectors.astype(np.float32))
    paths = pa.record_batch(
        [pa.array(ids), pa.array([image_path(image) for image in ids.tolist()])], schema=IMAGES_SCHEMA
    )
    return Searcher(
        index,
        StoredEmbeddings([vectors], ids, 32),
        Images([paths]),
        width=Width(nprobe, 100),
        nlist=plan.nlist,
    )


def test_a_filter_whose_images_the_lists_hide_is_looked_for_in_all_lists(
    monkeypatch: pytest.MonkeyPatch, wide_searcher: Searcher
) -> None:
    monkeypatch.setattr("workers.search.searcher.NARROW", 0)
    query = clustered(1, 32, seed=9)[0]
    # The eighth that is the least similar: hardly any of it is in the lists around the query, or there in the graph.
    far = np.sort(exact_search(wide_searcher.stored, query[None], 8_000).ids[0][7_000:])
    hits = wide_searcher.widened(Width(1, 100)).search(query, 30, filter=Filter(ids=far))
    assert len(hits) == 30
    assert {hit.id for hit in hits} <= set(far.tolist())


@pytest.mark.parametrize(
    ("filter", "sentence"),
    [
        (Filter(ids=np.array([1, 2, 510])), r"names 3 image ids, and 1 of them have no embedding.*510"),
        (Filter(ids=np.array([-4, 9999])), r"2 of them.*-4"),
        (Filter(where="id > 5000"), r"'id > 5000' matches none of the 1,177 embedded images"),
    ],
)
@pytest.mark.parametrize("exact", [False, True])
def test_a_filter_that_leaves_nothing_says_why(searcher: Searcher, filter: Filter, sentence: str, exact: bool) -> None:
    with pytest.raises(QueryError, match=sentence):
        searcher.search(np.ones(32), 10, exact, filter)
