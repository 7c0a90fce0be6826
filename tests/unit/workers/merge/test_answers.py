"""The exact answers that a build keeps are those that all of its embeddings give, whatever became of the job."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE, answers_of, read_answers, write_answers
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.settings import Settings
from shared.vectors import unit
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, grow_job, make_job
from workers.evaluate import recall
from workers.merge import answers, build, growth
from workers.merge.answers import Known
from workers.merge.build import merge
from workers.merge.growth import Former
from workers.vectors.embeddings import Floats, StoredEmbeddings
from workers.vectors.exact import Neighbours, exact_search

VECTORS = clustered(3_000, 16)
SEED = 3


class Scans:
    """How many queries were compared with how many embeddings, one pair a search."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int]] = []

    def __call__(self, stored: StoredEmbeddings, queries: Floats, k: int) -> Neighbours:
        self.found.append((len(queries), len(stored)))
        return exact_search(stored, queries, k)

    def taken(self, rows: int) -> int:
        """The queries since the last call that were compared with so many embeddings, which are all."""
        found, self.found = self.found, []
        return sum(queries for queries, among in found if among == rows)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    made = Scans()
    monkeypatch.setattr(answers, "exact_search", made)
    return made


class Collection:
    """Embeddings by id, of which some go and others come."""

    def __init__(self, vectors: Floats) -> None:
        self.half, self.ids = vectors.astype(np.float16), np.arange(len(vectors))
        self.left = np.ones(len(vectors), dtype=bool)
        self.covered = len(vectors)

    def add(self, vectors: np.ndarray) -> None:
        self.half = np.concatenate([self.half, vectors.astype(np.float16)])
        self.ids = np.arange(len(self.half))
        self.left = np.concatenate([self.left, np.ones(len(vectors), dtype=bool)])

    def purge(self, ids: Sequence[int] | np.ndarray) -> None:
        self.left[np.asarray(ids, dtype=np.int64)] = False

    def merged(self) -> tuple[StoredEmbeddings, int]:
        """What is stored now, and how many embeddings of it were there when this was called last."""
        ids = self.ids[self.left]
        held = int(np.count_nonzero(ids < self.covered))
        self.covered = len(self.ids)
        return StoredEmbeddings([self.half[ids]], ids, self.half.shape[1]), held


def require_exact(known: Known, stored: StoredEmbeddings) -> None:
    """Whatever is known is what comparing all gives, to the last image that is named."""
    vectors = unit(stored.rows(stored.rows_of(known.ids)))
    found = exact_search(stored, vectors, answers.DEPTH + 1)
    every = recall.without_own(found, known.ids, answers.DEPTH)
    for ids, similarities, true, values, depth in zip(*known.nearest, *every, known.depths, strict=True):
        assert ids[:depth].tolist() == true[:depth].tolist()
        assert np.allclose(similarities[:depth], values[:depth], atol=1e-6)


