"""When the look-up of a job is made, and that it knows what the job is now."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings
from tests.support.featured import seal_featured
from tests.support.make_job import make_job
from tests.support.processes import wait_until
from workers.search.cascade.lookup import lookups, pdqs
from workers.search.cascade.lookup.lookups import PdqLookups, hits_of
from workers.search.searcher import Searcher

WAIT = 60.0


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    made = make_job(tmp_path / "job", sealed=[]).job
    seal_featured(made, 0)
    return made


def searcher_of(job: JobDir) -> Searcher:
    return Searcher.open_parts(JobFiles.of(job))


def count(of: PdqLookups, searcher: Searcher, job: OpenJob) -> int:
    lookup = of.of(searcher, job, WAIT)
    return 0 if lookup is None else len(lookup)


def test_it_is_read_once_for_a_searcher_and_anew_for_the_next_one(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def counted(*arguments: Any) -> pdqs.PdqLookup:
        reads.append(1)
        return pdqs.read_lookup(*arguments)

    monkeypatch.setattr(lookups, "read_lookup", counted)
    made, searcher = PdqLookups(Settings()), searcher_of(job)
    made.begin(searcher, job)
    assert [count(made, searcher, job) for _ in range(3)] == [21, 21, 21]
    assert len(reads) == 1
    seal_featured(job, 1)
    assert count(made, searcher_of(job), open_job(job)) == 42
    made.close()


def test_features_that_are_made_later_are_found_without_another_searcher(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = job.features_seal(0)
    marker.rename(aside := marker.with_suffix(".aside"))
    made, searcher = PdqLookups(Settings()), searcher_of(job)
    assert count(made, searcher, job) == 0
    aside.rename(marker)
    assert count(made, searcher, job) == 0, "it is not looked at by every query"
    monkeypatch.setattr(lookups, "LOOK_SECONDS", 0.0)
    wait_until(lambda: count(made, searcher, job) == 21, "the features are found")
    made.close()


def test_an_index_that_is_outgrown_is_made_anew_behind_the_queries(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdqs, "SMALL", 10)
    made = PdqLookups(Settings())
    assert count(made, searcher_of(job), job) == 21
    seal_featured(job, 1)
    grown, searcher = open_job(job), searcher_of(job)
    assert count(made, searcher, grown) == 42

    def is_anew() -> bool:
        third = made.of(searcher, grown, WAIT)
        return third is not None and (len(third.later), len(third.ids)) == (0, 42)

    wait_until(is_anew, "the index has all")
    made.close()


def test_without_room_there_is_none_and_one_that_can_not_be_read_is_none(job: OpenJob) -> None:
    searcher = searcher_of(job)
    for most in (0, 10, 100):
        made = PdqLookups(Settings(pdq_bytes=most))
        made.begin(searcher, job)
        assert made.of(searcher, job, WAIT) is None
        made.close()
    made = PdqLookups(Settings())
    job.seal(0).write_bytes(b"{}\n")
    assert made.of(searcher, job, WAIT) is None
    made.close()


def test_a_query_does_not_wait_longer_than_it_may(job: OpenJob, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(lookups, "read_lookup", lambda *args: held.wait(WAIT) and pdqs.read_lookup(*args))
    made, searcher = PdqLookups(Settings()), searcher_of(job)
    assert made.of(searcher, job, 0.0) is None
    held.set()
    assert count(made, searcher, job) == 21
    made.close()


def test_hits_are_in_the_order_asked_for_with_the_similarity_of_the_nearest_view(job: OpenJob) -> None:
    searcher = searcher_of(job)
    every = {hit.id: hit for hit in searcher.search(np.ones(16), 25, exact=True)}
    views = np.stack([np.ones(16), -np.ones(16)]).astype(np.float32)
    hits = hits_of(searcher, np.array([9, 2, 24]), views)
    assert [hit.id for hit in hits] == [9, 2, 24]
    for hit in hits:
        assert hit.similarity == pytest.approx(abs(every[hit.id].similarity), abs=1e-6)
        assert hit.image_path == every[hit.id].image_path
    assert hits_of(searcher, np.empty(0, np.int64), views) == []
