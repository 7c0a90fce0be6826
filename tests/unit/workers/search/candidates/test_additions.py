from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import CorruptFile
from shared.job.changes.log import Change, write_change
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.partition import ledger
from shared.messages.filter import Filter
from shared.messages.search import Searched
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, commit_chunks, grow_job, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import NARROW, Searcher
from workers.vectors.ann import faiss_index, screen
from workers.vectors.embeddings import Floats

VECTORS = clustered(3_600, 16)
FIRST = 3_000


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", VECTORS[:FIRST], partition_size=1_000, chunk_size=500)


@pytest.mark.parametrize("family", ["flat", "ivf-pq", "rabitq", "hnsw"])
@pytest.mark.slow
@pytest.mark.usefixtures("all_queries")
def test_what_was_sealed_after_a_build_is_found_beside_what_the_build_holds(made: MadeJob, family: str) -> None:
    write_index_request(made.job, IndexRequest(index=family, recall=0.9))
    build = merge(made.job, Settings(), UNWATCHED).build
    grown = grow_job(grow_job(made, VECTORS[FIRST:3_400]), VECTORS[3_400:])
    searcher = Searcher.open(JobFiles.of(grown.job), build)
    assert searcher.ntotal == len(VECTORS)
    for added in (FIRST, 3_399, 3_599):
        (hit,) = searcher.search(grown.embeddings[added].astype(np.float32), 1)
        assert (hit.id, hit.image_path) == (added, f"photos/é {added:07d}.jpg")
    queries = grown.embeddings[::40].astype(np.float32)
    right = 0
    for query, hits in zip(queries, searcher.search_many(queries, 10), strict=True):
        exact = searcher.search(query, 10, exact=True)
        truth = np.argsort(-(grown.embeddings.astype(np.float32) @ query), kind="stable")[:10]
        assert {hit.id for hit in exact} == set(truth.tolist())
        assert [hit.rank for hit in hits] == [*range(1, 11)]
        assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
        right += len({hit.id for hit in hits} & set(truth.tolist()))
    assert right / (10 * len(queries)) >= 0.85


