"""An open job: its directory together with its manifest, which was read once."""

from dataclasses import dataclass

from shared.job.directory import JobDir
from shared.job.manifest import Manifest, load_manifest


@dataclass(frozen=True, slots=True, eq=False)
class OpenJob(JobDir):
    """The directory of a job that exists, and what its manifest says; a manifest never changes."""

    manifest: Manifest


def open_job(job: JobDir) -> OpenJob:
    """Read the manifest of `job`. Raises as `load_manifest` does."""
    return OpenJob(job.path, load_manifest(job))
