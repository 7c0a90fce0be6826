"""Fixtures of the fault tests: the bench's job when nothing disturbs it."""

from pathlib import Path

import pytest

from coordinator.jobs.create import make_or_open
from shared.job.directory import JobDir
from shared.job.partition import ledger
from shared.settings import Settings
from tests.integration.faults.bench import CHUNK_SIZE, IMAGES, bytes_of
from tests.integration.faults.faults import Faults
from tests.support.once import made_once
from tests.support.processes import QUICK, environment, run


@pytest.fixture(scope="session")
def undisturbed_job(photos: Path) -> JobDir:
    """The bench's job as `lookalike index` makes it without faults, its index built; leave it as it is."""

    def make(base: Path) -> None:
        job = JobDir.at(base / "jobs" / "job")
        job.jobs_root.mkdir()
        make_or_open(str(photos), job, Settings(chunk_size=CHUNK_SIZE), lambda count: None)
        light = Faults(base / "faults").environment(light=True)
        done = run("index", photos, job.path, env=environment(LOOKALIKE_JOBS_ROOT=str(job.jobs_root), **QUICK) | light)
        assert done.returncode == 0, done.stderr
        seal = ledger.read_seal(job, 0)
        assert (seal.embedded, seal.failed) == (IMAGES, 0)

    return JobDir.at(made_once("undisturbed", make) / "jobs" / "job")


@pytest.fixture(scope="session")
def undisturbed(undisturbed_job: JobDir) -> dict[str, str]:
    """SHA-256 of each sealed file of the undisturbed job, by its name inside the job."""
    return bytes_of(undisturbed_job)
