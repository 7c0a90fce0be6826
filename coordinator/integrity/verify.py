"""Verify every file of a job directory against its checksums, its seal and the manifest, one finding at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from coordinator.integrity.builds import build_findings
from coordinator.integrity.bundle import bundle_findings
from coordinator.integrity.changes import ChangeFindings
from coordinator.integrity.duplicates import duplicates_findings
from coordinator.integrity.features import features_findings
from coordinator.integrity.findings import Checked, Finding, Kind, inside, is_fresh, unread, without_advice
from coordinator.integrity.partitions import PartitionFindings
from coordinator.integrity.stored import stored_findings
from coordinator.sources.listing import PathDigest
from shared.errors import CorruptFile, FingerprintMismatch, JobMismatch
from shared.job.altered_copies import read_copies
from shared.job.directory import JobDir
from shared.job.manifest import Partition, load_manifest
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.path_list import lists_paths
from shared.storage import files
from shared.storage.parquet import read_table

_NAMED = 5
_DISAGREE = "restore the one that is wrong from a copy. Nothing else can be judged until then, nor can repair mend it."


def verify(job: JobDir, checked: Checked) -> Iterator[Finding]:
    """Check everything in a job directory, in memory that does not grow with the job; nothing is changed.

    `checked` counts along. Safe while workers run: what they commit, seal or remove meanwhile is no finding. Raises
    JobNotFound when no job is there.
    """
    for finding in _findings(job, checked):
        checked.found[finding.kind] += 1
        checked.mendable += bool(finding.remedy)
        yield finding


def _findings(job: JobDir, checked: Checked) -> Iterator[Finding]:
    try:
        manifest = load_manifest(job)
        checked.add(job.spec)
    except OSError as error:
        yield unread(job, job.spec, error)
        return
    except (CorruptFile, JobMismatch) as error:
        wrong = f"{error} Repair can't make it anew, and nothing else can be judged without it."
        yield Finding(inside(job, job.spec), Kind.DAMAGE, wrong)
        return
    if manifest.bundle is not None:
        yield from bundle_findings(job, manifest.bundle, checked)
        yield from _strays(job)
        return
    changes = ChangeFindings(job, manifest, checked)
    try:
        yield from changes.log()
    except OSError as error:
        yield unread(job, job.changes_dir, error)
    if (opened := changes.opened()) is not None:
        yield from _findings_of(opened, changes, checked)


def _findings_of(job: OpenJob, changes: ChangeFindings, checked: Checked) -> Iterator[Finding]:
    """The findings of a job whose manifest and changes are whole."""
    damaged, doubt = _path_lists(job, checked)
    if doubt is not None:
        yield doubt
        return
    yield from damaged
    partitions = PartitionFindings(job, checked, sure=not damaged)
    stages: list[Callable[[], Iterator[Finding]]] = [
        lambda: _model_files(job, checked),
        lambda: _path_lists_beyond(job, partitions),
        changes.leftovers,
        partitions.sealed,
        partitions.unmarked,
        partitions.retries,
        partitions.chunks,
        lambda: features_findings(job, partitions, checked),
        lambda: stored_findings(job, checked),
        lambda: _copies(job, checked),
        lambda: build_findings(job, partitions.all_seals(), checked),
        lambda: duplicates_findings(job, checked),
        lambda: _strays(job),
    ]
    for stage in stages:
        try:
            yield from stage()
        except OSError as error:  # A directory that can't be listed.
            yield unread(job, Path(error.filename or job.path), error)


def _path_lists(job: OpenJob, checked: Checked) -> tuple[list[Finding], Finding | None]:
    """The path lists that are damaged, and the finding, if any, that makes it idle to continue.

    The lists and their digest confirm how many images job.json says there are, and how large a partition is: were one
    of those numbers damaged, whatever was made with the right ones would look wrong, and repair would take it back.
    """
    # Of what was listed when the job was made, and of each source when it was added; a compaction leaves no path of
    # what was removed.
    spans = [(0, job.manifest.listed), *((added.start, added.stop) for added in job.state.added)]
    digests = [PathDigest() for _ in spans]
    damaged = []
    for partition in job.partitions:
        path = job.paths(partition.number)
        try:
            checked.add(path)
            table = read_table(path)
        except FileNotFoundError:
            if job.renewed().holds(partition.number):
                damaged.append(_damaged_list(job, partition, "is missing"))
            else:  # A compaction has just replaced it.
                is_as_listed = False
            continue
        except CorruptFile:
            damaged.append(_damaged_list(job, partition, "fails its checksums"))
            continue
        except OSError as error:
            damaged.append(unread(job, path, error))
            continue
        ids = table["id"].to_numpy() if lists_paths(table.schema) else np.empty(0, dtype=np.int64)
        if not len(ids) or table["image_path"].null_count or not np.array_equal(ids, np.arange(len(ids)) + ids[0]):
            damaged.append(_damaged_list(job, partition, "does not hold a path for each of its ids in order"))
            continue
        if (ids[0], ids[-1] + 1) != (partition.start, partition.stop):
            wrong = (
                f"By its sizes, partition {partition.number} has the ids {partition.start} to {partition.stop - 1}, "
                f"but {inside(job, path)}, which is whole, lists {ids[0]} to {ids[-1]}: {_DISAGREE}"
            )
            return damaged, Finding(inside(job, job.spec), Kind.DAMAGE, wrong)
        paths = table["image_path"].to_pylist()
        purged = job.state.purged_in(partition.start, partition.stop)
        if [image_id for image_id, path in enumerate(paths, partition.start) if not path] != purged.tolist():
            damaged.append(_damaged_list(job, partition, "lacks other paths than those of the images that were purged"))
        for (start, stop), digest in zip(spans, digests, strict=True):
            # Behind the others are images that came later, of which there is no digest.
            if start < partition.stop and partition.start < stop:
                for _ in digest.feed(paths[max(0, start - partition.start) : stop - partition.start]):
                    pass
    for (start, stop), source, digest in zip(spans, job.sources, digests, strict=True):
        is_as_listed = not len(job.state.purged_in(start, stop))
        if is_as_listed and not damaged and digest.hexdigest() != source.digest:
            holder = "it" if source is job.manifest.source else f"the change that added {source.location}"
            wrong = f"The path lists hold other images than those whose digest {holder} has: {_DISAGREE}"
            return damaged, Finding(inside(job, job.spec), Kind.DAMAGE, wrong)
    return damaged, None


def _damaged_list(job: JobDir, partition: Partition, what: str) -> Finding:
    needed = (
        "The partition is sealed, so no work needs it."
        if ledger.is_sealed(job, partition.number)
        else "The partition is not sealed, and can't be embedded without it."
    )
    return Finding(
        inside(job, job.paths(partition.number)),
        Kind.DAMAGE,
        f"The list of the images of partition {partition.number} {what}. {needed}",
        "written anew from the sealed metadata and errors, or from the source if that still lists the same images",
        relist=partition.number,
    )


def _model_files(job: OpenJob, checked: Checked) -> Iterator[Finding]:
    model = job.manifest.model
    for name, sha256 in model.files.items():
        path = job.model_dir / name
        try:
            checked.add(path)
            if files.sha256_of(path) == sha256:
                continue
            what = "has another checksum than job.json says"
        except FileNotFoundError:
            what = "is missing"
        except OSError as error:
            yield unread(job, path, error)
            continue
        wrong = f"The job's copy of the model's weights {what}: restore it, as what is not embedded yet needs it."
        if name != model.weights_file:
            wrong = (
                f"The projection of the job's fused model {what}: restore it, as it can't be made again, and queries "
                "and what is not embedded yet need it."
            )
        yield Finding(inside(job, path), Kind.DAMAGE, wrong)


def _copies(job: JobDir, checked: Checked) -> Iterator[Finding]:
    try:
        if job.copies.is_file():
            checked.add(job.copies)
            read_copies(job)
    except (CorruptFile, FingerprintMismatch) as error:
        remedy = "removed, and made anew before the next index is built"
        yield Finding(inside(job, job.copies), Kind.DAMAGE, without_advice(error), remedy, (job.copies,))
    except FileNotFoundError:
        return
    except OSError as error:
        yield unread(job, job.copies, error)


def _path_lists_beyond(job: OpenJob, partitions: PartitionFindings) -> Iterator[Finding]:
    for number in job.paths_numbers():
        if not job.holds(number):
            yield partitions.beyond(job.paths(number), (job.paths(number),), number)


def _strays(job: JobDir) -> Iterator[Finding]:
    """What was being written aside, and in one line what is none of ours."""
    foreign = 0
    named: list[str] = []
    for path, ours in job.files():
        if not ours:
            foreign += 1
            if len(named) < _NAMED:
                named.append(inside(job, path))
        elif path.name.startswith(".") and path.suffix == files.TEMPORARY_SUFFIX:
            yield from _aside(job, path)
    if foreign:
        more = f" and {foreign - len(named):,} more" if foreign > len(named) else ""
        what = "1 file here is" if foreign == 1 else f"{foreign:,} files here are"
        yield Finding(".", Kind.FOREIGN, f"{what} none of lookalike's, and left alone: {', '.join(named)}{more}.")


def _aside(job: JobDir, path: Path) -> Iterator[Finding]:
    try:
        fresh = is_fresh(path)
    except FileNotFoundError:
        return  # It has got its name.
    if fresh:
        wrong = "It is being written, or its writer was killed: repair leaves it until it is an hour old."
        yield Finding(inside(job, path), Kind.LEFTOVER, wrong)
    else:
        wrong = "It was being written aside, and its writer was killed."
        yield Finding(inside(job, path), Kind.LEFTOVER, wrong, "removed", (path,))