def test_a_query_worker_finds_what_is_sealed_at_its_next_query_and_reads_no_index_again(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(made.job, Settings(), UNWATCHED)
    pool = SearcherPool(Settings())
    query = VECTORS[FIRST]
    before = pool.searcher(made.job).search(query, 1)[0].id
    monkeypatch.setattr("workers.vectors.ann.faiss_index.load", None)
    grown = grow_job(made, VECTORS[FIRST:3_100], sealed=False)
    assert pool.searcher(made.job).search(query, 1)[0].id == before < FIRST  # Listed, and not embedded yet.
    for chunk in grown.job.chunks(grown.job.partition(3)):
        assert not grown.job.chunk(3, chunk.number).exists()
    grow_job(made, VECTORS[3_100:3_101])
    assert pool.searcher(made.job).search(VECTORS[3_100], 1)[0].id == 3_100


@pytest.mark.parametrize("family", ["flat", "ivf-pq"])
def test_what_is_committed_after_a_build_is_found_before_it_is_sealed_and_reduced_once(
    made: MadeJob, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index_request(made.job, IndexRequest(index=family, recall=0.9))
    merge(made.job, Settings(), UNWATCHED)
    job, pool = grow_job(made, VECTORS[FIRST:], sealed=False).job, SearcherPool(Settings(query_cache_size=100))
    query, partition = VECTORS[3_550], job.partition(3)
    assert pool.searcher(job).search(query, 1)[0].id < FIRST
    reduced: list[int] = []
    whole = faiss_index.reduced_queries

    def counted(bare: Any, vectors: Floats) -> Any:
        reduced.append(len(vectors))
        return whole(bare, vectors)

    monkeypatch.setattr(screen, "reduced_queries", counted)
    last, first = reversed(job.chunks(partition))  # Of 100 and of 500: they come in any order.
    for chunk, ids in ((last, range(3_500, 3_600)), (first, range(FIRST, 3_600))):
        commit_chunks(job, VECTORS, chunk)
        searcher = pool.searcher(job)
        assert (searcher.ntotal, searcher.searched) == (FIRST + len(ids), Searched(FIRST + len(ids), 3_600))
        for image in (ids[0], 3_550, 3_599):
            (hit,) = searcher.search(VECTORS[image], 1)
            assert (hit.id, hit.image_path) == (image, f"photos/é {image:07d}.jpg")
        found = searcher.search(query, 600, filter=Filter.of(None, f"id >= {FIRST} and width = 8"))
        assert {hit.id for hit in found} == set(ids)
    ledger.seal_partition(job, partition)
    write_change(job, job.manifest, Change(2, "delete", removed=np.array([7, 3_001, 3_550], np.int64)))
    searcher = pool.searcher(job)
    assert (searcher.ntotal, searcher.searched) == (3_597, Searched(3_600, 3_600))
    assert {hit.id for hit in searcher.search(query, 200)}.isdisjoint({7, 3_001, 3_550})
    assert searcher.search(VECTORS[3_551], 1)[0].id == 3_551
    assert [count for count in reduced if count > 1] == ([] if family == "flat" else [100, 500])


def test_chunks_of_a_partition_that_a_build_covers_and_that_is_taken_back_open_nothing_again(
    made: MadeJob, caplog: pytest.LogCaptureFixture
) -> None:
    merge(made.job, Settings(), UNWATCHED)
    job, pool = grow_job(made, VECTORS[FIRST:]).job, SearcherPool(Settings())
    pool.searcher(job)
    job.seal(0).rename(job.path / "taken back")
    searcher = pool.searcher(job)
    assert len(caplog.messages) == 1
    commit_chunks(job, VECTORS, job.chunks(job.partition(0))[0])
    assert pool.searcher(job) is searcher
    assert (searcher.ntotal, len(caplog.messages)) == (3_600, 1)


def test_a_filter_chooses_among_them_too(made: MadeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index_request(made.job, IndexRequest(index="ivf-pq", recall=0.9))
    build = merge(made.job, Settings(), UNWATCHED).build
    grown = grow_job(made, VECTORS[FIRST:])
    searcher = Searcher.open(JobFiles.of(grown.job), build)
    for most in (NARROW, 0):  # Compared at once, and asked of the index as of a job that is a hundred times as large.
        monkeypatch.setattr("workers.search.searcher.NARROW", most)
        for where, ids in (("id >= 3590", range(3_590, 3_600)), ("id between 2995 and 3004", range(2_995, 3_005))):
            hits = searcher.search(VECTORS[0], 20, filter=Filter.of(None, where))
            assert {hit.id for hit in hits} == set(ids)


def test_an_added_image_that_was_removed_is_not_found(made: MadeJob) -> None:
    build = merge(made.job, Settings(), UNWATCHED).build
    grown = grow_job(made, VECTORS[FIRST:])
    job = grown.job
    write_change(job, job.manifest, Change(2, "delete", removed=np.array([0, FIRST], np.int64)))
    searcher = Searcher.open(JobFiles.of(job), build)
    assert searcher.ntotal == len(VECTORS) - 2
    for gone in (0, FIRST):
        assert gone not in {hit.id for hit in searcher.search(VECTORS[gone], 50)}


def test_the_next_build_holds_them(made: MadeJob) -> None:
    merge(made.job, Settings(), UNWATCHED)
    grown = grow_job(made, VECTORS[FIRST:])
    info = merge(grown.job, Settings(), UNWATCHED)
    assert info.ntotal == len(VECTORS)
    searcher = SearcherPool(Settings()).searcher(grown.job)
    assert searcher.search(VECTORS[3_599], 1)[0].id == 3_599


def test_while_a_partition_is_taken_back_what_is_open_serves_and_a_removal_counts_all_the_same(made: MadeJob) -> None:
    merge(made.job, Settings(), UNWATCHED)
    grown = grow_job(made, VECTORS[FIRST:])
    job, pool = grown.job, SearcherPool(Settings())
    assert pool.searcher(job).ntotal == len(VECTORS)
    job.seal(0).rename(job.path / "taken back")
    assert pool.searcher(job).search(VECTORS[7], 1)[0].id == 7
    write_change(job, job.manifest, Change(2, "delete", removed=np.array([7, FIRST + 1], np.int64)))
    searcher = pool.searcher(job)
    assert searcher.ntotal == len(VECTORS) - 2
    for gone in (7, FIRST + 1):
        assert gone not in {hit.id for hit in searcher.search(VECTORS[gone], 50)}
    assert searcher.search(VECTORS[FIRST + 2], 1)[0].id == FIRST + 2
    with pytest.raises(CorruptFile, match="not those sealed now"):
        SearcherPool(Settings()).searcher(job)
    (job.path / "taken back").rename(job.seal(0))
    assert pool.searcher(job).search(VECTORS[8], 1)[0].id == 8
