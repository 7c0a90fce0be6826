"""A build of several shards: what each holds, what it finds beside one file, and what a kill or damage costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import CorruptFile, JobMismatch, SettingsError
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE
from shared.job.index.builds import IndexInfo
from shared.job.index.filling import filling, filling_of
from shared.job.index.request import IndexRequest, read_index_request, write_index_request
from shared.job.index.shards import TRAINED_FILE, Range, shard_file
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.settings import Settings
from shared.storage import files
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, clustered, copy_of, grow_job, make_job
from workers.evaluate import recall
from workers.merge import directories, shards
from workers.merge import fill as filling_up
from workers.merge.build import merge
from workers.merge.shards import ShardsWanted, Superseded
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import faiss_index, training
from workers.vectors.ann.plan import choose_index
from workers.vectors.ann.shards import Shards

VECTORS = clustered(5_000, 16)
FIRST = 2_000

pytestmark = pytest.mark.slow


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def fewer_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much a build finds is no matter here, but that it is the same of shards as of one file."""
    monkeypatch.setattr("workers.merge.build.QUERIES", 40)


def job_with(path: Path, request: IndexRequest, rows: int = FIRST) -> MadeJob:
    """A job whose partitions are not the ranges of its shards, with gaps in its ids."""
    made = make_job(path, VECTORS[:rows], failed=range(0, rows, 97), partition_size=300, chunk_size=300)
    write_index_request(made.job, request)
    return made


def merged(made: MadeJob, *, elsewhere: bool = False) -> IndexInfo:
    return merge(open_job(made.job), Settings(), UNWATCHED, elsewhere=elsewhere)


def wanted(made: MadeJob) -> ShardsWanted:
    """What a merge wants that leaves the shards to others."""
    with pytest.raises(ShardsWanted) as raised:
        merged(made, elsewhere=True)
    return raised.value


def fill(made: MadeJob, build: str, number: int) -> list[int]:
    job = open_job(made.job)
    return list(shards.fill_shard(job, JobFiles.of(job), build, number, UNWATCHED))


def searcher(made: MadeJob) -> Searcher:
    return SearcherPool(Settings(query_cache_size=0)).searcher(made.job)


def finds_all(made: MadeJob) -> bool:
    found = searcher(made).search_many(made.embeddings.astype(np.float32)[::29], 1)
    return [hits[0].id for hits in found] == made.ids[::29].tolist()


COUNTS = [("flat", 8), ("ivf-pq", 2), ("ivf-pq", 8), ("rabitq", 8), ("PCAR8,IVF16,SQ8", 2)]


@pytest.mark.parametrize(("family", "count"), COUNTS)
def test_shards_find_what_one_file_finds(tmp_path: Path, family: str, count: int) -> None:
    one = job_with(tmp_path / "one", IndexRequest(family, 0.9))
    many = job_with(tmp_path / "many", IndexRequest(family, 0.9, shards=count))
    alone, info = merged(one), merged(many)
    rows = len(one.ids)
    assert [len(part) for part in info.ranges] == [(n + 1) * rows // count - n * rows // count for n in range(count)]
    assert set(info.files) == {*map(shard_file, range(count)), builds.IMAGES_FILE}
    assert {path.name for path in many.job.build_dir(info.build).iterdir()} == {
        *info.files,
        builds.INFO_FILE,
        ANSWERS_FILE,
    }
    assert (alone.index_files, alone.ranges, alone.format, info.format) == (
        [builds.INDEX_FILE], [Range(0, rows)], builds.FORMAT, builds.FORMAT_OF_SHARDS,
    )  # fmt: skip
    assert info == builds.current_info(many.job)
    queries = clustered(300, 16, seed=1)
    first, parts = searcher(one)._index, searcher(many)._index
    assert (len(parts.parts), parts.ntotal) == (count, rows)
    for margin in (0.0, 0.3) if info.nlist else (0.0,):
        same = faiss_index.search(first, queries, 50, 4, list_margin=margin)
        found = faiss_index.search(parts, queries, 50, 4, list_margin=margin)
        # FAISS sums those of one bit a dimension in another order where a list has other neighbours.
        np.testing.assert_allclose(found.distances, same.distances, rtol=1e-4 if family == "rabitq" else 0)
        for ids, others, distances in zip(found.ids, same.ids, found.distances, strict=True):
            nearer = distances < distances[-1] * 0.99  # Of those near the last one any may be among the candidates.
            assert set(ids[nearer]) <= set(others)
            assert set(others[nearer]) <= set(ids)


def test_a_graph_of_each_shard_finds_all_images(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("hnsw", 0.9, shards=3))
    info = merged(made)
    assert (info.type, len(info.shards)) == ("HNSW", 3)
    assert finds_all(made)


def test_few_candidates_are_widened_to_all_lists_of_all_shards(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.0, shards=4))
    merged(made)
    assert [len(hits) for hits in searcher(made).search_many(VECTORS[:3], 900)] == [900] * 3


