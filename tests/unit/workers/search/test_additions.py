from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile
from shared.job.changes.log import Change, write_change
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.messages.filter import Filter
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, grow_job, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import NARROW, Searcher

VECTORS = clustered(3_600, 16)
FIRST = 3_000


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", VECTORS[:FIRST], partition_size=1_000, chunk_size=500)


@pytest.mark.parametrize("family", ["flat", "ivf-pq", "rabitq", "hnsw"])
@pytest.mark.slow
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
