"""A job that has no index yet is searched as far as it is embedded, and says how far."""

import gc
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import FingerprintMismatch, JobError, NoIndexYet, QueryError
from shared.job.changes.log import Change, write_change
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Chunk
from shared.job.opened import OpenJob, with_manifest
from shared.job.partition import checkpoint, ledger
from shared.job.partition.committed import require_embedded
from shared.messages.filter import Filter
from shared.messages.search import Searched
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, commit_chunks, grow_job, image_path, make_job
from workers.merge.build import merge
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors import parts

LISTED = 250
VECTORS = clustered(LISTED, 16)
"""Partitions of 100, 100 and 50 images in chunks of 20: the first is sealed, two chunks of the second are committed."""


def begun(path: str | Path, **options: object) -> MadeJob:
    made = make_job(path, VECTORS, partition_size=100, chunk_size=20, sealed=[0], **options)  # type: ignore[arg-type]
    second = made.job.chunks(made.job.partition(1))
    commit_chunks(made.job, VECTORS, second[1], second[3])
    return made


@pytest.fixture
def made(tmp_path: Path) -> MadeJob:
    return begun(tmp_path / "job")


@pytest.fixture
def pool() -> SearcherPool:
    return SearcherPool(Settings(query_cache_size=100))


THERE = np.array([*range(100), *range(120, 140), *range(160, 180)])


