"""When a worker reads which job is under a name: once, as long as it may be the same."""

import uuid
from pathlib import Path

import pytest

from shared.errors import JobNotFound, StoreError
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, load_manifest
from shared.settings import Settings
from tests.support.make_job import make_job
from workers.tasks import identities
from workers.tasks.identities import Identities


class Reading:
    """Counts the manifests that are read, and fails as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.error: StoreError | None = None
        monkeypatch.setattr(identities, "load_manifest", self)

    def __call__(self, job: JobDir) -> Manifest:
        self.count += 1
        if self.error is not None:
            raise self.error
        return load_manifest(job)


def test_a_manifest_on_a_disk_is_read_once_until_it_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(monkeypatch)
    first = make_job(tmp_path / "pics", listed=2, sealed=[])
    known = Identities(Settings())
    assert {known.of(first.job) for _ in range(3)} == {first.job.manifest.identity}
    assert reading.count == 1
    second = make_job(tmp_path / "pics", listed=2, sealed=[])
    assert known.of(second.job) == second.job.manifest.identity != first.job.manifest.identity
    assert reading.count == 2


def test_no_job_is_no_identity(tmp_path: Path) -> None:
    known = Identities(Settings())
    with pytest.raises(JobNotFound):
        known.of(JobDir.at(tmp_path / "pics"))
    made = make_job(tmp_path / "pics", listed=2, sealed=[])
    assert known.of(made.job) == made.job.manifest.identity


def test_a_store_is_asked_again_after_two_seconds_and_one_that_is_away_leaves_what_was_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, now = Reading(monkeypatch), [100.0]
    made = make_job(f"memory://{uuid.uuid4().hex}/pics", listed=2, sealed=[])
    known = Identities(Settings(), lambda: now[0])
    for moment, reads in ((100.0, 1), (101.9, 1), (102.1, 2)):
        now[0] = moment
        assert (known.of(made.job), reading.count) == (made.job.manifest.identity, reads)
    reading.error, now[0] = StoreError("It does not answer."), 110.0
    assert known.of(made.job) == made.job.manifest.identity
    reading.error, now[0] = StoreError("It refuses.", refused=True), 120.0
    with pytest.raises(StoreError, match="refuses"):
        known.of(made.job)
    with pytest.raises(StoreError, match="refuses"):
        Identities(Settings()).of(made.job)
