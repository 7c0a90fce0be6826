"""A job with an index of three shards that is compacted: it answers as before, and the next build holds nothing more of
what was purged."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.client.joined import Replies, joined
from shared.errors import NoWorker
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.purged import holds_purged
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.index.shards import Range, ranges_without, shard_file
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.messages.query import Query
from shared.messages.search import SearchJob
from shared.messages.shards import Held
from shared.settings import Settings
from tests.support.compactions import answers, compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, grow_job, make_job
from workers.merge import shards
from workers.merge.build import merge
from workers.merge.shards import ShardsWanted, Superseded
from workers.search.answer import Answerer
from workers.search.pool import SearcherPool
from workers.vectors.ann import faiss_index, index_files, training

VECTORS = clustered(2_200, 16)
FIRST = 1_500
QUERIES = VECTORS[::73].astype(np.float32)
GROUPS = ("0", "1-2", "2-")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much a build finds is no matter here, but that it is the same before a compaction and after."""
    monkeypatch.setattr("workers.merge.build.QUERIES", 40)


def built(path: Path, family: str = "ivf-pq") -> MadeJob:
    """A job whose partitions are not the ranges of its three shards of about 495 rows, with gaps in its ids."""
    made = make_job(path, VECTORS[:FIRST], failed=range(0, FIRST, 97), partition_size=400, chunk_size=400)
    write_index_request(made.job, IndexRequest(family, 0.9, shards=3))
    merged(made)
    return made


def merged(made: MadeJob, *, elsewhere: bool = False) -> IndexInfo:
    return merge(open_job(made.job), Settings(), UNWATCHED, elsewhere=elsewhere)


def current(made: MadeJob) -> IndexInfo:
    info = builds.current_info(made.job)
    assert info is not None
    return info


def left(made: MadeJob, gone: Sequence[int]) -> MadeJob:
    kept = ~np.isin(made.ids, gone)
    return MadeJob(made.job, made.ids[kept], made.embeddings[kept])


def of_groups(made: MadeJob, *, exact: bool, held: Sequence[str] = GROUPS) -> list[Any]:
    """What workers find together that hold some shards each."""
    message = SearchJob("job", tuple(Query(vector=one) for one in QUERIES), 7, exact)
    replies = {
        Held.parsed(one): Answerer(Settings(shards=one, query_cache_size=0)).answer(made.job, message) for one in held
    }
    found = joined(Replies(replies, {}), 7, partial=False, shown="here")
    return [(hit.rank, hit.id, hit.image_path, hit.similarity) for answer in found for hit in answer.hits]


def in_files(made: MadeJob, info: IndexInfo) -> list[list[int]]:
    """The image ids in each index file."""
    found = []
    for name, rows in zip(info.index_files, info.ranges, strict=True):
        index = faiss_index.load(made.job.build_dir(info.build) / name, ntotal=len(rows), dim=16)
        ids = faiss_index.candidates(index, QUERIES, len(rows), 10_000)
        found.append(sorted({int(one) for some in ids for one in some if one >= 0}))
    return found


def test_ranges_are_told_without_rows_that_are_gone() -> None:
    ranges = [Range(0, 10), Range(10, 20), Range(20, 30)]
    assert ranges_without(ranges, np.array([0, 9, 10, 29])) == [Range(0, 8), Range(8, 17), Range(17, 26)]
    assert ranges_without(ranges, np.arange(10, 20)) == [Range(0, 10), Range(10, 10), Range(10, 20)]
    assert ranges_without(ranges, np.empty(0, np.int64)) == ranges


IN_ALL = (1, 2, 300, 495, 496, 497, 501, 502, 700, 996, 1_001, 1_002, 1_499)
IN_THE_FIRST = (1, 2, 3, 200)