def test_more_shards_than_embeddings_are_refused_with_what_to_ask_for(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    write_index_request(made.job, IndexRequest(shards=61))
    with pytest.raises(SettingsError, match=r"61 shards .* only 60 embeddings"):
        merged(made)
    assert builds.build_names(made.job) == []


def test_the_bytes_of_a_shard_are_the_same_whoever_fills_it(tmp_path: Path) -> None:
    request = IndexRequest("ivf-pq", 0.9, shards=3)
    here, others = job_with(tmp_path / "here", request), job_with(tmp_path / "others", request)
    asked = wanted(others)
    assert asked.filling.missing == [0, 1, 2]
    assert builds.current_build(others.job) is None
    assert [fill(others, asked.filling.build, number) for number in (1, 0, 2)] == [[0, 2], [2], []]
    assert fill(others, asked.filling.build, 1) == [], "it is full already"
    sums = [{name: entry["sha256"] for name, entry in info.files.items()} for info in (merged(here), merged(others))]
    assert sums[0] == sums[1]
    assert finds_all(others)


def test_a_merge_that_finds_shards_missing_wants_only_these_and_trains_and_compares_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3))
    name = wanted(made).filling.build
    fill(made, name, 1)
    monkeypatch.setattr(training, "train", None)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256_of", None)
        assert wanted(made).filling.missing == [0, 2]
        assert wanted(made).filling.build == name
    fill(made, name, 0)
    fill(made, name, 2)
    assert merged(made, elsewhere=True).build == name


def test_what_is_to_be_filled_is_known_from_the_files_alone(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3))
    digest, request = builds.ledger_digest(ledger.sealed(made.job)), read_index_request(made.job)
    assert filling(made.job, digest, request) is None
    asked = wanted(made)
    assert filling(made.job, digest, request) == asked.filling
    assert filling(made.job, digest, None) == asked.filling
    assert filling(made.job, "0" * 64, request) is None, "it is of other embeddings"
    assert filling(made.job, digest, IndexRequest("ivf-pq", 0.9, shards=4)) is None, "another index was asked for"
    for number in range(3):
        fill(made, asked.filling.build, number)
    assert merged(made, elsewhere=True).build == asked.filling.build
    assert filling(made.job, digest, request) is None, "it is whole"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_shard_that_is_killed_is_filled_again_alone_from_where_it_stood(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling_up, "SAVE_SECONDS", 0.0)
    whole = job_with(tmp_path / "whole", IndexRequest("ivf-pq", 0.9, shards=2))
    sums = merged(whole).files
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=2))
    name = wanted(made).filling.build
    fill(made, name, 0)
    full = (made.job.build_dir(name) / shard_file(0)).read_bytes()
    add, added = faiss_index.add, []

    def killed(index: Any, ids: Any, block: Any) -> None:
        added.append(len(ids))
        if len(added) == at:
            raise Killed
        add(index, ids, block)

    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "add", killed)
        patch.setattr("time.monotonic", lambda: 0.0)  # So it is always time to save.
        with pytest.raises(Killed):
            fill(made, name, 1)
    before, added = sum(added[:-1]), []

    def counted(index: Any, ids: Any, block: Any) -> None:
        added.append(len(ids))
        add(index, ids, block)

    with monkeypatch.context() as patch:
        patch.setattr(faiss_index, "add", counted)
        assert fill(made, name, 1) == []
    assert sum(added) == len(made.ids) - len(made.ids) // 2 - before
    assert (made.job.build_dir(name) / shard_file(0)).read_bytes() == full
    assert merged(made, elsewhere=True).files == sums


