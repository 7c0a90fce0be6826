"""Make the thumbnails of a partition of a bundle: small JPEGs in one file, in the order of its images."""

import hashlib
import os
import queue
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from shared.errors import ImageError, SourceError
from shared.errors.remedy import left_out
from shared.images.location import Location, read_bytes
from shared.images.paths import is_url, to_os_path
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved
from shared.storage import files
from workers.images.stream import stream_images
from workers.pack.shrink import shrunk, shrunk_alone

QUALITY: Final = 80
_THREADS: Final = 16  # More than cores: they wait for a mount or a server.
_AHEAD: Final = 4
_FEW: Final = 5


@dataclass(slots=True)
class Lost:
    """The images that could not be read for a thumbnail: how many by the reason, and the sentences of the first few."""

    reasons: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    def add(self, path: str, error: ImageError) -> None:
        self.reasons[error.status] += 1
        if len(self.sentences) < _FEW:
            self.sentences.append(f"{path}: {error}")


class ThumbnailMaker:
    """Makes the thumbnails of a job, the longer side of each `longest` pixels, a partition at a time.

    `in_hand` is an open file, of 8 bytes for each core, that tells the process that started this one which images were
    being decoded when it ended: their ids from 1, or 0. The images whose ids are `suspects`, as an earlier process
    ended over them, are decoded in processes of their own. What could not be read is in `lost`.
    """

    def __init__(
        self, job: OpenJob, moved: Moved, longest: int, in_hand: int | None = None, suspects: Collection[int] = ()
    ) -> None:
        self._job = job
        self._moved = moved
        self._longest = longest
        self._in_hand = in_hand
        self._suspects = frozenset(suspects)
        self._free = queue.SimpleQueue[int]()
        for core in range(os.cpu_count() or 1):
            self._free.put(core)
        self.lost = Lost()

    def require_place(self) -> None:
        """Raise SourceError when the folder or archive of a source is out of reach: its photos are not lost for that.

        A source of which no image is left need not be there.
        """
        for number, source in enumerate(self._job.sources):
            place = self._moved.now(source.location)
            if source.kind in ("folder", "archive") and not is_url(place) and self._holds_any_of(number):
                _require_there(place)

    def _holds_any_of(self, source: int) -> bool:
        """Whether an image is left that was listed in a source, not added by its name."""
        state = self._job.state
        kept = (self._job.kept(partition, source) for partition in self._job.partitions)
        return any(len(ids) and not state.were_named(ids).all() for ids in kept)

    def write(self, bundle: JobDir, partition: Partition, rows: pa.Table, made: Callable[[], None]) -> None:
        """Write the thumbnails of the images in `rows`, which have the columns `id` and `sha256`.

        `made` is called after each. Raises SourceError as `require_place` does where images vanished.
        """
        ids: list[int] = rows["id"].to_pylist()
        locations = path_list.read_locations(self._job, partition, self._moved)
        wanted = [
            (image, locations[image - partition.start], sha256)
            for image, sha256 in zip(ids, rows["sha256"].to_pylist(), strict=True)
        ]
        ends, vanished = np.zeros(len(ids) + 1, np.int64), False
        with files.written_aside(bundle.thumbnails(partition.number)) as aside:
            stream = stream_images(wanted, read=self._made, threads=_THREADS, ahead=_AHEAD * _THREADS)
            with open(aside, "wb") as file, closing(stream) as thumbnails:
                for row, made_or_not in enumerate(thumbnails):
                    if isinstance(made_or_not, ImageError):
                        vanished = vanished or made_or_not.status in ("vanished", "unreadable")
                        self.lost.add(wanted[row][1].path, made_or_not)
                    else:
                        file.write(made_or_not)
                    ends[row + 1] = file.tell()
                    made()
            if vanished:
                self.require_place()
        with files.written_aside(bundle.thumbnail_offsets(partition.number)) as aside, open(aside, "wb") as file:
            np.lib.format.write_array(file, ends, allow_pickle=False)

    def _made(self, place: int, wanted: tuple[int, Location, str | None]) -> bytes | ImageError:
        image, location, sha256 = wanted
        manifest = self._job.manifest
        try:
            data = read_bytes(location.place, manifest.max_image_bytes, location.member)
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise ImageError("The file is another one than was embedded.", "changed")
            with self._holding(image):
                shrink = shrunk_alone if image in self._suspects else shrunk
                return shrink(data, self._longest, QUALITY, manifest.max_image_pixels)
        except ImageError as error:
            return error

    @contextmanager
    def _holding(self, image: int) -> Iterator[None]:
        core = self._free.get()
        self._note(core, image + 1)
        try:
            yield
        finally:
            self._note(core, 0)
            self._free.put(core)

    def _note(self, core: int, number: int) -> None:
        if self._in_hand is not None:
            with suppress(OSError):
                os.pwrite(self._in_hand, number.to_bytes(8, "little"), 8 * core)


def _require_there(place: str) -> None:
    try:
        os.stat(to_os_path(place))
        if os.path.isdir(to_os_path(place)) and not os.listdir(to_os_path(place)):
            raise FileNotFoundError(0, "it is empty now")
    except OSError as error:
        raise SourceError(
            f"The photos' place {place} is out of reach ({error.strerror}), and thumbnails are made from them",
            remedy=left_out("thumbnails", "mount it, and the same call continues"),
        ) from None


def without_thumbnail(bundle: JobDir, partitions: Collection[int]) -> int:
    """How many images of these partitions of a bundle have no thumbnail."""
    return sum(
        int(np.count_nonzero(np.diff(np.load(bundle.thumbnail_offsets(number), allow_pickle=False)) == 0))
        for number in partitions
    )
