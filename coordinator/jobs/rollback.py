"""Promote another build of a job's index again, and make its index request the job's."""

from dataclasses import dataclass

from shared.errors import CorruptFile, JobError, NoIndexYet
from shared.errors.remedy import Remedy
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, read_index_request, write_index_request
from shared.job.manifest import maker_of
from shared.job.opened import open_job
from shared.job.partition import ledger


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The build that serves now, the one that served before, and the refused one whose request was dropped."""

    now: IndexInfo
    before: str
    forgotten: str = ""


def rollback(job: JobDir, build: str | None = None) -> RolledBack:
    """Promote `build`; without one, promote the newest before the promoted one, or, if the last build that was asked
    for was refused, keep the promoted one and forget that request.

    The next query uses it. The job's index request becomes that of the build, so that the command that made the job
    keeps the build. Raises JobNotFound, NoIndexYet when nothing was ever promoted, JobError when there is no such build
    or none to go back to, CorruptFile when a file of it is not what it was.
    """
    job = open_job(job)
    refuse_bundle(job.path, job.manifest.bundle, "rolled back")
    digest = builds.ledger_digest(list(ledger.sealed(job)))
    current = builds.current_build(job)
    if current is None:
        raise NoIndexYet(
            f"{job.path} has no index yet, so there is nothing to go back from",
            remedy=Remedy(job.manifest.maker, str(job.path), "builds it"),
        )
    if build is None:
        refused = builds.refused_build(job, digest, read_index_request(job))
        if refused is not None and refused.build != current:
            serving = builds.read_info(job, current)
            _ask_for(job, serving)
            return RolledBack(serving, current, refused.build)
    chosen = _former(job, current, digest) if build is None else _named(job, build, digest)
    builds.check_files(job, chosen, checksums=True)
    _ask_for(job, chosen)
    builds.promote(job, chosen.build)
    return RolledBack(chosen, current)


def _ask_for(job: JobDir, info: IndexInfo) -> None:
    write_index_request(job, None if info.wish is None else IndexRequest.from_json(dict(info.wish)))


def _named(job: JobDir, build: str, digest: str) -> IndexInfo:
    whole = {info.build: info for info in builds.whole_builds(job)}
    if build not in whole:
        known = ", ".join(sorted(whole)) or "none"
        raise JobError(f"{job.path} has no whole build {build!r}; those that there are: {known}.")
    if whole[build].ledger_digest != digest:
        raise JobError(
            f"The build {build} of {job.path} covers other embeddings than those sealed now, so it can't serve",
            remedy=Remedy(maker_of(job), str(job.path), "builds one that does"),
        )
    return whole[build]


def _former(job: JobDir, current: str, digest: str) -> IndexInfo:
    """The build that the promoted one took the place of, else the newest before it that can serve."""
    able = [info for info in builds.whole_builds(job) if info.ledger_digest == digest and not info.refused]
    try:
        former = builds.read_info(job, current).former
    except CorruptFile:
        former = ""
    before = [info for info in able if builds.build_number(info.build) < builds.build_number(current)]
    chosen = next((info for info in able if info.build == former), before[0] if before else None)
    if chosen is None:
        raise JobError(
            f"{job.path} has no build before {current} that covers its embeddings, so there is nothing to go back to."
        )
    return chosen
