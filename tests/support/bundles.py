"""Bundles for tests, written as `lookalike export` writes them."""

from pathlib import Path

from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from workers.merge.export.bundle import Asked, export


def bundle_of(job: OpenJob, place: Path, thumbnails: int = 0) -> OpenJob:
    """A bundle of a job that has an index."""
    export(job, JobDir.at(place), Asked(thumbnails), lambda what, done, of: None)
    return open_job(JobDir.at(place))
