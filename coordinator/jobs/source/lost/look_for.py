"""Look for the files of a source where it may have moved to, and compare them with what the job knows of them."""

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.jobs.source.lost.renamed import Lost
from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from shared.images.paths import is_url, split_member, to_os_path
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.retry import read_retry
from shared.job.source.files import FileState, state_of
from shared.job.source.moved import Moved
from shared.storage.parquet import read_table

# Their files were not there, or could not be read, when they were to be embedded: nothing is lost if they are not now.
_NOT_EXPECTED: Final = ("vanished", "unreadable")
# Names and sizes tell nothing where all files have the same, as pictures without compression do. So many are read.
_READ: Final = 32
_THREADS: Final = 16
_COLUMNS: Final = ["id", "bytes", "sha256"]


@dataclass(slots=True)
class Found:
    """How many files were looked at, images or archives, and which of them are missing or other ones.

    `renamed_elsewhere` are files under other names that were not looked at, as they are those of other sources.
    """

    looked_at: int = 0
    lost: list[Lost] = field(default_factory=list)
    renamed_elsewhere: dict[str, str] = field(default_factory=dict)


def look_for(job: OpenJob, number: int, moved: Moved, before: Moved, told: Callable[[int], None]) -> Found:
    """Look for every file of a source where it is by `moved`, and for those of others that this has elsewhere than
    `before`.
    """
    found = Found(renamed_elsewhere=dict(before.renamed) if len(job.sources) > 1 else {})
    archives: set[str] = set()
    states = job.archives()
    to_read = {job.listed * turn // _READ for turn in range(_READ)}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="look") as pool:  # On a mount most of the time is waiting.
        for partition in job.partitions:
            locations = path_list.read_locations(job, partition, moved)
            rows = _known(job, partition)
            own = set(job.kept(partition, number).tolist())
            kept = [
                image_id
                for image_id in job.kept(partition).tolist()
                if image_id in own or _is_carried(locations[image_id - partition.start], before)
            ]
            files: list[tuple[Location, dict[str, Any]]] = []
            for image_id in kept:
                location = locations[image_id - partition.start]
                inside = split_member(location.path)
                found.renamed_elsewhere.pop(location.path if inside is None else inside[0], None)
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


def _is_carried(location: Location, before: Moved) -> bool:
    """Whether an image of another source is at another place than `before`."""
    inside = split_member(location.path)
    file = location.path if inside is None else inside[0]
    return file not in before.renamed and location.place != before.now(location.path)


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


def _note_file(found: Found, location: Location, row: dict[str, Any], now: int | None) -> None:
    found.looked_at += 1
    size = row.get("bytes")
    if now is None or (now < 0 and size is not None):
        found.lost.append(Lost(location.path, location.place, True, size, row.get("sha256")))
    elif size is not None and now != size:
        said = f"{location.place} has {now:,} bytes instead of {size:,}"
        found.lost.append(Lost(location.path, said, False, size, row.get("sha256")))


def _note_archive(found: Found, listed: str, path: str, was: FileState | None) -> None:
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


def _note_bytes(found: Found, location: Location, row: dict[str, Any], max_bytes: int) -> None:
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
