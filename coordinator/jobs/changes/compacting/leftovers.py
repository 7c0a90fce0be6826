"""Remove what a compaction made superfluous: files of replaced partitions, and what still tells of purged images."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from shared.errors import CorruptFile, FingerprintMismatch
from shared.job import path_list
from shared.job.altered_copies import IMAGES, read_copies, write_copies
from shared.job.changes.log import Ids
from shared.job.index import builds
from shared.job.index.purged import outlived
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.job.source.moved import read_moved, write_moved
from shared.job.source.stored import stored_images
from shared.processes.failpoints import failpoint
from shared.storage import files

_OLD_SECONDS: Final = 3_600.0
"""The age of files from which on nobody is at work on them, where no lock says it."""


def remove_replaced(job: OpenJob, *, alone: bool) -> None:
    """Remove the files of partitions that were replaced, and those of a compaction that was killed before its change.

    Those of the latter only where they are old, unless this process changes the job `alone`.
    """
    failpoint("remove_replaced")
    numbers = {*job.sealed_numbers(), *job.sealed_file_numbers(), *job.paths_numbers(), *job.retry_numbers()}
    numbers.update(job.features_numbers())
    for number in sorted(numbers | set(job.chunk_partitions())):
        if not job.holds(number) and (alone or number < job.state.next_number or _is_old(job, number)):
            remove_partition(job, number)


def remove_partition(job: OpenJob, number: int) -> None:
    """Remove all files of a partition, its seal first."""
    for path in _files_of(job, number):
        path.unlink(missing_ok=True)
        files.remove_leftovers(path)
    files.remove_all(job.chunk_dir(number))


def _files_of(job: OpenJob, number: int) -> Iterator[Path]:
    yield from (job.seal(number), job.retry(number), job.features_seal(number), *job.features_files(number))
    yield from (*job.sealed_files(number), job.known(number), job.paths(number))


def _is_old(job: OpenJob, number: int) -> bool:
    times = []
    for path in _files_of(job, number):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return not times or time.time() - max(times) > _OLD_SECONDS


def remove_added(job: OpenJob, *, alone: bool) -> None:
    """Remove the images that the job holds itself and lists no more: purged ones, and those of a killed addition.

    As `remove_replaced`, only old ones unless this process changes the job `alone`.
    """
    failpoint("remove_added")
    there = [path for _, path in job.added_files()]
    if not there:
        return
    with suppress(CorruptFile):  # It is not known then which ones are listed.
        listed = {path for partition in job.partitions for path, _ in stored_images(job, partition)}
        for path in there:
            with suppress(FileNotFoundError):
                if path not in listed and (alone or time.time() - path.stat().st_mtime > _OLD_SECONDS):
                    path.unlink()
                    if not files.names_in(path.parent):
                        files.remove_all(path.parent)


def keep_copies(job: OpenJob, seals: Sequence[Seal]) -> None:
    """Take purged images out of the altered copies of a job, which go on standing for its embeddings.

    `seals` are those of the job, in order. Copies of other embeddings than these, and those of which less than half
    would be left, are removed, and made anew before the next build.
    """
    try:
        copies = read_copies(job)
    except (CorruptFile, FingerprintMismatch):
        copies = None
    digest = builds.ledger_digest(seals)
    if copies is None or copies.ledger_digest == digest:
        return
    left = copies.without(job.state.purged)
    enough = not len(copies) or (len(left) > 0 and 2 * left.images >= min(IMAGES, copies.images))
    if enough and len(seals) == job.partition_count and builds.is_former_digest(copies.ledger_digest, seals, job):
        write_copies(job, replace(left, ledger_digest=digest))
    elif len(left) < len(copies):
        job.copies.unlink(missing_ok=True)


def remove_outlived(job: OpenJob) -> list[str]:
    """Remove the builds that hold purged images, once one that does not serves; their names."""
    removed = []
    if len(job.state.purged):
        for info in outlived(job):
            for path in job.build_files(info.build)[:-1]:
                path.unlink(missing_ok=True)
            files.remove_all(job.build_dir(info.build))
            removed.append(info.build)
    return removed


def forget_renamed(job: OpenJob, gone: Ids) -> None:
    """Take the paths of images that are about to be purged, int64 ascending, out of where files are under other names.

    A path that another image has as well stays.
    """
    moved = read_moved(job)
    if not moved.renamed or not len(gone):
        return
    theirs: set[str] = set()
    others: set[str] = set()
    ids = set(gone.tolist())
    for partition in job.partitions:
        paths = path_list.read_paths(job, partition)
        for image_id, path in enumerate(paths, partition.start):
            file = path.split("::", 1)[0]
            if file in moved.renamed or path in moved.renamed:
                (theirs if image_id in ids else others).update((file, path))
    if named := theirs - others:
        write_moved(job, replace(moved, renamed={old: new for old, new in moved.renamed.items() if old not in named}))
