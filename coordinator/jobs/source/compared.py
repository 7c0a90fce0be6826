"""Compare each image that a job knows with what is at its place now: the same, changed, or gone."""

import errno
import hashlib
import os
import stat
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from coordinator.jobs.source.facts import UNKNOWN, Facts
from coordinator.jobs.source.keys import PathKeys, key_of
from coordinator.jobs.source.looked_at import LookedAt
from coordinator.jobs.source.lost.renamed import MOST, Lost
from shared.errors import ImageError
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.images.paths import is_url, split_member, to_os_path
from shared.job import path_list
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.source.files import FileState, difference
from shared.job.source.moved import Moved

# An image with too long a name, or that is a link to itself, is listed, so that its error row says what is wrong.
_LISTED_SO: Final = (errno.ENAMETOOLONG, errno.ELOOP)
_CANDIDATES: Final = 10 * MOST
"""Gone files that are looked for under other names."""


class Standing(Enum):
    """What became of a file that a job knows."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class MemberRow:
    """An image in an archive that changed, as the job knows it."""

    id: int
    member: Member | None
    sha256: str | None


@dataclass(slots=True)
class Compared:
    """What became of the images of a source that were not removed, by the paths that they have now.

    `same` are those that need nothing; `changed` are the ids of those with other bytes, by their key. `gone` are ids;
    `lost` are gone files with their ids, as far as they may be found under other names, and `lost_archives` the ids in
    each archive that is gone. `members` are images of archives that changed, which are compared when those are listed.
    `archives` says how each archive stands. `unseen` counts files that could not be looked at, such as `unseen_path`,
    and count as the same.
    """

    same: PathKeys
    changed: dict[int, list[int]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    lost: list[tuple[Lost, int]] = field(default_factory=list)
    lost_archives: dict[str, list[int]] = field(default_factory=dict)
    members: dict[str, list[MemberRow]] = field(default_factory=dict)
    archives: dict[str, Standing] = field(default_factory=dict)
    unseen: int = 0
    unseen_path: str = ""


def compare(
    job: OpenJob, number: int, moved: Moved, named: PathKeys | None, looked_at: LookedAt, told: Callable[[int], None]
) -> Compared:
    """Compare the images of a source of a job, partition by partition in the order of their ids, with what is there
    now.

    `number` is that of the source, and `moved` says where its images are. `named` are the paths that its list names
    now, None where no list but the disk says what there is. Raises CorruptFile where a path list or the metadata of a
    partition can't be read.
    """
    return _Comparison(job, number, moved, named, looked_at).run(told)


class _Comparison:
    """A comparison under way."""

    def __init__(self, job: OpenJob, number: int, moved: Moved, named: PathKeys | None, looked_at: LookedAt) -> None:
        self._job, self._number, self._moved, self._named, self._looked_at = job, number, moved, named, looked_at
        self._states: dict[str, FileState] = {moved.now(path): state for path, state in job.archives().items()}
        self._same = array("Q")
        self._found = Compared(PathKeys(np.empty(0, np.uint64)))

    def run(self, told: Callable[[int], None]) -> Compared:
        for partition in self._job.partitions:
            if len(kept := self._job.kept(partition, self._number)):
                self._compare(partition, kept.tolist())
            told(partition.stop)
        self._found.same = PathKeys(np.frombuffer(self._same, np.uint64))
        return self._found

    def _compare(self, partition: Partition, kept: Sequence[int]) -> None:
        facts = Facts(self._job, partition)
        locations = None
        paths = path_list.read_paths(self._job, partition)
        for image_id in kept:
            listed = paths[image_id - partition.start]
            path = self._moved.now(listed) if self._moved else listed
            inside = split_member(path) if "::" in path else None
            if inside is None:
                standing = self._file(path, image_id, facts)
            else:
                standing = self._archive(inside[0]) if self._is_named(path) is not False else Standing.GONE
                if standing is Standing.CHANGED:
                    locations = locations or path_list.read_locations(self._job, partition, self._moved)
                    row = MemberRow(image_id, locations[image_id - partition.start].member, facts.sha256(image_id))
                    self._found.members.setdefault(path, []).append(row)
                    continue
                if self._found.archives.get(inside[0]) is Standing.GONE:
                    self._found.lost_archives.setdefault(inside[0], []).append(image_id)
            if standing is Standing.SAME:
                self._same.append(key_of(path))
            elif standing is Standing.CHANGED:
                self._found.changed.setdefault(key_of(path), []).append(image_id)
            else:
                self._found.gone.add(image_id)
                if inside is None and len(self._found.lost) < _CANDIDATES and facts.size(image_id) >= 0:
                    one = Lost(listed, path, True, facts.size(image_id), facts.sha256(image_id))
                    self._found.lost.append((one, image_id))

    def _is_named(self, path: str) -> bool | None:
        """Whether the list names a path now; None where there is no list."""
        return None if self._named is None else path in self._named

    def _file(self, path: str, image_id: int, facts: Facts) -> Standing:
        named = self._is_named(path)
        if named is False:
            return Standing.GONE
        if is_url(path):
            return Standing.SAME
        os_path = to_os_path(path)
        try:
            found = os.lstat(os_path)
            changed_at = max(found.st_mtime_ns, found.st_ctime_ns)
            if stat.S_ISLNK(found.st_mode):
                found = os.stat(os_path)
                changed_at = max(changed_at, found.st_mtime_ns, found.st_ctime_ns)
        except (FileNotFoundError, NotADirectoryError):
            # A link to nothing is listed; and what a list names and is not there was a failed image from the beginning.
            return Standing.SAME if named or os.path.lexists(os_path) else Standing.GONE
        except ValueError:  # A path that no file can have.
            return Standing.SAME
        except OSError as error:
            return Standing.SAME if error.errno in _LISTED_SO else self._unseen(path)
        size = facts.size(image_id)
        if not stat.S_ISREG(found.st_mode) or not facts.known:
            return Standing.SAME
        if size == UNKNOWN:
            # Not by the time that a program may have given it: one in the future would make it change each time.
            return Standing.SAME if found.st_ctime_ns <= facts.failed_ns else Standing.CHANGED
        if size != found.st_size:
            return Standing.CHANGED
        if changed_at <= facts.began_ns:
            return Standing.SAME
        if self._looked_at.knows(image_id, found):
            return Standing.SAME
        try:
            digest = hashlib.sha256(read_bytes(path, max(size, self._job.manifest.max_image_bytes))).hexdigest()
        except ImageError:
            return self._unseen(path)
        if digest != facts.sha256(image_id):
            return Standing.CHANGED
        self._looked_at.add(image_id, found)
        return Standing.SAME

    def _unseen(self, path: str) -> Standing:
        self._found.unseen += 1
        self._found.unseen_path = self._found.unseen_path or path
        return Standing.SAME

    def _archive(self, archive: str) -> Standing:
        if archive not in self._found.archives:
            self._found.archives[archive] = standing_of(archive, self._states.get(archive))
        standing = self._found.archives[archive]
        return Standing.SAME if standing is Standing.GONE and self._named is not None else standing


def standing_of(archive: str, listed: FileState | None) -> Standing:
    """What became of an archive since it was listed as `listed`, None where that is not known; one behind a URL stays
    as it is.
    """
    if is_url(archive):
        return Standing.SAME
    try:
        os.lstat(to_os_path(archive))
    except (FileNotFoundError, NotADirectoryError):
        return Standing.GONE
    except (OSError, ValueError):
        return Standing.SAME
    return Standing.SAME if listed is None or difference(archive, listed) is None else Standing.CHANGED
