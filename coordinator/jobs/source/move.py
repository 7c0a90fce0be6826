"""Give a job's source another place, after comparing that place with what was listed."""

import glob
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Final

from coordinator.jobs.source.renamed import MOST, Lost, found_again
from coordinator.sources.listing import Listing
from coordinator.sources.resolve import open_source
from shared.errors import ImageError, JobMismatch, SourceError
from shared.errors.remedy import Remedy
from shared.images.location import Location, read_bytes
from shared.images.paths import is_url, split_member, to_os_path, to_text
from shared.job import path_list
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.manifest import Partition, Source
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.job.partition.retry import read_retry
from shared.job.source.files import FileState, state_of
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.storage.parquet import read_table

# Their files were not there, or could not be read, when they were to be embedded: nothing is lost if they are not now.
_NOT_EXPECTED: Final = ("vanished", "unreadable")
_NAMED: Final = 3
# Names and sizes tell nothing where all files have the same, as pictures without compression do. So many are read.
_READ: Final = 32
_THREADS: Final = 16
_COLUMNS: Final = ["id", "bytes", "sha256"]


@dataclass(slots=True)
class _Found:
    """How many files were looked at, images or archives, and which of them are missing or other ones."""

    looked_at: int = 0
    lost: list[Lost] = field(default_factory=list)


def move(source: str, job: JobDir, told: Callable[[int], None]) -> bool:
    """Have a job that was made from a folder, an archive or a glob find its images in `source`, where they moved to.

    Each file has to be there under the same name below the folder, and to be as large as when it was embedded; an
    archive has to be the one that was listed. Some images are read, and their SHA-256 compared. Below a folder, up to
    10,000 files that have other names now are found by their size and SHA-256. Ids, path lists and all that is embedded
    stay as they are. `told` hears how many images were looked at. Returns whether this is news to the job. Raises
    JobNotFound without a job, JobMismatch for a source that can't move so, and SourceError, with nothing changed, when
    a file is missing or another one.
    """
    job = open_job(job)
    refuse_bundle(job.path, job.manifest.bundle, "changed")
    listing = open_source(source)
    _require_movable(job, listing)
    closest: _Found | None = None
    for moved in _ways(job, job.manifest.source, listing.location):
        found = _compared(job, moved, told)
        if found.lost and job.manifest.source.kind != "archive" and len(found.lost) <= MOST:
            moved = replace(moved, renamed=found_again(job, moved, found.lost))
            found.lost = [one for one in found.lost if one.listed not in moved.renamed]
        if not found.lost:
            before = read_moved(job)
            write_moved(job, moved)
            return read_moved(job) != before
        if closest is None or len(found.lost) < len(closest.lost):
            closest = found
    assert closest is not None
    raise SourceError(
        f"{listing.location} is not what {job.path} was made of: of {closest.looked_at:,} files that the job has from "
        f"there, {_said(closest.lost)}. Nothing was changed. Put them there under the names that they had, or make a "
        "job of what is there now under another name."
    )


def said(job: JobDir, news: bool) -> str:
    """The line that says what `move` found, with what it returned."""
    count = len(read_moved(job).renamed)
    names = f", {count:,} of its files under other names" if count else ""
    return f"{job.path} finds its images there {'now' if news else 'as before'}{names}."


def _require_movable(job: OpenJob, listing: Listing) -> None:
    made = job.manifest.source
    if job.manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported, and none of its images is read",
            remedy=Remedy("option", does="leave {} out", given={"moved": ""}),
        )
    if made.kind not in ("folder", "archive", "glob") or is_url(made.location):
        what = "a list names each of its files" if made.kind in ("list", "stdin") else "a URL is no place on a disk"
        raise JobMismatch(
            f"Only the images of a folder, an archive or a pattern on a disk can move, and {job.path} was made from "
            f"the {made.kind} {made.location}; {what}: make another JOB of where they are now."
        )
    if listing.kind != made.kind or is_url(listing.location):
        raise JobMismatch(
            f"{job.path} was made from the {made.kind} {made.location}, and {listing.location} is the "
            f"{'URL of a ' if is_url(listing.location) else ''}{listing.kind}: give the {made.kind} on a disk to which "
            "that moved."
        )


def _ways(job: JobDir, made: Source, location: str) -> list[Moved]:
    """In what ways the source can have moved to `location`, the likelier first."""
    if made.kind == "folder":
        return [Moved(made.location, location)]
    old, new = to_os_path(made.location), to_os_path(location)
    if made.kind == "glob":
        (old, old_rest), (new, new_rest) = _fixed(old), _fixed(new)
        if old_rest != new_rest:
            raise JobMismatch(
                f"{job.path} was made from the pattern {made.location}, and {location} differs from it in more than "
                f"the folder: type that folder and behind it {old_rest}, in quotes."
            )
        return [Moved(to_text(old), to_text(new))]
    ways = [Moved(made.location, location)]
    if os.path.basename(old) == os.path.basename(new):
        # The rows of a Parquet file may name files beside it.
        ways.append(Moved(to_text(os.path.dirname(old)), to_text(os.path.dirname(new))))
    return ways