@pytest.mark.parametrize("damaged", [shard_file(1), TRAINED_FILE])
def test_what_is_damaged_while_shards_are_filled_is_made_again(tmp_path: Path, damaged: str) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3))
    name = wanted(made).filling.build
    fill(made, name, 0)
    fill(made, name, 1)
    path = made.job.build_dir(name) / damaged
    path.write_bytes(path.read_bytes()[:-7])
    if damaged == TRAINED_FILE:
        with pytest.raises(CorruptFile, match="trains the index again"):
            fill(made, name, 2)
        assert wanted(made).filling.missing == [2]
    fill(made, name, 2)
    merged(made, elsewhere=True)
    assert finds_all(made)


def test_a_shard_of_another_training_is_filled_again(tmp_path: Path) -> None:
    """A worker that was frozen while the index was trained anew may save what it had begun."""
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3))
    name = wanted(made).filling.build
    directory = made.job.build_dir(name)
    for number in range(3):
        fill(made, name, number)
    right = [(directory / shard_file(number)).read_bytes() for number in range(3)]
    index = faiss_index.load(directory / shard_file(1), ntotal=None, dim=16)
    rows = filling_of(made.job, name)
    assert rows is not None
    own = made.embeddings[slice(*rows.ranges[1])].astype(np.float32)
    other = training.train(choose_index(len(made.ids), 16, IndexRequest("ivf-pq", 0.9)), [own], seed=5)
    faiss_index.add(other, made.ids[slice(*rows.ranges[1])], own)
    assert other.ntotal == index.ntotal
    faiss_index.save(other, directory / shard_file(1))
    merged(made, elsewhere=True)
    assert [(directory / shard_file(number)).read_bytes() for number in range(3)] == right


def test_a_shard_of_a_build_that_is_not_wanted_any_more_is_not_filled(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=2))
    former = wanted(made).filling.build
    grown = grow_job(made, VECTORS[FIRST:2_100])
    with pytest.raises(Superseded, match="other embeddings"):
        fill(grown, former, 0)
    assert builds.build_names(made.job) == [former]
    build = wanted(grown).filling.build
    with pytest.raises(Superseded, match="given up"):
        fill(grown, former, 0)
    assert builds.build_names(made.job) == [build], "nothing is written where it was"


def test_a_build_that_is_given_up_while_a_shard_is_filled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=2))
    name = wanted(made).filling.build
    add = faiss_index.add

    def given_up(index: Any, ids: Any, block: Any) -> None:
        add(index, ids, block)
        directories.give_up(made.job, name)

    monkeypatch.setattr(faiss_index, "add", given_up)
    with pytest.raises(Superseded):
        fill(made, name, 0)
    assert builds.build_names(made.job) == []


def test_an_index_of_shards_grows_in_its_last_shard_and_then_in_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3), rows=1_999)
    first = merged(made)
    full = first.shard_rows
    assert full == -(-len(made.ids) // 3)
    grown = grow_job(made, VECTORS[FIRST : FIRST + full + 50])
    monkeypatch.setattr(training, "train", None)
    info = merged(grown)
    assert (info.grown_from, info.trained_for, info.shard_rows) == (first.build, len(made.ids), full)
    assert info.shards[:2] == first.shards[:2]
    assert [len(rows) for rows in info.ranges[2:]] == [full, full, len(grown.ids) - first.shards[2][0] - 2 * full]
    assert [info.files[name] for name in map(shard_file, range(2))] == [
        first.files[name] for name in map(shard_file, range(2))
    ], "full shards are taken over as they are"
    assert finds_all(grown)
    asked = grow_job(grown, VECTORS[4_000:4_100])
    assert wanted(asked).filling.missing == [len(info.shards) - 1], "only the last one is filled further"


def test_past_twice_what_it_was_trained_for_there_are_as_many_shards_as_were_asked_for(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shards=3))
    merged(made)
    info = merged(grow_job(made, VECTORS[FIRST : FIRST + 2_100]))
    assert (info.grown_from, len(info.shards)) == ("", 3)


