"""Neighbours: those that comparing all finds, of distinct embeddings, each asked once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from shared.errors import NoIndexYet
from shared.job.index.duplicates.neighbours import (
    LEAST,
    NEIGHBOURS,
    Neighbours,
    asked_ids,
    neighbours_file,
    read_neighbours,
)
from shared.job.index.request import IndexRequest
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.processes.control import Control, Stopped
from shared.settings import Settings
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.embedders import no_after, yes
from tests.support.make_job import MadeJob, clustered, grow_job, make_job
from workers.duplicates import neighbours
from workers.duplicates.neighbours import NeighbourSearch, find_neighbours
from workers.merge.build import merge
from workers.vectors.ann.faiss_index import IndexPlan, plan_from_factory

pytestmark = pytest.mark.slow


def indexed(path: Path, vectors: npt.NDArray[np.float32], **options: int) -> MadeJob:
    made = make_job(path / "job", vectors, partition_size=options.get("partition_size", 100), chunk_size=50)
    merge(made.job, Settings(), UNWATCHED)
    return made


def asked(job: OpenJob, control: Control[float] = UNWATCHED) -> dict[int, Neighbours]:
    """Have the neighbours of all partitions found; what each file of theirs holds, by partition."""
    job = open_job(job)
    search = NeighbourSearch.open(job, JobFiles.of(job))
    return {one.number: read_neighbours(find_neighbours(job, search, one.number, control)) for one in job.partitions}


def pairs(found: dict[int, Neighbours]) -> dict[tuple[int, int], float]:
    return {
        (source, target): similarity
        for one in found.values()
        for source, target, similarity in zip(
            one.sources.tolist(), one.targets.tolist(), one.similarities.tolist(), strict=True
        )
    }


def test_they_are_the_nearest_of_all_that_are_near_enough(tmp_path: Path) -> None:
    vectors = np.concatenate([clustered(250, 24, clusters=20), -clustered(5, 24, seed=3)])
    made = indexed(tmp_path, vectors)
    found = pairs(asked(made.job))
    wide = made.embeddings.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    similarities = wide @ wide.T
    np.fill_diagonal(similarities, -2)
    for row in range(len(wide)):
        best = np.argsort(-similarities[row], kind="stable")[:NEIGHBOURS]
        expected = {int(one): similarities[row, one] for one in best if similarities[row, one] >= LEAST}
        mine = {target: similarity for (source, target), similarity in found.items() if source == row}
        assert mine.keys() == expected.keys()
        assert list(mine.values()) == pytest.approx(list(expected.values()), abs=1e-5)


def test_thousands_of_equal_embeddings_are_one_and_hide_no_other(tmp_path: Path) -> None:
    vectors = np.repeat(clustered(1, 16, seed=1), 2_100, axis=0)
    near = vectors[0] + 0.02 * np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
    vectors[[5, 700, 2_050]] = near
    made = indexed(tmp_path, vectors, partition_size=900)
    found = asked(made.job)
    assert len(np.unique(np.concatenate([one.digests for one in found.values()]), axis=0)) == 4
    assert {source for source, _ in pairs(found)} == {0, 5, 700, 2_050}
    assert {target for source, target in pairs(found) if source == 0} == {5, 700, 2_050}
    assert sum(len(one.ids) for one in found.values()) == 2_100


def test_removed_images_neither_ask_nor_are_found(tmp_path: Path) -> None:
    made = indexed(tmp_path, clustered(120, 16, clusters=3), partition_size=60)
    remove(made.job, 3, 70)
    found = asked(made.job)
    assert {3, 70}.isdisjoint(np.concatenate([one.ids for one in found.values()]).tolist())
    assert {3, 70}.isdisjoint(target for _, target in pairs(found))


def test_of_equal_embeddings_the_next_asks_when_the_first_is_removed(tmp_path: Path) -> None:
    vectors = clustered(60, 16, clusters=2)
    vectors[40] = vectors[7]
    made = indexed(tmp_path, vectors, partition_size=30)
    remove(made.job, 7)
    sources = {source for source, _ in pairs(asked(made.job))}
    assert 40 in sources
    assert 7 not in sources


def test_what_came_since_asks_for_itself_alone_also_before_an_index_holds_it(tmp_path: Path) -> None:
    vectors = clustered(100, 16, clusters=2)
    made = indexed(tmp_path, vectors, partition_size=50)
    before = asked(made.job)
    files = {path: path.stat().st_mtime_ns for path in made.job.duplicates_files("neighbours")}
    grown = grow_job(made, vectors[[4, 90]] + 0.001)
    after = asked(grown.job)
    assert [after[number].ids.tolist() for number in before] == [before[number].ids.tolist() for number in before]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert after[2].ids.tolist() == [100, 101]
    assert {(100, 4), (101, 90)} <= pairs(after).keys()


def test_a_compaction_has_nothing_asked_again(tmp_path: Path) -> None:
    made = indexed(tmp_path, clustered(100, 16, clusters=2), partition_size=50)
    asked(made.job)
    remove(made.job, *range(10, 20))
    assert compacted(made.job).purged == 10
    job = open_job(made.job)
    merge(job, Settings(), UNWATCHED)
    assert {number: len(one.ids) for number, one in asked(job).items()} == {1: 50, 2: 0}


@pytest.mark.parametrize("damage", [b"", b"PAR1 no table", None])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    made = indexed(tmp_path, clustered(60, 16, clusters=2), partition_size=30)
    found = pairs(asked(made.job))
    path = neighbours_file(made.job, ledger.read_seal(made.job, 1))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data) if damage is None else damage)
    assert pairs(asked(made.job)) == found


def test_a_worker_that_is_stopped_or_lost_its_lease_writes_nothing(tmp_path: Path) -> None:
    made = indexed(tmp_path, clustered(30, 16, clusters=2))
    for control in (Control(no_after(0), yes, lambda share: None), Control(yes, no_after(0), lambda share: None)):
        with pytest.raises(Stopped):
            asked(made.job, control)
        assert made.job.duplicates_files("neighbours") == []


def test_the_batch_an_image_is_asked_in_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = indexed(tmp_path, clustered(150, 16, clusters=5), partition_size=150)
    search = NeighbourSearch.open(made.job, JobFiles.of(made.job))
    every = np.arange(150)
    whole = search.of(every, UNWATCHED)
    monkeypatch.setattr(neighbours, "BATCH", 7)
    monkeypatch.setattr(neighbours, "VALUES", 1_000)
    pieces = search.of(every, UNWATCHED)
    for name in ("ids", "digests", "sources", "targets", "similarities"):
        assert np.array_equal(getattr(whole, name), getattr(pieces, name)), name


def small_ivf(n: int, d: int, request: IndexRequest) -> IndexPlan:
    return replace(plan_from_factory("PCAR16,IVF16,PQ8x4fs", n, d), nprobe=4)


def test_an_index_of_lists_finds_what_is_nearly_equal(tmp_path: Path) -> None:
    vectors = clustered(1_500, 32, clusters=40)
    vectors[1_000:1_200] = vectors[:200] + 0.002 * np.random.default_rng(1).normal(size=(200, 32)).astype(np.float32)
    made = make_job(tmp_path / "job", vectors, partition_size=500, chunk_size=250)
    merge(made.job, Settings(recall_target=0.9), UNWATCHED, small_ivf)
    found = pairs(asked(made.job))
    hits = sum((row + 1_000, row) in found or (row, row + 1_000) in found for row in range(200))
    assert hits >= 198


def test_without_an_index_there_is_nothing_to_ask(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job")
    with pytest.raises(NoIndexYet, match="has no index yet"):
        NeighbourSearch.open(made.job, JobFiles.of(made.job))


def test_it_is_opened_again_for_another_job_or_state(tmp_path: Path) -> None:
    one, other = (indexed(tmp_path / name, clustered(30, 16)) for name in "ab")
    key = NeighbourSearch.key(one.job)
    assert key == NeighbourSearch.key(open_job(one.job)) != NeighbourSearch.key(other.job)
    remove(one.job, 4)
    assert NeighbourSearch.key(open_job(one.job)) != key


def test_asked_ids_are_those_of_the_file(tmp_path: Path) -> None:
    made = indexed(tmp_path, clustered(30, 16))
    asked(made.job)
    assert asked_ids(made.job.duplicates_files("neighbours")[0]).tolist() == list(range(30))
