"""A run of `compact`, and the compaction that `index` does by itself at its end."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.jobs.changes import compaction
from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Look
from coordinator.jobs.runs import compact_run, loop
from coordinator.jobs.runs.compact_run import Asked, by_itself, compact
from coordinator.jobs.runs.events import Doing, Event, Finished, Said, Step
from shared.errors import CorruptFile
from shared.job.altered_copies import none_of, write_copies
from shared.job.changes.lock import changing
from shared.job.index import builds
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.settings import Settings
from tests.support.compactions import remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, grow_job, make_job
from workers.merge.build import merge

SETTINGS = Settings(compact_share=0.2, compact_small=3)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeJob:
    """A job of 60 images in partitions of 25 with an index; its workers are this process."""
    made = make_job(tmp_path / "job")
    without_copies(made.job)
    merge(made.job, SETTINGS, UNWATCHED)

    def run_job(job: OpenJob, settings: Settings, workers: Any) -> Iterator[Step]:
        assert ProgressReader(job).read().roles(1) == ["merge"], "altered copies need not be made again"
        merge(open_job(job), settings, UNWATCHED)
        yield Step(Look(ProgressReader(job).read()), [])

    monkeypatch.setattr(loop, "run_job", run_job)
    monkeypatch.setattr(loop, "workers_for_index", lambda stack, job, settings, roles: (settings, None))
    return made


def without_copies(job: OpenJob) -> None:
    job = open_job(job)
    digest = builds.ledger_digest(ledger.sealed(job))
    write_copies(job, none_of(job.manifest.model.fingerprint, digest, 0, "The images are made up."))


def run(made: MadeJob, **asked: Any) -> list[Event]:
    told: list[Event] = []
    compact(Asked(open_job(made.job), SETTINGS, **asked), told.append)
    return told


def sentences(told: list[Event]) -> list[str]:
    return [event.sentence for event in told if isinstance(event, Said)]


def itself(made: MadeJob, settings: Settings = SETTINGS) -> list[Event]:
    told: list[Event] = []
    job = open_job(made.job)
    progress = by_itself(job, settings, ProgressReader(job).read(), 1, told.append)
    assert progress == ProgressReader(open_job(job)).read()
    return told


def test_a_compaction_tells_what_it_does_in_order_and_prints_nothing(
    made: MadeJob, capfd: pytest.CaptureFixture[str]
) -> None:
    former = builds.current_build(made.job)
    remove(made.job, 1, 30)
    told = run(made)
    assert [type(event) for event in told] == [Doing, Doing, Said, Step, Said, Finished]
    first, second = sentences(told)
    assert first.startswith("2 partitions rewritten without 2 removed images: about ")
    assert second == f"removed the build {former}, which held what was purged"
    assert builds.build_names(made.job) == [builds.current_build(made.job)]
    assert ProgressReader(open_job(made.job)).read().index_is_current
    assert sentences(run(made)) == [f"Nothing of {made.job.path} is to be compacted."]
    assert capfd.readouterr() == ("", "")


def test_a_dry_run_says_what_would_be_freed_and_changes_nothing(made: MadeJob) -> None:
    remove(made.job, *range(5))
    (sentence,) = sentences(run(made, dry_run=True))
    assert sentence.startswith("1 partition would be rewritten without 5 removed images: about ")
    assert sentence.endswith("freed; nothing was changed.")
    assert open_job(made.job).state.number == 1
    assert sentences(run(made, dry_run=True, bounds=Bounds(share=0.5))) == [
        f"Nothing of {made.job.path} is to be compacted."
    ]


def test_a_run_that_ended_after_the_change_has_the_index_built_by_the_next(made: MadeJob) -> None:
    former = builds.current_build(made.job)
    remove(made.job, 1)
    compaction.compact(made.job, Bounds(), lambda event: None)
    told = run(made)
    assert [type(event) for event in told] == [Step, Said, Finished]
    assert builds.current_build(made.job) != former


def test_a_job_that_is_not_complete_is_compacted_and_its_index_is_left_for_later(made: MadeJob) -> None:
    made = grow_job(made, np.random.default_rng(3).normal(size=(3, 16)), sealed=False)
    remove(made.job, 1)
    assert sentences(run(made))[1:] == ["Not all partitions are sealed yet: the index is built again once they are."]
    assert open_job(made.job).state.purged.tolist() == [1]


def test_a_job_is_compacted_by_itself_where_much_of_a_partition_is_removed(made: MadeJob) -> None:
    remove(made.job, *range(5), 30, 55)
    assert itself(made) == [], "5 of 25 are not more than a fifth"
    remove(made.job, 5)
    told = itself(made)
    assert sentences(told)[0].startswith("1 partition rewritten without 6 removed images: about ")
    assert open_job(made.job).state.purged.tolist() == [0, 1, 2, 3, 4, 5]
    assert itself(made) == []


def test_few_removed_images_of_a_large_job_wait_until_they_are_more(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(made.job, *range(50, 53))
    monkeypatch.setattr(compact_run, "DUE_SHARE", 0.05)
    assert itself(made) == [], "3 of 60"
    remove(made.job, 53)
    assert sentences(itself(made))[0].startswith("1 partition rewritten without 4 removed images")


def test_a_job_is_compacted_by_itself_where_many_partitions_are_small(made: MadeJob) -> None:
    for seed in range(2):
        assert itself(made) == []
        made = grow_job(made, np.random.default_rng(seed).normal(size=(3, 16)))
        without_copies(made.job)
        merge(open_job(made.job), SETTINGS, UNWATCHED)
    assert itself(made, replace(SETTINGS, compact_small=4)) == []
    (first,) = sentences(itself(made))
    assert first.startswith("3 partitions made into one: about ")
    assert [(one.start, one.stop) for one in open_job(made.job).partitions] == [(0, 25), (25, 50), (50, 66)]
    assert len(builds.build_names(made.job)) == 4, "nothing was purged"


@pytest.mark.parametrize("error", [CorruptFile("A file is damaged."), OSError("The disk is full.")])
def test_what_keeps_a_job_from_being_compacted_is_said_and_fails_no_run(
    made: MadeJob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    remove(made.job, *range(10))
    with changing(made.job):
        assert itself(made) == []

    def damaged(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(compaction, "compact", damaged)
    assert sentences(itself(made)) == [f"The job was not compacted: {error}"]
