"""The watch of the chaos harness counts what is committed, and a fault comes when it was planned."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.chaos.faults import cut_short, delete, flip_bit
from benchmarks.chaos.scene import Planned, Scene, is_due
from benchmarks.chaos.watch import Held, Watch
from shared.broker.lease import MERGE
from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.partition import checkpoint
from tests.support.make_job import MadeJob, make_job


@pytest.fixture
def under_way(tmp_path: Path) -> tuple[Watch, MadeJob]:
    """A job of one sealed partition, and one that has two chunks and no seal; with a watch that has looked once."""
    made = make_job(tmp_path / "job", listed=50, sealed=[0])
    partition = made.job.partition(1)
    for chunk in made.job.chunks(partition)[:2]:
        commit(made, chunk.number)
    watch = Watch(made.job)
    watch.look(0.0)
    return watch, made


def commit(made: MadeJob, number: int) -> None:
    """Commit a chunk of partition 1, with zeros but for a leading one in each embedding."""
    chunk = made.job.chunks(made.job.partition(1))[number]
    rows = [
        checkpoint.ImageRow(image, f"{image}.jpg", 8, 8, 300, "0" * 64, "ok", None)
        for image in range(chunk.start, chunk.stop)
    ]
    embeddings = np.zeros((len(rows), 16), dtype=np.float16)
    embeddings[:, 0] = 1
    checkpoint.commit_chunk(made.job, chunk, rows, embeddings, seconds=0.1)


def test_a_watch_counts_what_is_committed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    assert watch.share == pytest.approx(5 / 6)
    assert set(watch.seals) == {0}
    assert len(watch.commits[1]) == 2
    commit(made, 2)
    watch.look(1.0)
    assert watch.share == 1
    assert watch.rewritten == watch.half_there == []


@pytest.mark.parametrize("damage", [flip_bit, cut_short, delete])
def test_a_damaged_chunk_that_is_written_again_counts_as_redone(under_way: tuple[Watch, MadeJob], damage: Any) -> None:
    watch, made = under_way
    path = made.job.chunk(1, 0)
    damage(path, 0.5)
    if path.exists():
        os.utime(path, ns=(1, 1))  # What is written again may get the same inode within a tick of the clock.
    watch.damaged(path)
    watch.look(1.0)
    assert watch.redone == 0
    chunk = made.job.chunks(made.job.partition(1))[0]
    with pytest.raises(CorruptFile):
        checkpoint.read_chunk(made.job, chunk)
    path.unlink(missing_ok=True)
    commit(made, 0)
    watch.look(2.0)
    assert (watch.redone, watch.rewritten, watch.half_there) == (1, [], [])


def test_a_committed_chunk_that_becomes_another_file_is_noticed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    made.job.chunk(1, 1).unlink()
    commit(made, 1)
    os.utime(made.job.chunk(1, 1), ns=(1, 1))
    watch.look(1.0)
    assert watch.rewritten == ["chunks/0001/0001.parquet"]


def test_a_chunk_that_is_half_there_when_it_is_first_seen_is_noticed(under_way: tuple[Watch, MadeJob]) -> None:
    watch, made = under_way
    made.job.chunk(1, 2).write_bytes(made.job.chunk(1, 1).read_bytes()[:500])
    watch.look(1.0)
    assert len(watch.half_there) == 1


def test_work_at_risk_is_counted_from_the_last_commit_or_from_the_lease(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.commits[3] = [90.0, 104.0, 130.0]
    assert watch.work_at_risk(Held("embed1@host", 3, 100.0), 110.0) == 6.0
    assert watch.work_at_risk(Held("embed1@host", 3, 106.0), 110.0) == 4.0
    assert watch.work_at_risk(Held("merge@host", MERGE, 106.0), 110.0) == 4.0


def test_who_holds_something_finished_holds_nothing(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.held = {3: Held("embed1@host", 3, 1.0)}
    assert watch.held_by("embed1") == Held("embed1@host", 3, 1.0)
    assert watch.held_by("embed") is None
    watch.seals[3] = 5.0
    assert watch.held_by("embed1") is None


def test_the_next_commit_is_that_of_the_partition_or_of_any_or_the_promotion(tmp_path: Path) -> None:
    watch = Watch(JobDir.at(tmp_path / "job"))
    watch.commits[0], watch.commits[1] = [10.0, 20.0], [15.0]
    watch.seals[1] = 30.0
    assert watch.next_commit(12.0, 0) == 20.0
    assert watch.next_commit(12.0) == 15.0
    assert watch.next_commit(16.0, 1) == 30.0
    assert watch.next_commit(21.0, 0) is None
    assert watch.next_commit(31.0, 1) == 31.0
    assert watch.next_commit(31.0) is None
    watch.promoted = 40.0
    assert watch.next_commit(31.0) == 40.0


def test_a_fault_comes_at_its_share_of_the_chunks_and_a_part_of_a_chunk_later(
    under_way: tuple[Watch, MadeJob],
) -> None:
    watch, made = under_way
    scene = Scene({}, None, watch, None, 20.0, 4.0, 1.0, str)  # type: ignore[arg-type]
    planned = Planned("embed: kill -9", 0.9, late=0.5, pick=0.0, stretch=0.0)
    assert not is_due(planned, scene, 100.0)
    commit(made, 2)
    assert not is_due(planned, scene, 101.0)
    assert not is_due(planned, scene, 102.9)
    assert is_due(planned, scene, 103.1)


def test_a_fault_in_the_merge_comes_that_long_after_its_beginning(under_way: tuple[Watch, MadeJob]) -> None:
    watch, _ = under_way
    scene = Scene({}, None, watch, None, 20.0, 4.0, 2.0, str)  # type: ignore[arg-type]
    planned = Planned("merge: kill -9", 1.5, late=0.0, pick=0.0, stretch=0.0)
    assert not is_due(planned, scene, 200.0)
    watch.merge_begun = 200.0
    assert not is_due(planned, scene, 200.9)
    assert is_due(planned, scene, 201.1)
