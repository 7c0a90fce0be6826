"""Query workers that hold some shards each: together they find what one that holds all finds, and each image once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coordinator.client.joined import Replies, joined
from shared.errors import CorruptFile, QueryError
from shared.job.changes.log import Change, write_change
from shared.job.index import builds
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.opened import open_job
from shared.messages.filter import Filter
from shared.messages.query import Query
from shared.messages.search import Answer, Searched, SearchJob
from shared.messages.shards import Held, SearchedShards
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, grow_job, make_job
from workers.merge.build import merge
from workers.search.answer import Answerer
from workers.search.pool import SearcherPool

VECTORS = clustered(2_400, 16)
QUERIES = clustered(40, 16, seed=3)
ROWS = 2_000
GROUPS = (("0-1", "2-4"), ("0", "1-3", "4-"), ("0-4",), ("0-2", "1-4"), ("0-", "7-9"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    """A job with an index of five shards, and then 400 more images, of which and of the others some were removed."""
    made = make_job(tmp_path_factory.mktemp("held") / "job", VECTORS[:ROWS], partition_size=300, chunk_size=300)
    write_index_request(made.job, IndexRequest("ivf-pq", 0.95, shards=5))
    merge(open_job(made.job), Settings(), UNWATCHED)
    made = grow_job(made, VECTORS[ROWS:])
    job = open_job(made.job)
    write_change(job, job.manifest, Change(2, "delete", removed=np.arange(3, 2_400, 50)))
    return made


def answered(made: MadeJob, held: str | None, message: SearchJob) -> list[Answer]:
    return Answerer(Settings(shards=held, query_cache_size=0)).answer(made.job, message)


def together(made: MadeJob, groups: tuple[str, ...], message: SearchJob, *, partial: bool = False) -> list[Answer]:
    answers = {Held.parsed(held): answered(made, held, message) for held in groups}
    return joined(Replies(answers, {}), message.k, partial=partial, shown="redis://here")


def found(answers: list[Answer]) -> list[list[tuple[int, int, str, float]]]:
    return [[(hit.rank, hit.id, hit.image_path, hit.similarity) for hit in answer.hits] for answer in answers]


FILTERS = {
    "no filter": None,
    "ids": Filter.of(np.setdiff1d(np.arange(0, 2_400, 7), np.arange(3, 2_400, 50)), None),
    "ids of one shard": Filter.of([10, 20, 30], None),
    "an expression": Filter.of(None, "id >= 1950"),
}


@pytest.mark.parametrize("groups", GROUPS, ids=str)
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("exact", [False, True])
def test_holders_of_some_shards_find_together_what_a_holder_of_all_finds(
    grown: MadeJob, groups: tuple[str, ...], filter: str, exact: bool
) -> None:
    message = SearchJob("job", tuple(Query(vector=one) for one in QUERIES), 10, exact, FILTERS[filter])
    whole = found(answered(grown, None, message))
    parts = found(together(grown, groups, message))
    if exact or filter != "no filter":  # All that may be found is compared.
        assert parts == whole
        return
    truth = found(answered(grown, None, SearchJob("job", message.queries, 10, True)))
    for some, all_, true in zip(parts, whole, truth, strict=True):
        assert len(some) == 10
        assert len({hit[1] for hit in some}) == 10, "no image twice"
        # Each group compares as many candidates as one that holds all: together they find that and more.
        assert len(set(some) & set(true)) >= len({hit[1:] for hit in all_} & {hit[1:] for hit in true}) - 10
        assert {hit[1] for hit in some} >= {hit[1] for hit in all_} & {hit[1] for hit in true}


def test_each_holder_searches_its_shards_alone_and_the_last_what_no_build_covers(grown: MadeJob) -> None:
    info = builds.current_info(grown.job)
    assert info is not None
    for text, rows in (
        ("0", (0, 400)),
        ("1-2", (400, 1_200)),
        ("4", (1_600, 2_400)),
        ("3-", (1_200, 2_400)),
        ("9", (0, 0)),
    ):
        searcher = SearcherPool(Settings(shards=text)).searcher(grown.job)
        kept = [image for image in range(*rows) if image % 50 != 3]
        assert searcher.kept.ids.tolist() == kept
        assert searcher.ntotal == len(kept)
        hits = searcher.search_many(QUERIES, 1_000)
        assert all({hit.id for hit in some} <= set(kept) for some in hits)
        assert [len(some) for some in hits] == [min(1_000, len(kept))] * len(QUERIES)
        # The last one has the 400 that no build covers as well.
        numbers = tuple(Held.parsed(text).among(5))
        shards = SearchedShards(info.build, numbers, (400, 400, 400, 400, 800))
        assert searcher.searched == Searched(2_400, 2_400, shards)


def test_a_holder_reads_only_the_files_of_its_shards(grown: MadeJob, tmp_path: Path) -> None:
    info = builds.current_info(grown.job)
    assert info is not None
    gone = grown.job.build_dir(info.build) / info.index_files[0]
    gone.rename(tmp_path / "aside")
    try:
        assert SearcherPool(Settings(shards="1-4")).searcher(grown.job).search(VECTORS[500], 1)[0].id == 500
        with pytest.raises(CorruptFile, match="is missing"):
            SearcherPool(Settings(shards="0-1")).searcher(grown.job)
    finally:
        (tmp_path / "aside").rename(gone)


def test_what_is_wrong_with_a_filter_is_wrong_for_each_holder(grown: MadeJob) -> None:
    searcher = SearcherPool(Settings(shards="0")).searcher(grown.job)
    with pytest.raises(QueryError, match="1 of them have no embedding"):
        searcher.search(VECTORS[0], 5, filter=Filter.of([2, 53], None))
    with pytest.raises(QueryError, match="matches none of the 2,352"):
        searcher.search(VECTORS[0], 5, filter=Filter.of(None, "id < 0"))
    assert searcher.search(VECTORS[0], 5, filter=Filter.of([2_000], None)) == []


def test_a_removal_while_it_is_open_leaves_the_shards_as_they_are(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest(shards=3))
    merge(open_job(made.job), Settings(), UNWATCHED)
    pool = SearcherPool(Settings(shards="1"))
    before = pool.searcher(made.job)
    assert before.kept.ids.tolist() == list(range(20, 40))
    assert before.without(np.array([5, 25]), 60).kept.ids.tolist() == [*range(20, 25), *range(26, 40)]
    job = open_job(made.job)
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([0, 39])))
    assert pool.searcher(made.job).kept.ids.tolist() == list(range(20, 39))


def test_an_index_of_one_file_is_shard_0(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    merge(open_job(made.job), Settings(), UNWATCHED)
    message = SearchJob("job", (Query(vector=made.embeddings[7].astype(np.float32)),), 3)
    assert found(together(made, ("0-3", "4-7"), message)) == found(answered(made, None, message))
    assert answered(made, "4-7", message)[0].hits == ()


@pytest.mark.parametrize("groups", [("0-3", "4-"), ("4-", "0"), ("0", "0-1", "1-"), ("0-",)], ids=str)
@pytest.mark.parametrize("exact", [False, True])
def test_a_job_without_an_index_is_searched_once_by_those_who_hold_shard_0(
    tmp_path: Path, groups: tuple[str, ...], exact: bool
) -> None:
    made = make_job(tmp_path / "job", sealed=[0, 1])
    queries = tuple(Query(vector=one.astype(np.float32)) for one in made.embeddings[::7])
    message = SearchJob("job", queries, 5, exact)
    answers = together(made, groups, message)
    assert found(answers) == found(answered(made, None, message))
    whole = answered(made, None, message)[0].searched
    assert whole is not None
    assert 0 < whole.images < whole.listed
    sizes = (SearcherPool(Settings()).searcher(made.job).ntotal,)
    assert answers[0].searched == replace(whole, shards=SearchedShards("", (0,), sizes))
    for held in groups:
        searcher = SearcherPool(Settings(shards=held)).searcher(made.job)
        assert searcher.ntotal == (sizes[0] if held.startswith("0") else 0)
        assert (searcher.search(made.embeddings[3], 5) == []) == (not held.startswith("0"))
    # What is wrong with a filter is wrong for all, and what it leaves is found once.
    some = Filter.of([1, 3, 59], None)
    assert found(together(made, groups, replace(message, filter=some))) == found(
        answered(made, None, replace(message, filter=some))
    )


def test_holders_of_a_job_go_on_when_it_gets_its_index(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest(shards=3))
    pools = {held: SearcherPool(Settings(shards=held)) for held in ("0", "1-")}
    assert [pool.searcher(made.job).ntotal for pool in pools.values()] == [60, 0]
    merge(open_job(made.job), Settings(), UNWATCHED)
    assert [pool.searcher(made.job).ntotal for pool in pools.values()] == [20, 40]