def _fixed(pattern: str) -> tuple[str, str]:
    """The folder that a pattern begins with, and the pattern below it."""
    parts = PurePosixPath(pattern).parts
    count = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(PurePosixPath(*parts[:count])), str(PurePosixPath(*parts[count:]))


def _compared(job: OpenJob, moved: Moved, told: Callable[[int], None]) -> _Found:
    """Look for every file of the job where it is by `moved`."""
    found = _Found()
    archives: set[str] = set()
    states = job.archives()
    to_read = {job.listed * turn // _READ for turn in range(_READ)}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="look") as pool:  # On a mount most of the time is waiting.
        for partition in job.partitions:
            locations = path_list.read_locations(job, partition, moved)
            rows = _known(job, partition)
            kept = job.kept(partition).tolist()
            files: list[tuple[Location, dict[str, Any]]] = []
            for image_id in kept:
                location = locations[image_id - partition.start]
                inside = split_member(location.path)
                if inside is None:
                    row = rows.get(image_id, {})
                    if not is_url(location.path) and row.get("status") not in _NOT_EXPECTED:
                        files.append((location, row))
                elif inside[0] not in archives and not is_url(inside[0]):
                    archives.add(inside[0])
                    _note_archive(found, inside[0], moved.now(inside[0]), states.get(inside[0]))
            for (location, row), now in zip(files, pool.map(lambda one: _size(one[0].place), files), strict=True):
                _note_file(found, location, row, now)
            if not found.lost:
                for image_id in sorted(to_read & rows.keys() & set(kept)):
                    location = locations[image_id - partition.start]
                    _note_bytes(found, location, rows[image_id], job.manifest.max_image_bytes)
            told(partition.stop)
    return found


def _known(job: JobDir, partition: Partition) -> dict[int, dict[str, Any]]:
    """What the job has written down of the images of a partition so far, by their id: bytes and SHA-256, or status."""
    number = partition.number
    tables = []
    if ledger.is_sealed(job, number) or read_retry(job, number) is not None:
        tables.append(read_table(job.metadata(number), _COLUMNS))
        tables.append(read_table(job.errors(number), ["id", "status"]))
    chunks = [job.retry_chunk(number, chunk) for chunk in job.retry_chunk_numbers(number)]
    chunks += [job.chunk(number, chunk) for chunk in job.chunk_numbers(number)]
    tables += [read_table(path, [*_COLUMNS, "status"]) for path in chunks]
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def _size(path: str) -> int | None:
    """The bytes of a file; None when there is none, -1 for a link to nothing, as listings hold some."""
    try:
        found = os.stat(to_os_path(path))
        return found.st_size if stat.S_ISREG(found.st_mode) else None
    except (OSError, ValueError):
        return -1 if os.path.islink(to_os_path(path)) else None


def _note_file(found: _Found, location: Location, row: dict[str, Any], now: int | None) -> None:
    found.looked_at += 1
    size = row.get("bytes")
    if now is None or (now < 0 and size is not None):
        found.lost.append(Lost(location.path, location.place, True, size, row.get("sha256")))
    elif size is not None and now != size:
        said = f"{location.place} has {now:,} bytes instead of {size:,}"
        found.lost.append(Lost(location.path, said, False, size, row.get("sha256")))


def _note_archive(found: _Found, listed: str, path: str, was: FileState | None) -> None:
    found.looked_at += 1
    now = state_of(path)
    size, digest = (None, None) if was is None else (was.size, was.digest)
    if now is None:
        found.lost.append(Lost(listed, path, True, size, digest))
    elif size is not None and now.size != size:
        found.lost.append(Lost(listed, f"{path} has {now.size:,} bytes instead of {size:,}", False, size, digest))
    elif digest is not None and now.digest != digest:
        said = f"{path} has as many bytes, but others at its beginning, its end or in its table"
        found.lost.append(Lost(listed, said, False, size, digest))


def _note_bytes(found: _Found, location: Location, row: dict[str, Any], max_bytes: int) -> None:
    """Compare what an image holds with what was embedded of it, if anything was."""
    sha256 = row.get("sha256")
    if sha256 is None or is_url(location.place):
        return
    try:
        same = hashlib.sha256(read_bytes(location.place, max_bytes, location.member)).hexdigest() == sha256
        said = f"{location.place} has as many bytes, but others than those that were embedded"
    except ImageError as error:
        same, said = False, f"{location.place}: {error}"
    if not same:
        found.lost.append(Lost(location.path, said, False, row.get("bytes"), sha256))


def _said(lost: Sequence[Lost]) -> str:
    missing, others = [one.said for one in lost if one.missing], [one.said for one in lost if not one.missing]
    parts = [f"{len(missing):,} are missing ({_named(missing)})"] if missing else []
    parts += [f"{len(others):,} are others ({_named(others)})"] if others else []
    return " and ".join(parts)


def _named(found: Sequence[str]) -> str:
    return ", ".join([*found[:_NAMED], *(["…"] if len(found) > _NAMED else [])])
