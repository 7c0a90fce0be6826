from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import QueryError
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.messages.filter import Filter
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher

N = 3_000
FAMILIES = ("flat", "ivf-pq", "rabitq", "hnsw", "PCAR8,IVF16,SQ8")


def remove(made: MadeJob, ids: Any) -> None:
    job = open_job(made.job)
    write_change(
        job, job.manifest, Change(job.state.number + 1, "delete", removed=np.unique(np.asarray(ids, np.int64)))
    )


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return make_job(tmp_path / "job", clustered(N, 16), failed=(5, 70), partition_size=1_000, chunk_size=500)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
@pytest.mark.usefixtures("all_queries")
def test_images_that_were_removed_are_in_no_answer_and_others_take_their_places(made: MadeJob, family: str) -> None:
    write_index_request(made.job, IndexRequest(index=family, recall=0.9))
    build = merge(made.job, Settings(), UNWATCHED).build
    searcher = Searcher.open(JobFiles.of(made.job), build)
    queries = made.embeddings[::60].astype(np.float32)
    # All that each query finds, and as many as are compared exactly: what is left lies behind them.
    gone = {hit.id for query in queries[:5] for hit in searcher.search(query, 300)}
    gone |= {hit.id for query in queries for hit in searcher.search(query, 3)}
    remove(made, sorted(gone))
    after = Searcher.open(JobFiles.of(made.job), build)
    assert after.ntotal == searcher.ntotal - len(gone)
    right = 0
    for query in queries:
        found = after.search(query, 10)
        exact = after.search(query, 10, exact=True)
        assert len(found) == len(exact) == 10
        assert not {hit.id for hit in [*found, *exact]} & gone
        right += len({hit.id for hit in found} & {hit.id for hit in exact})
    assert right / (10 * len(queries)) >= 0.85
    batch = after.search_many(queries, 10)
    assert [[hit.id for hit in hits] for hits in batch] == [[hit.id for hit in after.search(q, 10)] for q in queries]


def test_a_filter_chooses_among_those_that_are_left(made: MadeJob) -> None:
    build = merge(made.job, Settings(), UNWATCHED).build
    remove(made, range(10))
    searcher = Searcher.open(JobFiles.of(made.job), build)
    assert {hit.id for hit in searcher.search(made.embeddings[0], 50, filter=Filter.of(None, "id < 15"))} == {
        *range(10, 15)
    }
    with pytest.raises(QueryError, match="such as 3: they failed, were removed, or were never listed"):
        searcher.search(made.embeddings[0], 5, filter=Filter.of([3, 12], None))
    with pytest.raises(QueryError, match="matches none"):
        searcher.search(made.embeddings[0], 5, filter=Filter.of(None, "id < 10"))


def test_of_a_job_whose_images_were_all_removed_nothing_is_found(made: MadeJob) -> None:
    build = merge(made.job, Settings(), UNWATCHED).build
    remove(made, range(N))  # Failed ones among them.
    searcher = Searcher.open(JobFiles.of(made.job), build)
    assert searcher.search(made.embeddings[0]) == searcher.search(made.embeddings[0], exact=True) == []


def test_a_query_worker_notices_a_removal_at_its_next_query_and_reads_no_index_again(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(made.job, Settings(), UNWATCHED)
    pool = SearcherPool(Settings(query_cache_size=100))
    query = made.embeddings[0].astype(np.float32)
    first = pool.searcher(made.job).search(query, 2)
    monkeypatch.setattr("workers.vectors.ann.faiss_index.load", None)
    remove(made, [first[0].id])
    searcher, opened = pool.opened(made.job)
    assert (opened.state.number, [hit.id for hit in searcher.search(query, 1)]) == (1, [first[1].id])
    assert pool.searcher(made.job) is searcher
    remove(made, [first[1].id])
    assert {hit.id for hit in pool.searcher(made.job).search(query, 9)}.isdisjoint({first[0].id, first[1].id})


def test_a_removal_is_noticed_where_the_listing_of_a_mount_lags_behind(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge(made.job, Settings(), UNWATCHED)
    pool = SearcherPool(Settings())
    query = made.embeddings[0].astype(np.float32)
    first = pool.searcher(made.job).search(query, 1)[0].id
    remove(made, [first])
    monkeypatch.setattr(JobDir, "change_numbers", lambda self: [])
    assert pool.searcher(made.job).search(query, 1)[0].id != first
