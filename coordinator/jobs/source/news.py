"""Tell, while a source is listed again, which of its images are news to a job, and which became of those it knows."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

from coordinator.jobs.source.compared import Compared, MemberRow, Standing
from coordinator.jobs.source.elsewhere import Elsewhere
from coordinator.jobs.source.keys import PathKeys, key_of
from coordinator.jobs.source.lost.left_out import LeftOutFiles
from coordinator.jobs.source.lost.renamed import MOST, Lost, Renames
from coordinator.sources.listing import ListedImage
from shared.errors import ImageError
from shared.images import image_parquet
from shared.images.location import read_bytes
from shared.images.members import Member
from shared.images.paths import to_os_path
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved, is_stored


class News:
    """What a listing of a source has that a job does not, by what was `compared` before, and what is `elsewhere`."""

    def __init__(
        self, job: OpenJob, moved: Moved, compared: Compared, elsewhere: Elsewhere, left_out: LeftOutFiles
    ) -> None:
        self._job, self._moved, self._compared, self._elsewhere = job, moved, compared, elsewhere
        self._left_out = left_out
        self._room = MOST - len(moved.renamed)
        self._renames = Renames(self._room)
        self._replaced: set[int] = set()
        self._seen: set[str] = set()
        for lost, image_id in compared.lost:
            self._renames.add(lost, [image_id])
        states = job.archives()
        for archive, ids in compared.lost_archives.items():
            listed = moved.listed(archive)
            if (state := states.get(listed)) is not None:
                self._renames.add(Lost(listed, archive, True, state.size, state.digest), ids)
        for archive, standing in compared.archives.items():
            if standing is Standing.CHANGED:
                image_parquet.forget(archive)

    @property
    def most_renamed(self) -> int:
        """How many of the gone images may turn out to be under other names."""
        lost = len(self._compared.lost) + sum(map(len, self._compared.lost_archives.values()))
        return lost if self._room > 0 else 0

    @property
    def renamed(self) -> int:
        """How many images were found under other names."""
        return len(self._renames.ids)

    def wants(self, path: str) -> bool:
        """Whether the file at `path`, an image or an archive, has to be looked into; none that the job has as it is."""
        standing = self._compared.archives.get(path)
        if standing in (Standing.SAME, Standing.CHANGED):
            return standing is Standing.CHANGED
        if path in self._compared.same:
            return False
        if key_of(path) in self._compared.changed:
            return True
        if path in self._compared.out:
            return False
        return not self._elsewhere.holds_file(path) and not self._renames.found(path)

    def among(self, images: Iterator[ListedImage]) -> Iterator[ListedImage]:
        """Those of `images` that the job does not hold as they are: new ones, and those that changed."""
        for image in images:
            if is_stored(self._moved.listed(image.path)):
                continue  # The job itself is in the folder that is its source.
            rows = self._compared.members.get(image.path)
            if rows is not None:
                self._seen.add(image.path)
                # An image that is left first: one that was deleted may have been taken up again.
                by_left = sorted(rows, key=lambda row: row.deleted)
                same = next((row for row in by_left if self._is_same(row, image)), None)
                if same is None:
                    if not self._is_left_out(image):
                        yield image
                else:
                    rows.remove(same)
                    self._compared.deleted += same.deleted
            elif image.path not in self._compared.same:
                ids = self._compared.changed.pop(key_of(image.path), None)
                if image.path in self._compared.out or self._is_left_out(image):
                    self._compared.gone.update(ids or ())
                    continue
                if ids is not None:
                    self._replaced.update(ids)
                elif self._elsewhere.holds(image.path) or self._renames.found(image.path):
                    continue
                yield image

    def _is_left_out(self, image: ListedImage) -> bool:
        found = self._left_out.has(image, self._moved.listed(image.path))
        self._compared.deleted += found
        return found

    def _is_same(self, row: MemberRow, image: ListedImage) -> bool:
        """Whether an image in an archive that changed is at the same place as before, with the same bytes."""
        if _place(row.member) != _place(image.member):
            return False
        if image.member is not None and image.member.crc32 is not None:
            return True
        try:
            data = read_bytes(image.path, self._job.manifest.max_image_bytes, image.member)
        except ImageError:
            return False
        return hashlib.sha256(data).hexdigest() == row.sha256

    def removed(self) -> tuple[set[int], Counter[str]]:
        """The ids that the job is to remove once the listing has ended, and how many of them for which reason."""
        left = [
            (row.id, path in self._seen)
            for path, rows in self._compared.members.items()
            for row in rows
            if not row.deleted
        ]
        changed = self._replaced | {image_id for image_id, seen in left if seen}
        gone = (self._compared.gone - self._renames.ids) | {image_id for image_id, seen in left if not seen}
        return changed | gone, Counter({"gone": len(gone), "changed": len(changed)})

    def moved(self) -> Moved:
        """Where the files of the job are now, with those that were found under other names."""
        if not self._renames.paths:
            return self._moved
        location = self._job.manifest.source.location
        old, new = (self._moved.old, self._moved.new) if self._moved.old else (location, location)
        return Moved(old, new, {**self._moved.renamed, **self._renames.paths}, self._moved.more)


def still_renamed(moved: Moved, named: PathKeys | None, others: Collection[str]) -> Moved:
    """`moved` without the files under other names whose own place another file has taken since; those that are files of
    `others`, by the path that was listed, stay.

    A path of the job is at one place: what is new there can't be listed while an image that is listed so is elsewhere.
    `named` are the paths that the list of the job names now, None where the disk says what there is.
    """
    plain, renamed = replace(moved, renamed={}), dict(moved.renamed)
    while True:
        places = set(renamed.values())
        own = {listed: plain.now(listed) for listed in renamed if listed not in others}
        taken = [listed for listed, place in own.items() if place not in places and _is_there(place, named)]
        if not taken:
            return moved if len(renamed) == len(moved.renamed) else replace(moved, renamed=renamed)
        for listed in taken:
            del renamed[listed]


def _is_there(path: str, named: PathKeys | None) -> bool:
    return os.path.lexists(to_os_path(path)) if named is None else path in named


def _place(member: Member | None) -> Member | None:
    """A place without what earlier versions did not write down of it."""
    return None if member is None else replace(member, ahead=None)
