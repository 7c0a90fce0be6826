"""Find files of a moved source that have other names now, by their size and digest."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.sources.choosing import IMAGE_SUFFIXES, Sieve, choice_of
from coordinator.sources.folders import walk
from shared.errors import ImageError
from shared.images.location import read_bytes, suffix_of
from shared.images.paths import ARCHIVE_SUFFIXES, split_member, to_os_path
from shared.job import path_list
from shared.job.manifest import Source
from shared.job.opened import OpenJob
from shared.job.source.files import state_of
from shared.job.source.moved import Moved

MOST: Final = 10_000
"""Files that are looked for under other names. That many are named one by one in a small file of the job."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A file of a job that is not at its place, or is another one there.

    `listed` is its path as it was listed, `said` what is wrong; `missing` is whether nothing is there. `size` in bytes
    and `digest`, of an image its SHA-256 and of an archive that of its `FileState`, are what it must have, None where
    that is not known.
    """

    listed: str
    said: str
    missing: bool
    size: int | None = None
    digest: str | None = None


def found_again(job: OpenJob, made: Source, moved: Moved, lost: Sequence[Lost]) -> dict[str, str]:
    """The new paths of those of `lost` that are below the new place under another name, by the path that was listed.

    `made` is the source that they are of, and `moved` where it is now.

    Nothing is found that is a file of the job in its own place, as a copy of a lost one may be. A file is found once.
    """
    wanted: defaultdict[int, list[Lost]] = defaultdict(list)
    for one in lost:
        if one.size is not None and one.digest is not None:
            wanted[one.size].append(one)
    if not wanted:
        return {}
    there = walk(
        os.fsencode(to_os_path(moved.new)),
        Sieve(choice_of(made), texts=False),
        (*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES),
    )
    sizes = ((path, _size(path)) for path, _ in there)
    candidates = {path: size for path, size in sizes if size is not None and size in wanted}
    kept = _in_place(job, moved, candidates, {one.listed for one in lost})
    found: dict[str, str] = {}
    for path, size in candidates.items():
        if path in kept or all(one.listed in found for one in wanted[size]):
            continue
        digest = _digest(path, size)
        again = next((one for one in wanted[size] if one.digest == digest and one.listed not in found), None)
        if again is not None:
            found[again.listed] = path
    return found


class Renames:
    """Gone files of a job, and which of the new ones they are under other names; each is found once.

    At most `room` are found. `paths` are the new paths by what was listed, `ids` the images that they are.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._wanted: defaultdict[int, list[tuple[Lost, Sequence[int]]]] = defaultdict(list)
        self.paths: dict[str, str] = {}
        self.ids: set[int] = set()

    def add(self, lost: Lost, ids: Sequence[int]) -> None:
        """A gone file, and the images of the job that it is, or holds."""
        if lost.size is not None and lost.digest is not None:
            self._wanted[lost.size].append((lost, ids))

    def found(self, path: str) -> bool:
        """Whether the new file at `path` is one of the gone ones, which has its new path from now on."""
        if not self._wanted or len(self.paths) >= self._room:
            return False
        size = _size(path)
        if size is None or size not in self._wanted:
            return False
        digest = _digest(path, size)
        wanted = self._wanted[size]
        again = next((place for place, (one, _) in enumerate(wanted) if one.digest == digest), None)
        if again is None:
            return False
        lost, ids = wanted.pop(again)
        if not wanted:
            del self._wanted[size]
        self.paths[lost.listed] = path
        self.ids.update(ids)
        return True


def _in_place(job: OpenJob, moved: Moved, candidates: Iterable[str], lost: set[str]) -> dict[str, str]:
    """Those of `candidates` that are files of the job in their own places, and what they were listed as."""
    by_listed = {moved.listed(path): path for path in candidates}
    found = {}
    for partition in job.partitions:
        paths = path_list.read_paths(job, partition)
        for path in (paths[image_id - partition.start] for image_id in job.kept(partition).tolist()):
            inside = split_member(path) if "::" in path else None
            file = path if inside is None else inside[0]
            if file in by_listed and file not in lost:
                found[by_listed[file]] = file
    return found


def _size(path: str) -> int | None:
    try:
        found = os.stat(to_os_path(path))
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _digest(path: str, size: int) -> str | None:
    if suffix_of(path) in ARCHIVE_SUFFIXES:
        state = state_of(path)
        return None if state is None else state.digest
    try:
        return hashlib.sha256(read_bytes(path, size)).hexdigest()
    except ImageError:
        return None