@pytest.mark.parametrize(
    ("family", "most"), [("flat", 60_000), ("ivf-pq", 40_000), ("rabitq", 50_000), ("hnsw", 200_000)]
)
def test_shards_of_a_size_are_below_it_also_when_they_have_grown(tmp_path: Path, family: str, most: int) -> None:
    made = job_with(tmp_path / "job", IndexRequest(family, 0.9, shard_bytes=most))
    info = merged(made)

    def sizes(info: IndexInfo) -> list[int]:
        return [int(entry["bytes"]) for name, entry in info.files.items() if name != builds.IMAGES_FILE]

    assert len(sizes(info)) > 1
    assert 0.4 * most < max(sizes(info)) <= most
    grown = merged(grow_job(made, VECTORS[FIRST : FIRST + 900]))
    assert grown.grown_from
    assert len(grown.shards) > len(info.shards)
    assert max(sizes(grown)) <= most


def test_an_earlier_version_refuses_a_build_of_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = job_with(tmp_path / "job", IndexRequest("flat", shards=2))
    info = merged(made)
    monkeypatch.setattr(builds, "FORMAT_OF_SHARDS", 1)
    with pytest.raises(JobMismatch, match="has format 2"):
        builds.read_info(made.job, info.build)


def test_one_shard_is_an_index_as_any_other(tmp_path: Path) -> None:
    made = job_with(tmp_path / "job", IndexRequest("ivf-pq", 0.9, shard_bytes=10**9))
    info = merged(made)
    assert (len(info.shards), info.index_files) == (1, [shard_file(0)])
    assert not isinstance(searcher(made)._index, Shards)
    assert finds_all(made)


class Steps:
    """Counts the steps that a build of shards names, and is killed at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.named: list[str] = []
        self.last = -1
        for module in (training, faiss_index, shards, recall, builds):
            monkeypatch.setattr(module, "failpoint", self)

    def __call__(self, name: str) -> None:
        self.named.append(name)
        if len(self.named) - 1 == self.last:
            raise Killed

    def at(self, number: int) -> None:
        self.named.clear()
        self.last = number


def driven(made: MadeJob) -> IndexInfo:
    """What merge workers do together: a merge, each shard that it wants, and the merge again."""
    while True:
        try:
            return merged(made, elsewhere=True)
        except ShardsWanted as wanted:
            for number in wanted.filling.missing:
                fill(made, wanted.filling.build, number)


@pytest.mark.parametrize("grows", [False, True])
def test_a_build_of_shards_that_is_killed_at_any_step_leaves_current_and_is_ended_by_the_next(
    tmp_path: Path, grows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = make_job(tmp_path / "begun")
    write_index_request(begun.job, IndexRequest(shards=3))
    if grows:
        merged(begun)
        begun = grow_job(begun, np.random.default_rng(5).normal(size=(25, 16)))

    steps = Steps(monkeypatch)
    steps.at(-1)
    right = driven(copy_of(begun, tmp_path / "undisturbed"))
    named = list(steps.named)
    # What is added goes to two new shards, as the last one was full.
    assert len(right.shards) == (5 if grows else 3)
    assert named.count("fill_shard") == (2 if grows else 3)
    assert named[-2:] == ["measure_index", "promote_build"]
    for number, step in enumerate(named):
        made = copy_of(begun, tmp_path / f"killed {number}")
        before = builds.current_build(made.job)
        steps.at(number)
        with pytest.raises(Killed):
            driven(made)
        assert steps.named[-1] == step
        assert builds.current_build(made.job) == before
        steps.at(-1)
        info = driven(made)
        assert info.files == right.files, step
        assert {path.name for path in made.job.build_dir(info.build).iterdir()} == {
            *info.files,
            builds.INFO_FILE,
            ANSWERS_FILE,
        }
        assert builds.current_build(made.job) == info.build
        assert finds_all(made)