def nearest(ids: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    half = VECTORS.astype(np.float16).astype(np.float32)[ids]
    cosines = half @ query / np.linalg.norm(half, axis=1)
    found: list[int] = ids[np.argsort(-cosines, kind="stable")[:k]].tolist()
    return found


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_what_is_sealed_and_what_is_committed_is_found_as_brute_force_finds_it(
    made: MadeJob, pool: SearcherPool, exact: bool, count: int
) -> None:
    searcher = pool.searcher(made.job)
    assert searcher.searched == Searched(140, LISTED)
    assert searcher.searched.share == 0.56
    queries = VECTORS[105 : 105 + count]
    for query, hits in zip(queries, searcher.search_many(queries, 12, exact), strict=True):
        assert [hit.id for hit in hits] == nearest(THERE, query, 12)
        assert [hit.image_path for hit in hits] == [image_path(hit.id) for hit in hits]


def test_what_comes_is_found_at_the_next_query_by_the_same_worker_and_no_cached_answer_is_old(
    made: MadeJob, pool: SearcherPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, query = made.job, VECTORS[101]
    first = pool.searcher(job)
    assert [hit.id for hit in first.search(query, 3)] == nearest(THERE, query, 3)
    assert pool.searcher(job) is first  # Nothing came.
    second = job.chunks(job.partition(1))
    read: list[Chunk] = []
    whole = checkpoint.read_chunk

    def counted(job: OpenJob, chunk: Chunk) -> object:
        read.append(chunk)
        return whole(job, chunk)

    monkeypatch.setattr(checkpoint, "read_chunk", counted)
    monkeypatch.setattr(parts, "sealed_images", None)  # What is open is not read again.
    commit_chunks(job, VECTORS, second[0])
    after = pool.searcher(job)
    assert (after.search(query, 1)[0].id, after.searched, read) == (101, Searched(160, LISTED), [second[0]])


def test_a_partition_that_is_sealed_between_two_queries_is_found_once_and_answers_stay_right(
    made: MadeJob, pool: SearcherPool
) -> None:
    job, query = made.job, VECTORS[125]
    before = pool.searcher(job)
    commit_chunks(job, VECTORS, *job.chunks(job.partition(1)))
    ledger.seal_partition(job, job.partition(1))
    assert not job.chunk_dir(1).exists()
    assert before.search(query, 1)[0].id == 125  # Its chunks are gone, and what was read of them is there.
    assert before.search(query, 5, filter=Filter.of(None, "id between 120 and 139"))[0].id == 125
    after = pool.searcher(job)
    assert after.searched == Searched(200, LISTED)
    assert [hit.id for hit in after.search(query, 200)] == nearest(np.arange(200), query, 200)


def test_chunks_that_a_killed_worker_left_beside_their_seal_are_not_counted_twice(
    made: MadeJob, pool: SearcherPool, tmp_path: Path
) -> None:
    job = made.job
    commit_chunks(job, VECTORS, *job.chunks(job.partition(1)))
    shutil.copytree(job.chunk_dir(1), tmp_path / "left")
    ledger.seal_partition(job, job.partition(1))
    shutil.copytree(tmp_path / "left", job.chunk_dir(1))
    searcher = pool.searcher(job)
    assert (searcher.ntotal, searcher.searched) == (200, Searched(200, LISTED))


def test_a_partition_that_is_sealed_while_it_is_opened_is_taken_from_its_seal(
    made: MadeJob, pool: SearcherPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made.job
    steps: list[str] = []
    whole = ledger.sealed

    def sealed_behind(opened: OpenJob) -> list[ledger.Seal]:
        seals = list(whole(job))
        if not steps:  # After this look at the seals, and before the chunks are read.
            steps.append("sealed")
            commit_chunks(job, VECTORS, *job.chunks(job.partition(1)))
            ledger.seal_partition(job, job.partition(1))
        return seals

    monkeypatch.setattr(ledger, "sealed", sealed_behind)
    assert pool.searcher(job).searched == Searched(200, LISTED)
    assert steps


def test_a_listing_that_lags_behind_says_less_is_searched_and_never_what_is_wrong(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made.job
    chunks = type(job).chunk_numbers
    monkeypatch.setattr(type(job), "chunk_numbers", lambda self, number: chunks(self, number)[:1])
    monkeypatch.setattr(type(job), "sealed_numbers", lambda self: [])  # It is asked for by name.
    searcher = SearcherPool(Settings()).searcher(job)
    assert (searcher.ntotal, searcher.searched) == (120, Searched(120, LISTED))
    # It still shows a chunk that was taken back.
    monkeypatch.setattr(type(job), "chunk_numbers", lambda self, number: [1, 2, 3])
    assert SearcherPool(Settings()).searcher(job).searched == Searched(140, LISTED)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_chunk_that_is_cut_is_left_out_with_a_line_in_the_log(
    made: MadeJob, pool: SearcherPool, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = made.job.chunk(1, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with caplog.at_level(logging.WARNING):
        searcher = pool.searcher(made.job)
    assert searcher.searched == Searched(120, LISTED)
    assert f"{path} can't be read" in caplog.text
    assert "are not found until they are embedded again" in caplog.text
    path.write_bytes(whole)
    commit_chunks(made.job, VECTORS, made.job.chunks(made.job.partition(1))[0])
    assert pool.searcher(made.job).searched == Searched(160, LISTED)


def test_a_chunk_that_is_being_written_is_none_yet(made: MadeJob, pool: SearcherPool) -> None:
    chunk = made.job.chunk(1, 1)
    chunk.rename(chunk.with_name(f".{chunk.name}.{'0' * 32}.tmp"))
    made.job.attempt(1, "abc").write_text("121")
    assert pool.searcher(made.job).searched == Searched(120, LISTED)


def test_a_chunk_of_another_model_is_no_part_of_an_answer(made: MadeJob, pool: SearcherPool) -> None:
    job = made.job
    other = replace(job.manifest, model=replace(job.manifest.model, name="other"))
    commit_chunks(with_manifest(job, other), VECTORS, job.chunks(job.partition(1))[0])
    with pytest.raises(FingerprintMismatch, match="was embedded by the model other@"):
        pool.searcher(job)


def test_images_that_failed_or_were_removed_count_as_looked_at(tmp_path: Path, pool: SearcherPool) -> None:
    made = make_job(tmp_path / "job", VECTORS, partition_size=100, chunk_size=20, sealed=[0], failed=(3, 7))
    job = made.job
    commit_chunks(job, VECTORS, job.chunks(job.partition(1))[0], failed=range(100, 120))
    assert (pool.searcher(job).ntotal, pool.searcher(job).searched) == (98, Searched(120, LISTED))
    # One of those that are found, one that failed, and two that are not embedded yet.
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([5, 7, 130, 249], np.int64)))
    searcher = pool.searcher(job)
    assert (searcher.ntotal, searcher.searched) == (97, Searched(122, LISTED))
    assert 5 not in {hit.id for hit in searcher.search(VECTORS[5], 200)}
    commit_chunks(job, VECTORS, job.chunks(job.partition(1))[1])
    searcher = pool.searcher(job)
    assert (searcher.ntotal, searcher.searched) == (116, Searched(141, LISTED))
    assert 130 not in {hit.id for hit in searcher.search(VECTORS[130], 200)}


def test_filters_choose_among_what_is_committed_as_among_what_is_sealed(made: MadeJob, pool: SearcherPool) -> None:
    searcher = pool.searcher(made.job)
    found = searcher.search(VECTORS[0], 50, filter=Filter.of(None, "id between 95 and 124 and width = 8"))
    assert sorted(hit.id for hit in found) == [*range(95, 100), *range(120, 125)]
    with pytest.raises(QueryError, match="matches none of the 140 embedded images"):
        searcher.search(VECTORS[0], filter=Filter.of(None, "id > 200"))
    # 101 and 249 are not embedded yet, which is no error of who asks.
    found = searcher.search(VECTORS[0], filter=Filter.of([3, 101, 120, 249], None))
    assert sorted(hit.id for hit in found) == [3, 120]
    with pytest.raises(QueryError, match="none of them is embedded yet, such as 101"):
        searcher.search(VECTORS[0], filter=Filter.of([101, 249], None))
    with pytest.raises(QueryError, match="1 of them have no embedding in this job, such as 250"):
        searcher.search(VECTORS[0], filter=Filter.of([101, 250], None))


def test_only_chunks_are_enough_for_a_filter(tmp_path: Path, pool: SearcherPool) -> None:
    made = make_job(tmp_path / "job", VECTORS, partition_size=100, chunk_size=20, sealed=[])
    commit_chunks(made.job, VECTORS, made.job.chunks(made.job.partition(2))[1])
    searcher = pool.searcher(made.job)
    assert searcher.searched == Searched(20, LISTED)
    assert [hit.id for hit in searcher.search(VECTORS[221], filter=Filter.of(None, "id = 221 and bytes = 300"))] == [
        221
    ]


@pytest.mark.parametrize("failed", [False, True])
def test_nothing_that_could_be_searched_is_said_in_a_sentence(tmp_path: Path, pool: SearcherPool, failed: bool) -> None:
    job = make_job(tmp_path / "job", VECTORS, partition_size=100, chunk_size=20, sealed=[]).job
    if failed:
        commit_chunks(job, VECTORS, job.chunks(job.partition(0))[0], failed=range(20))
    else:
        with pytest.raises(NoIndexYet, match="nothing of it is embedded: 0 of 250 images: indexing embeds them"):
            require_embedded(job)
    said = "0 of 250 images" + (", and 20 failed or were removed" if failed else "")
    with pytest.raises(NoIndexYet, match=f"no index yet, and nothing of it is embedded: {said}: indexing embeds"):
        pool.searcher(job)
    commit_chunks(job, VECTORS, job.chunks(job.partition(1))[0])
    require_embedded(job)
    assert pool.searcher(job).search(VECTORS[100], 1)[0].id == 100


def test_with_the_index_it_is_the_index_that_is_searched_and_all_of_it(made: MadeJob, pool: SearcherPool) -> None:
    job = made.job
    early = pool.searcher(job)
    for number in (1, 2):
        commit_chunks(job, VECTORS, *job.chunks(job.partition(number)))
        ledger.seal_partition(job, job.partition(number))
    assert pool.searcher(job).searched == Searched(LISTED, LISTED)
    build = merge(job, Settings(), UNWATCHED).build
    searcher = pool.searcher(job)
    assert searcher is not early
    assert (searcher._index.ntotal, searcher.searched) == (LISTED, Searched(LISTED, LISTED))
    assert Searcher.open(JobFiles.of(job), build).searched == Searched(LISTED, LISTED)


def test_a_refresh_says_how_much_is_searched_until_all_that_it_added_is_sealed(
    tmp_path: Path, pool: SearcherPool
) -> None:
    made = make_job(tmp_path / "job", VECTORS[:200], partition_size=100, chunk_size=20)
    merge(made.job, Settings(), UNWATCHED)
    assert pool.searcher(made.job).searched == Searched(200, 200)
    grown = grow_job(made, VECTORS[200:], sealed=False)
    assert pool.searcher(made.job).searched == Searched(200, 250)
    commit_chunks(grown.job, VECTORS, *grown.job.chunks(grown.job.partition(2)))
    ledger.seal_partition(grown.job, grown.job.partition(2))
    assert pool.searcher(made.job).searched == Searched(250, 250)
    grown.job.seal(0).rename(tmp_path / "taken back")
    grow_job(grown, VECTORS[:30], sealed=False)
    assert pool.searcher(made.job).searched == Searched(250, 280)


def test_the_copies_of_chunks_go_with_the_searcher(
    made: MadeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    searcher = SearcherPool(Settings()).searcher(made.job)
    staged = next(tmp_path.glob("lookalike-*/staged"))
    assert len(list(staged.iterdir())) == 2
    assert searcher.search(VECTORS[121], 1)[0].id == 121
    del searcher
    gc.collect()
    assert list(staged.iterdir()) == []


def test_a_full_disk_is_said_in_a_sentence(made: MadeJob, pool: SearcherPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shared.storage.parquet.writer", full)
    with pytest.raises(JobError, match=r"can't be copied to .* \(No space left on device\): make room"):
        pool.searcher(made.job)


def test_a_job_in_a_store_is_searched_while_it_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(f"memory://{tmp_path.name}/jobs/job")
    settings = Settings(job_cache_dir=tmp_path / "cache")
    pool = SearcherPool(settings)
    searcher = pool.searcher(made.job)
    assert searcher.searched == Searched(140, LISTED)
    assert [hit.id for hit in searcher.search(VECTORS[122], 9)] == nearest(THERE, VECTORS[122], 9)
    commit_chunks(made.job, VECTORS, made.job.chunks(made.job.partition(1))[0])
    assert pool.searcher(made.job) is searcher  # It was looked at just now.
    later = time.monotonic() + 2.1
    monkeypatch.setattr("workers.search.pool.time.monotonic", lambda: later)
    assert pool.searcher(made.job).searched == Searched(160, LISTED)
