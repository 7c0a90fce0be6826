"""Which partitions a compaction replaces, and which it leaves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.jobs.changes.compacting.plan import MOST_SPANS, Bounds, choose, reclaimable
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.ledger import Seal
from tests.support.compactions import compacted, remove
from tests.support.make_job import make_job


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 200 images in twenty partitions of ten."""
    return make_job(tmp_path / "job", listed=200, partition_size=10).job


def chosen(
    job: OpenJob, bounds: Bounds | None = None, apart: int = 0, layout: Callable[[Seal], object] = lambda seal: 0
) -> list[tuple[int, int, int, int]]:
    job = open_job(job)
    seals = {seal.partition: seal for seal in ledger.sealed(job)}
    runs = choose(job, seals, bounds or Bounds(), apart, layout)
    return [(run.start, run.stop, run.live, run.dead) for run in runs]


def test_a_run_spans_no_more_ids_than_its_path_list_may_have(job: OpenJob) -> None:
    remove(job, *(image for image in range(200) if image % 10))
    assert MOST_SPANS == 8
    assert chosen(job) == [(0, 80, 8, 72), (80, 160, 8, 72), (160, 200, 4, 36)]


def test_a_run_is_no_larger_than_a_partition_and_ends_where_what_is_full_begins(job: OpenJob) -> None:
    remove(job, *(image for image in range(60) if image % 10 > 3), *(image for image in range(70, 80) if image > 75))
    # Four each: two of them fit. The seventh is whole, the eighth is thin but more than half full.
    assert chosen(job) == [(0, 20, 8, 12), (20, 40, 8, 12), (40, 60, 8, 12), (70, 80, 6, 4)]
    assert chosen(job, Bounds(share=0.5)) == [(0, 20, 8, 12), (20, 40, 8, 12), (40, 60, 8, 12)]
    assert chosen(job, Bounds(share=0.6, small=3)) == []


def test_none_are_joined_across_what_a_build_covers_or_with_other_columns(job: OpenJob) -> None:
    remove(job, *(image for image in range(40) if image % 10 > 1))
    assert chosen(job) == [(0, 40, 8, 32)]
    assert chosen(job, apart=20) == [(0, 20, 4, 16), (20, 40, 4, 16)]
    assert chosen(job, layout=lambda seal: seal.start >= 30) == [(0, 30, 6, 24), (30, 40, 2, 8)]


def test_what_is_purged_counts_no_more(job: OpenJob) -> None:
    remove(job, *range(5), 30)
    opened = open_job(job)
    frees, whole = reclaimable(opened, {seal.partition: seal for seal in ledger.sealed(opened)})
    assert 0 < frees < whole / 10
    compacted(job)
    assert chosen(job) == []
    opened = open_job(job)
    assert reclaimable(opened, {seal.partition: seal for seal in ledger.sealed(opened)})[0] == 0