def test_what_is_known_is_exact_after_any_additions_purges_and_replacements(scans: Scans) -> None:
    """Among duplicates, where each answer ends within a tie; and queries have all of their nearest purged."""
    rng = np.random.default_rng(5)
    there = Collection(np.concatenate([VECTORS[:700], np.repeat(VECTORS[:4], 40, axis=0)]))
    stored, _ = there.merged()
    asked, known = answers.yardstick(stored, Known.none(len(stored)), 10, 60, SEED)
    assert scans.taken(len(stored)) == 60
    again = []
    for turn in range(8):
        left = there.ids[there.left]
        if turn % 2:
            there.purge(rng.choice(left, len(left) // 12, replace=False))
        if turn == 3:
            there.purge(known.nearest.ids[:3, :45])  # All but five of what is known of three queries.
        if turn == 5:  # Replaced: the same picture, or nearly, by another id.
            there.purge(asked.ids[:20])
            there.add(VECTORS[asked.ids[:20] % 700] + 1e-3)
        there.add(VECTORS[1_000 + 60 * turn : 1_060 + 60 * turn])
        if turn % 3 == 0:
            there.add(np.repeat(VECTORS[1:2], 15, axis=0))
        stored, held = there.merged()
        known = answers.grown(known, stored, held)
        require_exact(known, stored)
        assert scans.taken(len(stored)) == 0
        asked, known = answers.yardstick(stored, known, 10, 60, SEED)
        again.append(scans.taken(len(stored)))
        true = recall.yardstick(stored, 10, 60, SEED)
        assert np.array_equal(asked.ids, true.ids)
        assert np.array_equal(asked.vectors, true.vectors)
        assert np.array_equal(asked.truth.ids, true.truth.ids)
        assert np.allclose(asked.truth.similarities, true.truth.similarities, atol=1e-6)
        require_exact(known, stored)
        assert asked.ids[asked.ids > 860].size > 0 or turn < 2, "new images are queries too"
    assert again[3] >= 3, "of those queries too few are left"
    assert max(again) < 40
    assert sum(again) < 8 * 15


@pytest.mark.parametrize(("first", "then"), [(8, 17), (60, None)])
def test_an_answer_that_names_all_there_were_stays_whole_with_those_that_came(first: int, then: int | None) -> None:
    there = Collection(VECTORS[:first])
    stored, _ = there.merged()
    _, known = answers.yardstick(stored, Known.none(first), 10, 60, SEED)
    assert known.depths.tolist() == [min(first - 1, answers.DEPTH)] * first
    there.purge([2, 3])
    there.add(VECTORS[first : first + 12])
    stored, held = there.merged()
    known = answers.grown(known, stored, held)
    assert then is None or known.depths.tolist() == [then] * 6
    require_exact(known, stored)


@pytest.mark.parametrize("left", [0, 1, 2])
def test_hardly_any_embedding_is_left(left: int, scans: Scans) -> None:
    there = Collection(VECTORS[:5])
    stored, _ = there.merged()
    _, known = answers.yardstick(stored, Known.none(5), 10, 60, SEED)
    there.purge(range(left, 5))
    if not left:
        there.add(VECTORS[5:6])
    stored, held = there.merged()
    asked, known = answers.yardstick(stored, answers.grown(known, stored, held), 10, 60, SEED)
    true = recall.yardstick(stored, 10, 60, SEED)
    assert np.array_equal(asked.truth.ids, true.truth.ids)
    assert len(known.ids) == max(left, 1)


def test_answers_of_other_embeddings_are_not_believed() -> None:
    stored, other = (
        StoredEmbeddings([some.astype(np.float16)], np.arange(500), 16) for some in np.split(VECTORS[:1_000], 2)
    )
    _, known = answers.yardstick(other, Known.none(500), 10, 20, SEED)
    assert len(answers.grown(known, other, 500).ids) == 20
    assert len(answers.grown(known, stored, 500).ids) == 0


def of_job(made: MadeJob) -> tuple[StoredEmbeddings, IndexInfo]:
    job = open_job(made.job)
    info = builds.current_info(job)
    assert info is not None
    return StoredEmbeddings.open(JobFiles.of(job), list(ledger.sealed(job))), info


def kept(stored: StoredEmbeddings, made: MadeJob, info: IndexInfo) -> Known:
    """What a build kept, over what is stored, which it covers."""
    former = Former(info, [], frozenset(), info.ranges, np.empty(0, np.int64))
    return answers.known_of(open_job(made.job), former, stored)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
def test_builds_that_grow_one_from_another_keep_what_all_embeddings_answer(
    tmp_path: Path, shards: int, scans: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "QUERIES", 50)
    monkeypatch.setattr(growth, "QUERIES", 25)
    monkeypatch.setattr(answers, "KEPT", 30)
    made = make_job(tmp_path / "job", VECTORS[:900], failed=range(0, 900, 71), partition_size=400, chunk_size=400)
    write_index_request(made.job, IndexRequest("flat", 0.9, shards=shards))

    def merged(most: int) -> None:
        info = merge(open_job(made.job), Settings(), UNWATCHED)
        stored, _ = of_job(made)
        assert scans.taken(len(stored)) <= most
        assert bool(info.grown_from) == (most < 50)
        assert len(info.index_files) >= shards
        assert info.recall_at_10 == 1.0
        known = kept(stored, made, info)
        assert 25 <= len(known.ids) <= 30
        require_exact(known, stored)

    merged(50)
    made = grow_job(made, VECTORS[900:960])
    merged(12)
    made = grow_job(made, VECTORS[960:1_020])
    merged(12)
    gone = range(1, 1_020, 7)
    remove(made.job, *(one for one in gone if one % 71))
    compacted(made.job)  # Rows move, and partitions are put together.
    merged(20)
    remove(made.job, 2, 3, 4)
    made = grow_job(made, VECTORS[2:5] + 1e-3)
    merged(12)


DAMAGE = {
    "none, as of an earlier version": lambda path, info: path.unlink(),
    "cut": lambda path, info: path.write_bytes(path.read_bytes()[:-30]),
    "another number": lambda path, info: path.write_text(path.read_text().replace("0.9", "0.8", 1)),
    "a newer version": lambda path, info: path.write_text(path.read_text().replace('"version": 1', '"version": 2')),
    "no object": lambda path, info: path.write_text("[]\n"),
}  # fmt: skip
OTHER: dict[str, Any] = {
    "build": "0009-ab12cd34", "ledger_digest": "0" * 64, "fingerprint": "other@1", "dim": 8, "ntotal": 299,
}  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> MadeJob:
    made = make_job(tmp_path_factory.mktemp("one") / "job", VECTORS[:300], partition_size=300, chunk_size=300)
    write_index_request(made.job, IndexRequest("flat", 0.9))
    merge(open_job(made.job), Settings(), UNWATCHED)
    return made


@pytest.mark.parametrize("how", [*DAMAGE, *OTHER])
def test_what_is_not_of_this_very_build_is_asked_for_again(one: MadeJob, how: str, scans: Scans) -> None:
    stored, info = of_job(one)
    path = one.job.build_dir(info.build) / ANSWERS_FILE
    before = path.read_bytes()
    assert len(kept(stored, one, info).ids) == min(answers.KEPT, info.recall_queries)
    try:
        if how in DAMAGE:
            DAMAGE[how](path, info)
        else:
            right = answers_of(one.job, info)
            assert right is not None
            write_answers(one.job, replace(right, **{how: OTHER[how]}))
            if how == "build":
                shutil.move(one.job.build_dir(str(OTHER[how])) / ANSWERS_FILE, path)
        assert answers_of(one.job, info) is None
        scans.taken(0)
        asked, _ = answers.yardstick(stored, kept(stored, one, info), 10, 20, SEED)
        assert scans.taken(300) == 20
        assert np.array_equal(asked.truth.ids, recall.yardstick(stored, 10, 20, SEED).truth.ids)
    finally:
        path.write_bytes(before)
        shutil.rmtree(one.job.build_dir("0009-ab12cd34"), ignore_errors=True)
    assert read_answers(one.job, info) is not None
