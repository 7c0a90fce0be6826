"""Remove what is bad in a job directory, so that the next `index` does it again; nothing good is touched."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from coordinator.integrity.findings import Checked, Finding, is_fresh
from coordinator.integrity.verify import verify
from coordinator.jobs.create import write_path_list
from coordinator.sources.choosing import choice_of
from coordinator.sources.listing import Listing, PathDigest, digested, partitions_of
from coordinator.sources.metadata.columns import MetadataColumns
from coordinator.sources.resolve import open_source
from shared.errors import CorruptFile, JobError, JobMismatch, SourceError
from shared.errors.remedy import Remedy, with_remedy
from shared.images.paths import to_os_path
from shared.job import path_list
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.lock import kept_from_changing
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import Partition, load_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.source.moved import read_moved
from shared.storage import files
from shared.storage.parquet import read_table


@dataclass(frozen=True, slots=True)
class Outcome:
    """What repair did about a finding, and `then` what does again what is lost with it.

    `mended` is whether the finding is gone, or would be.
    """

    finding: Finding
    done: str
    mended: bool
    then: Remedy | None = None

    @property
    def sentence(self) -> str:
        """What was wrong, what was done and what is left to do, in plain words."""
        return with_remedy(self.done, self.then)


def repair(job: JobDir, checked: Checked, *, dry_run: bool = False) -> Iterator[Outcome]:
    """Verify a job and mend each finding as it comes, or say what would be done.

    Safe while workers run, and to be killed at any moment: run it again. Raises JobNotFound when no job is there, and
    JobError for a bundle.
    """
    with suppress(CorruptFile, JobMismatch, OSError):  # Of a job, verify says so.
        refuse_bundle(job.path, load_manifest(job).bundle, "repaired")
    done: set[tuple[Path, ...]] = set()
    unlisted: list[Finding] = []
    for finding in verify(job, checked):
        if finding.relist is not None:
            # Before the seals are judged: the metadata of a partition that has to be taken back may still be whole.
            outcome = _relisted_from_seal(job, finding, dry_run)
            if outcome is None:
                unlisted.append(finding)
            else:
                yield outcome
        elif finding.remove and finding.remove in done:
            yield _done(finding, dry_run)  # With another file of its partition.
        else:
            yield _mended(job, finding, dry_run)
            done.add(finding.remove)
    if unlisted:
        yield from _relisted_from_source(job, unlisted, dry_run)


def _done(finding: Finding, dry_run: bool) -> Outcome:
    done = f"{finding.wrong} It {'would be' if dry_run else 'is'} {finding.remedy}."
    return Outcome(finding, done, True, finding.then)


def _mended(job: JobDir, finding: Finding, dry_run: bool) -> Outcome:
    if not finding.remedy:
        return Outcome(finding, finding.wrong, False, finding.then)
    outside = [path for path in finding.remove if not path.parent.resolve().is_relative_to(job.path)]
    if outside:
        wrong = f"{finding.wrong} It lies behind a link that leads out of the job, to {outside[0].parent.resolve()}"
        return Outcome(finding, f"{wrong}: repair removes nothing there.", False)
    if not dry_run:
        try:
            if finding.promote is not None:
                builds.promote(job, finding.promote)
            if finding.alone:
                with kept_from_changing(job):
                    _remove(tuple(path for path in finding.remove if path.exists() and not is_fresh(path)))
            else:
                _remove(finding.remove)
        except (OSError, JobError) as error:
            return Outcome(finding, f"{finding.wrong} It could not be {finding.remedy}: {error}.", False)
    return _done(finding, dry_run)


def _remove(paths: tuple[Path, ...]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            try:
                path.rmdir()
            except OSError:
                continue  # What others put there is theirs.
        else:
            path.unlink(missing_ok=True)
        files.sync_directory(path.parent)  # A power cut must not bring back a marker whose files are gone.


def _relisted_from_seal(job: JobDir, finding: Finding, dry_run: bool) -> Outcome | None:
    """Write a path list again from the sealed metadata and errors; None when these are not there, or not whole."""
    assert finding.relist is not None
    opened = open_job(job)
    if not opened.holds(finding.relist):
        return Outcome(finding, f"{finding.wrong} A compaction has put another partition in its place meanwhile.", True)
    partition = opened.partition(finding.relist)
    paths = _sealed_paths(opened, partition)
    if paths is None:
        return None
    if not dry_run:
        try:
            path_list.write_paths(job, partition, paths)
        except OSError as error:
            return _not_written(finding, str(error))
    return _anew(finding, "the metadata and errors of its partition", dry_run)


def _anew(finding: Finding, source: str, dry_run: bool) -> Outcome:
    return Outcome(finding, f"{finding.wrong} It {'would be' if dry_run else 'is'} written anew from {source}.", True)


def _not_written(finding: Finding, reason: str) -> Outcome:
    return Outcome(finding, f"{finding.wrong} It can't be written anew ({reason}): restore it from a copy.", False)


def _sealed_paths(job: OpenJob, partition: Partition) -> list[str] | None:
    try:
        seal = ledger.read_seal(job, partition.number)
        sources = (job.metadata(partition.number), job.errors(partition.number))
        for path in sources:
            if files.sha256_of(path) != seal.files[path.relative_to(job.path).as_posix()]["sha256"]:
                return None
        purged = job.state.purged_in(partition.start, partition.stop)
        gone = pa.table({"id": purged, "image_path": pa.array([""] * len(purged), pa.string())})
        tables = [read_table(path, ["id", "image_path"]).cast(gone.schema) for path in sources]
        table = pa.concat_tables([*tables, gone]).sort_by("id")
    except (JobError, OSError, KeyError, TypeError, AttributeError):
        return None
    if not np.array_equal(table["id"].to_numpy(), np.arange(partition.start, partition.stop)):
        return None
    paths: list[str] = table["image_path"].to_pylist()
    return paths


def _relisted_from_source(job: JobDir, findings: list[Finding], dry_run: bool) -> Iterator[Outcome]:
    """Write path lists again by listing the source again, if it still holds just the images that the job is made of."""
    job = open_job(job)
    try:
        reason = _why_not_the_same(job, findings)
        if not reason and not dry_run:
            reason = _written_from_source(job, {finding.relist for finding in findings})
    except (SourceError, OSError) as error:
        reason = str(error)
    for finding in findings:
        if reason:
            yield _not_written(finding, reason)
        else:
            place = read_moved(job).now(job.manifest.source.location)
            yield _anew(finding, f"the {job.manifest.source.kind} {place}", dry_run)


def _why_not_the_same(job: OpenJob, findings: list[Finding]) -> str:
    """Why the source can't give the path lists again; empty when it can."""
    manifest = job.manifest
    if any(finding.relist is not None and job.state.replaced(finding.relist) for finding in findings):
        return (
            "a compaction put its partition in the place of others, and the source does not say which images those had"
        )
    if any((finding.relist or 0) >= manifest.partition_count for finding in findings):
        return "its images came to the source after the job was made, and the source does not say which those were"
    if manifest.source.kind == "stdin":
        return "the list came from standard input, and is gone"
    if manifest.model.is_imported:
        return "importing again does that where the partition is not sealed"
    digest = PathDigest()
    for _ in digest.feed(_listing(job)):
        pass
    if (digest.count, digest.hexdigest()) != (manifest.listed, manifest.source.digest):
        return f"{manifest.source.location} does not hold just the images that the job was made of any more"
    return ""


def _listing(job: OpenJob) -> Listing:
    """The source as it is now, its images named as they were listed."""
    moved = read_moved(job)
    listing = open_source(to_os_path(moved.now(job.manifest.source.location)), choice=choice_of(job.manifest.source))
    listing.images = (replace(image, path=moved.listed(image.path)) for image in listing.images)
    return listing


def _written_from_source(job: OpenJob, wanted: set[int | None]) -> str:
    """Write the path lists `wanted` again; returns why they could not be, with nothing written then."""
    digest = PathDigest()
    for partition, images in partitions_of(digested(_listing(job), digest), job.manifest.partition_size):
        if partition.number in wanted:
            write_path_list(job, partition, images, MetadataColumns())
    if digest.hexdigest() == job.manifest.source.digest:
        return ""
    for number in wanted:
        if number is not None:
            job.paths(number).unlink(missing_ok=True)
    return f"{job.manifest.source.location} changed while it was listed"
