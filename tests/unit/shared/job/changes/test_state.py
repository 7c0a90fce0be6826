from pathlib import Path

import numpy as np
import pytest

from shared.errors import CorruptFile
from shared.job.changes.log import Change
from shared.job.changes.replaced import Replaced, SealFacts
from shared.job.changes.state import state_of
from shared.job.manifest import Partition, Source
from shared.job.opened import OpenJob
from tests.support.make_job import make_job

MORE = Source("folder", "/more", "0" * 64, exclude=["*.png"])


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 60 images in partitions of 25: the last one holds 10."""
    return make_job(tmp_path / "job").job


def removed(number: int, *ids: int) -> Change:
    return Change(number, "delete", removed=np.array(ids, np.int64))


def test_ids_go_on_behind_the_last_partition_of_the_manifest_however_small_that_is(job: OpenJob) -> None:
    added = Partition(3, 60, 62), Partition(4, 62, 80)
    state = state_of(job, job.manifest, [Change(1, "refresh", added), removed(2, 1, 61)])
    assert (state.number, state.listed, state.removed.tolist()) == (2, 80, [1, 61])
    assert [*state.partitions] == [*job.manifest.partitions, *added]
    for image_id, number in ((0, 0), (24, 0), (25, 1), (59, 2), (60, 3), (61, 3), (62, 4), (79, 4)):
        assert state.partition_of(image_id).number == number
    for beyond in (-1, 80):
        with pytest.raises(IndexError, match="image ids 0 to 79"):
            state.partition_of(beyond)


def test_an_open_job_has_the_partitions_of_its_state(job: OpenJob) -> None:
    assert (job.listed, job.partition_count, job.state.number) == (60, 3, 0)
    assert job.partition(2) == Partition(2, 50, 60)
    with pytest.raises(IndexError, match="partitions 0 to 2, not 3"):
        job.partition(3)


def test_each_image_is_of_the_source_that_it_was_listed_in(job: OpenJob) -> None:
    changes = [
        Change(1, "add source", (Partition(3, 60, 70), Partition(4, 70, 72)), source=1, adds=MORE),
        Change(2, "refresh", (Partition(5, 72, 73),), source=1),
        Change(3, "refresh", (Partition(6, 73, 80),)),
        Change(4, "refresh", source=1, removed=np.array([71])),
        Change(5, "refresh", (Partition(7, 80, 81),), source=1),
    ]
    state = state_of(job, job.manifest, changes)
    assert (state.added[0].source, state.added[0].start, state.added[0].stop) == (MORE, 60, 72)
    sources = [0] * 60 + [1] * 13 + [0] * 7 + [1]
    assert [state.source_of(image_id) for image_id in range(81)] == sources
    assert state.are_of(np.arange(81), 1).tolist() == [source == 1 for source in sources]
    opened = OpenJob(job.path, job.manifest, state)
    assert opened.kept(Partition(4, 70, 72), 1).tolist() == [70]
    assert opened.kept(Partition(4, 70, 72), 0).tolist() == []
    assert opened.source_of(80) == MORE
    assert len(job.kept(Partition(0, 0, 25), 1)) == 0


MISFITS = {
    "a gap": Change(1, "refresh", (Partition(3, 61, 65),)),
    "an overlap": Change(1, "refresh", (Partition(3, 59, 65),)),
    "nothing in it": Change(1, "refresh", (Partition(3, 60, 60),)),
    "a number that was given": Change(1, "refresh", (Partition(2, 60, 65),)),
    "an id never given": removed(1, 60),
    "an id below 0": removed(1, -1, 4),
    "a source that is not there": Change(1, "refresh", (Partition(3, 60, 65),), source=1),
    "a source below 0": Change(1, "refresh", source=-1),
    "a source behind a gap": Change(1, "add source", (Partition(3, 60, 65),), source=2, adds=MORE),
    "a source in place of the first": Change(1, "add source", (Partition(3, 60, 65),), source=0, adds=MORE),
    "a source without images": Change(1, "add source", source=1, adds=MORE),
}


@pytest.mark.parametrize("what", MISFITS)
def test_changes_that_do_not_fit_what_was_there_are_refused(job: OpenJob, what: str) -> None:
    with pytest.raises(CorruptFile, match=r"000001\.json does not fit what the job held before"):
        state_of(job, job.manifest, [MISFITS[what]])


def test_an_image_is_removed_once(job: OpenJob) -> None:
    with pytest.raises(CorruptFile, match=r"000002\.json does not fit .*it removes an id that was removed before"):
        state_of(job, job.manifest, [removed(1, 4, 5), removed(2, 5, 6)])


def test_each_removed_image_is_known_and_no_other(job: OpenJob) -> None:
    state = state_of(job, job.manifest, [removed(1, 0, 31), removed(2, 5, 59)])
    assert [image for image in range(60) if state.is_removed(image)] == [0, 5, 31, 59]
    assert not state_of(job, job.manifest, []).is_removed(0)


def facts(number: int, start: int, stop: int) -> SealFacts:
    return SealFacts(Partition(number, start, stop), stop - start, "a" * 64, "b" * 64)


def compaction(number: int, new: SealFacts, *former: SealFacts) -> Change:
    return Change(number, "compact", replaced=(Replaced(new, former, 1.0, ((new.partition.start, 2.0),)),))


def test_a_compaction_puts_a_partition_in_the_place_of_its_neighbours_and_purges_what_was_removed(
    job: OpenJob,
) -> None:
    changes = [
        removed(1, 4, 30, 55),
        compaction(2, facts(3, 25, 60), facts(1, 25, 50), facts(2, 50, 60)),
        removed(3, 31),
        Change(4, "refresh", (Partition(6, 60, 64),)),  # A killed compaction had taken the numbers between.
    ]
    state = state_of(job, job.manifest, changes)
    assert [*state.partitions] == [Partition(0, 0, 25), Partition(3, 25, 60), Partition(6, 60, 64)]
    assert (state.listed, state.next_number) == (64, 7)
    assert (state.removed.tolist(), state.purged.tolist()) == ([4, 30, 31, 55], [30, 55])
    assert [state.is_purged(image) for image in (4, 30, 31, 55)] == [False, True, False, True]
    assert state.purged_in(0, 30).tolist() == []
    assert state.purged_in(30, 55).tolist() == [30]
    assert [state.partition_of(image).number for image in (24, 25, 59, 60)] == [0, 3, 3, 6]
    assert [number for number in range(8) if state.holds(number)] == [0, 3, 6]
    assert state.partition(6) == Partition(6, 60, 64)
    with pytest.raises(IndexError, match="partitions 0, 3, 6, not 1"):
        state.partition(1)
    found = state.replaced(3)
    assert found is not None
    assert (found.began, found.failed, len(found.former)) == (1.0, ((25, 2.0),), 2)
    assert state.replaced(0) is None


NO_COMPACTIONS = {
    "a number that was given": compaction(1, facts(2, 25, 60), facts(1, 25, 50), facts(2, 50, 60)),
    "other ids": compaction(1, facts(3, 25, 59), facts(1, 25, 50), facts(2, 50, 60)),
    "no neighbours": compaction(1, facts(3, 0, 60), facts(0, 0, 25), facts(2, 50, 60)),
    "no partition": compaction(1, facts(3, 25, 50), facts(7, 25, 50)),
    "another one": compaction(1, facts(3, 25, 49), facts(1, 25, 49)),
}


@pytest.mark.parametrize("what", NO_COMPACTIONS)
def test_a_compaction_of_other_partitions_than_there_are_is_refused(job: OpenJob, what: str) -> None:
    with pytest.raises(CorruptFile, match=r"000001\.json does not fit .* in the place of"):
        state_of(job, job.manifest, [NO_COMPACTIONS[what]])