@pytest.mark.parametrize("family", ["flat", "ivf-pq", "rabitq"])
@pytest.mark.parametrize("gone", [IN_ALL, IN_THE_FIRST], ids=["in all shards", "in the first"])
def test_a_compacted_job_of_shards_answers_as_before_with_its_index_and_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, gone: tuple[int, ...]
) -> None:
    made = built(tmp_path / "job", family)
    first = current(made)
    remove(made.job, *gone)
    pool = SearcherPool(Settings())
    before, exact = answers(made.job, QUERIES, pool), of_groups(made, exact=True)
    compacted(made.job)

    # With the index of before, in a worker that runs on, in a new one, and in those that hold some shards.
    assert current(made) == first
    assert answers(made.job, QUERIES, pool) == answers(made.job, QUERIES) == before
    assert of_groups(made, exact=True) == exact
    assert holds_purged(open_job(made.job), first.build)
    sizes = []
    for held in ("0", "1", "2"):
        searcher = SearcherPool(Settings(shards=held)).searcher(made.job)
        rows = first.ranges[int(held)]
        ids = made.ids[rows.start : rows.stop]
        assert searcher.kept.ids.tolist() == ids[~np.isin(ids, gone)].tolist()
        everything = searcher.search_many(QUERIES, 1_000)
        assert all(sorted(hit.id for hit in hits) == searcher.kept.ids.tolist() for hits in everything)
        assert searcher.searched is not None
        assert searcher.searched.shards is not None
        sizes.append(searcher.searched.shards.sizes)
    assert sizes == [tuple(int(np.sum(~np.isin(made.ids[a:b], gone))) for a, b in first.ranges)] * 3

    # With the next one, for which nothing is trained, and of whose files those are copied that nothing is gone from.
    monkeypatch.setattr(training, "train", None)
    second = merged(made)
    assert (second.grown_from, second.ntotal) == (first.build, len(made.ids) - len(gone))
    assert [len(rows) for rows in second.ranges] == list(sizes[0])
    assert in_files(made, second) == [left(made, gone).ids[a:b].tolist() for a, b in second.ranges]
    for name, was, now in zip(second.index_files, first.ranges, second.ranges, strict=True):
        same = len(was) == len(now)
        assert (second.files[name]["sha256"] == first.files[name]["sha256"]) == same
    assert not holds_purged(open_job(made.job), second.build)
    assert answers(made.job, QUERIES, pool)[len(before) // 3 :] == before[len(before) // 3 :]
    assert of_groups(made, exact=True) == exact
    assert {one[1] for one in of_groups(made, exact=False)}.isdisjoint(gone)
    found = pool.searcher(made.job).search_many(left(made, gone).embeddings.astype(np.float32)[::29], 1)
    assert [hits[0].id for hits in found] == left(made, gone).ids[::29].tolist()


@pytest.mark.parametrize("rebuilt", [False, True])
def test_images_that_came_after_a_build_are_found_once_beside_compacted_shards(tmp_path: Path, rebuilt: bool) -> None:
    made = built(tmp_path / "job")
    gone = (5, 600, 1_400, 1_600)
    made = grow_job(made, VECTORS[FIRST:])
    remove(made.job, *gone)
    before, exact = answers(made.job, QUERIES), of_groups(made, exact=True)
    compacted(made.job)
    if rebuilt:
        info = merged(made)
        assert (info.ntotal, len(info.shards)) == (len(made.ids) - len(gone), 5)
        assert list(chain(*in_files(made, info))) == left(made, gone).ids.tolist()
        assert of_groups(made, exact=True, held=("0-1", "2-")) == exact
        return
    assert answers(made.job, QUERIES) == before
    assert of_groups(made, exact=True) == exact
    searcher = SearcherPool(Settings(shards="2-")).searcher(made.job)
    own = made.ids[current(made).ranges[2].start :]
    assert searcher.kept.ids.tolist() == own[~np.isin(own, gone)].tolist()
    assert SearcherPool(Settings(shards="0-1")).searcher(made.job).kept.ids.max() < FIRST
    with pytest.raises(NoWorker, match="holds the shards 2 of the 3"):
        of_groups(made, exact=False, held=("0-1",))


@pytest.mark.parametrize("family", ["ivf-pq", "hnsw"])
def test_shards_of_which_nothing_is_left_or_which_give_nothing_up_are_built_from_scratch(
    tmp_path: Path, family: str
) -> None:
    made = built(tmp_path / "job", family)
    rows = current(made).ranges[1]
    gone = made.ids[rows.start : rows.stop].tolist() if family == "ivf-pq" else [700]
    remove(made.job, *gone)
    before = of_groups(made, exact=True)
    compacted(made.job)
    # All of a shard's images may be gone before another is built.
    assert of_groups(made, exact=True) == before
    assert SearcherPool(Settings(shards="1")).searcher(made.job).ntotal == len(rows) - len(gone)
    info = merged(made)
    assert (info.grown_from, len(info.shards), info.ntotal) == ("", 3, len(made.ids) - len(gone))
    assert of_groups(made, exact=True) == before


def test_a_shard_that_is_not_what_its_description_says_is_filled_from_the_first_embedding_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built(tmp_path / "job")
    remove(made.job, 3, 700)
    compacted(made.job)
    taken = []

    def remove_nothing(index: Any, ids: Any) -> None:
        taken.append(len(ids))

    monkeypatch.setattr(index_files, "remove", remove_nothing)
    info = merged(made)
    assert taken == [2, 2]
    assert in_files(made, info) == [left(made, (3, 700)).ids[a:b].tolist() for a, b in info.ranges]


def test_a_compaction_while_shards_are_filled_ends_that_and_the_next_build_is_of_what_is_left(tmp_path: Path) -> None:
    made = built(tmp_path / "job")
    made = grow_job(made, VECTORS[FIRST:1_900])
    with pytest.raises(ShardsWanted) as wanted:
        merged(made, elsewhere=True)
    filling = wanted.value.filling
    opened = open_job(made.job)
    remove(made.job, 3)
    compacted(made.job)
    for job in (opened, open_job(made.job)):
        with pytest.raises(Superseded):
            shards.fill_shard(job, JobFiles.of(job), filling.build, filling.missing[0], UNWATCHED)
    info = merged(made)
    assert info.build != filling.build
    assert not made.job.build_dir(filling.build).exists()
    assert list(chain(*in_files(made, info))) == left(made, (3,)).ids.tolist()


def test_a_merge_of_compacted_shards_that_is_killed_at_any_file_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    made = built(tmp_path / "job")
    first = current(made)
    remove(made.job, 3, 700)
    compacted(made.job)
    save, calls = faiss_index.save, 0

    def killed(index: Any, path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Killed
        save(index, path)

    monkeypatch.setattr(faiss_index, "save", killed)
    kills = 0
    while True:
        try:
            info = merged(made)
            break
        except Killed:
            kills += 1
            assert current(made) == first
    assert kills >= 3  # Two shards that are rewritten, and the trained index.
    assert info.grown_from == first.build
    assert in_files(made, info) == [left(made, (3, 700)).ids[a:b].tolist() for a, b in info.ranges]
    seals = list(ledger.sealed(open_job(made.job)))
    assert info.ledger_digest == builds.ledger_digest(seals)
    assert info.files.keys() == {*map(shard_file, range(3)), builds.IMAGES_FILE}
