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
from coordinator.sources.gathering import fixed_folder
from shared.errors import ImageError
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.images.paths import is_url, split_member, to_os_path
from shared.job import path_list
from shared.job.changes.log import Ids
from shared.job.manifest import Partition, Source
from shared.job.opened import OpenJob
from shared.job.source.files import FileState, difference
from shared.job.source.moved import Moved, is_stored

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
    """An image in an archive that changed, as the job knows it; `deleted` if somebody took it out."""

    id: int
    member: Member | None
    sha256: str | None
    deleted: bool = False


@dataclass(slots=True)
class Compared:
    """What became of the images of a source that are left, by the paths that they have now.

    `same` are those that need nothing; `out` are those that somebody deleted, and whose files are there as they were;
    `changed` are the ids of those with other bytes, by their key. `gone` are ids; `lost` are gone files with their ids,
    as far as they may be found under other names, and `lost_archives` the ids in each archive that is gone. `members`
    are images of archives that changed, which are compared when those are listed. `archives` says how each archive
    stands. `deleted` counts the deleted ones that a listing of the source has.
    `unseen` counts files that could not be looked at, such as `unseen_path`, and count as the same.
    """

    same: PathKeys
    changed: dict[int, list[int]] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    lost: list[tuple[Lost, int]] = field(default_factory=list)
    lost_archives: dict[str, list[int]] = field(default_factory=dict)
    members: dict[str, list[MemberRow]] = field(default_factory=dict)
    archives: dict[str, Standing] = field(default_factory=dict)
    deleted: int = 0
    out: PathKeys = field(default_factory=lambda: PathKeys(np.empty(0, np.uint64)))
    unseen: int = 0
    unseen_path: str = ""


def compare(
    job: OpenJob,
    number: int,
    source: Source,
    moved: Moved,
    named: PathKeys | None,
    looked_at: LookedAt,
    told: Callable[[int], None],
) -> Compared:
    """Compare the images of a source of a job, partition by partition in the order of their ids, with what is there
    now.

    `number` is that of the source, also of one that is being added, and `moved` says where its images are. `named` are
    the paths that its list names now, None where no list but the disk says what there is. Raises CorruptFile where a
    path list or the metadata of a partition can't be read.
    """
    return _Comparison(job, number, source, moved, named, looked_at).run(told)


class _Comparison:
    """A comparison under way."""

    def __init__(
        self, job: OpenJob, number: int, source: Source, moved: Moved, named: PathKeys | None, looked_at: LookedAt
    ) -> None:
        self._job, self._number, self._source = job, number, source
        self._moved, self._named, self._looked_at = moved, named, looked_at
        self._states: dict[str, FileState] = {moved.now(path): state for path, state in job.archives().items()}
        self._same, self._out = array("Q"), array("Q")
        self._found = Compared(PathKeys(np.empty(0, np.uint64)))

    def run(self, told: Callable[[int], None]) -> Compared:
        for partition in self._job.partitions:
            if len(compared := self._compared(partition)):
                self._compare(partition, compared.tolist())
            told(partition.stop)
        same, out = (np.frombuffer(keys, np.uint64) for keys in (self._same, self._out))
        self._found.same, self._found.out = PathKeys(same), PathKeys(out)
        return self._found

    def _compared(self, partition: Partition) -> Ids:
        """The images of a partition that may be of this source: listed in it, or added by name. And deleted ones of all
        sources, but for those that were purged, which have no path any more."""
        state, ids = self._job.state, np.arange(partition.start, partition.stop)
        left = ~state.lacks(ids) & (state.are_of(ids, self._number) | state.were_named(ids))
        compared: Ids = ids[left | (np.isin(ids, state.deleted) & ~np.isin(ids, state.purged))]
        return compared

    def _compare(self, partition: Partition, compared: Sequence[int]) -> None:
        facts = Facts(self._job, partition)
        locations = None
        paths = path_list.read_paths(self._job, partition)
        state, ids = self._job.state, np.array(compared)
        for image_id, is_apart in zip(compared, state.were_named(ids).tolist(), strict=True):
            deleted = state.is_removed(image_id)
            listed = paths[image_id - partition.start]
            path = self._moved.now(listed) if self._moved else listed
            if is_apart and not self._is_in_source(listed, path):
                if not deleted:
                    self._same.append(key_of(path))
                continue
            inside = split_member(path) if "::" in path else None
            if inside is None:
                standing = self._file(path, image_id, facts)
            else:
                standing = self._archive(inside[0]) if self._is_named(path) is not False else Standing.GONE
                if standing is Standing.CHANGED:
                    locations = locations or path_list.read_locations(self._job, partition, self._moved)
                    member = locations[image_id - partition.start].member
                    row = MemberRow(image_id, member, facts.sha256(image_id), deleted)
                    self._found.members.setdefault(path, []).append(row)
                    continue
                if self._found.archives.get(inside[0]) is Standing.GONE and not deleted:
                    self._found.lost_archives.setdefault(inside[0], []).append(image_id)
            if standing is Standing.SAME:
                (self._out if deleted else self._same).append(key_of(path))
            elif deleted:
                continue  # A file with other bytes in its place is another image.
            elif standing is Standing.CHANGED:
                self._found.changed.setdefault(key_of(path), []).append(image_id)
            else:
                self._found.gone.add(image_id)
                if inside is None and len(self._found.lost) < _CANDIDATES and facts.size(image_id) >= 0:
                    one = Lost(listed, path, True, facts.size(image_id), facts.sha256(image_id))
                    self._found.lost.append((one, image_id))

    def _is_in_source(self, listed: str, path: str) -> bool:
        """Whether an image that was added by its name is one of the source too, and stays or goes with it."""
        source, inside = self._source, split_member(path)
        if inside is not None and inside[0] not in self._states:
            return False  # Or its archive, which the source may have and which was never listed, would count as known.
        if self._named is not None:
            return path in self._named
        if is_stored(listed) or is_url(path):
            return False
        place = to_os_path(path if inside is None else inside[0])
        location = to_os_path(self._moved.now(source.location))
        folder = fixed_folder(location) if source.kind == "glob" else location
        return place == location or place.startswith(folder.rstrip("/") + "/")

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
            return Standing.SAME if found.st_ctime_ns <= facts.failed_until_ns(image_id) else Standing.CHANGED
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
