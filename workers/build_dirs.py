"""The directories of builds: one that serves already, a place for a new one, and what killed merges left behind."""

import shutil

from shared import builds, files
from shared.builds import IndexInfo
from shared.errors import CorruptFile, JobMismatch
from shared.jobdir import JobDir


def usable(job: JobDir, digest: str) -> IndexInfo | None:
    """The promoted build, if it is whole and covers these embeddings; a broken one is there to be replaced."""
    try:
        info = builds.current_info(job)
        if info is None or info.ledger_digest != digest:
            return None
        builds.check_files(job, info, checksums=False)
    except (CorruptFile, JobMismatch):
        return None
    return info


def promoted_now(job: JobDir, digest: str) -> IndexInfo | None:
    """The newest whole build of these embeddings, promoted: one whose merge was killed just before it could."""
    for build in reversed(builds.build_names(job)):
        try:
            info = builds.read_info(job, build)
            if info.ledger_digest == digest:
                builds.check_files(job, info, checksums=True)
                builds.promote(job, build)
                return info
        except (CorruptFile, JobMismatch):
            continue
    return None


def is_current(job: JobDir, build: str) -> bool:
    """Whether `build` is the promoted one; a CURRENT that names no build names this one least."""
    try:
        return builds.current_build(job) == build
    except CorruptFile:
        return False


def claim(job: JobDir, digest: str) -> str:
    """Make the directory of a new build; its number is above all others, also when two merges ask at once."""
    job.index_dir.mkdir(parents=True, exist_ok=True)
    while True:
        build = builds.next_build_name(job, digest)
        try:
            job.build_dir(build).mkdir()
        except FileExistsError:
            continue
        return build


def remove_stale(job: JobDir, build: str) -> None:
    """Remove what killed merges left: directories without index.json that are older than `build`, and a cut CURRENT."""
    files.remove_leftovers(job.current)
    for name in builds.build_names(job):
        # A merge that should not run at the same time has at worst the higher number, and keeps its directory.
        if builds.build_number(name) < builds.build_number(build) and not builds.is_whole(job, name):
            shutil.rmtree(job.build_dir(name), ignore_errors=True)
