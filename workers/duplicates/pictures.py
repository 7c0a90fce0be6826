"""Read images of a job by their ids, and what of them is compared: their local features, and how sharp they are."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.partition.checkpoint import ImageRow
from shared.job.source.moved import read_moved
from shared.storage.parquet import read_table
from workers.images.decode import decode_photo
from workers.images.reach import require_source
from workers.verify.features import STORED_KEYPOINTS, LocalFeatures, local_features, shrunk

LONGEST: Final = 1_024
"""Pixels that the long side of an image is shrunk to before it is looked at."""
_SHARP: Final = 512  # Pixels: a copy that was only made smaller is not sharper for it.
_PARTITIONS: Final = 4
_KEPT: Final = 4_096  # Images, of 21 kB each.
_OK: Final = "ok"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image of a job: its `pixels`, RGB uint8 [h, w, 3], at most LONGEST on a side, and how sharp it is."""

    pixels: Pixels
    sharpness: float


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What is kept of an image that others are compared with."""

    local: LocalFeatures
    sharpness: float


@dataclass(slots=True)
class Pictures:
    """Reads images of a job, each where it is now; several threads may ask at once.

    An image whose bytes are not those that were embedded is an error: what is compared is what was embedded, and
    decoded once before, so nothing in it ends this process.
    """

    job: OpenJob
    keypoints: int = STORED_KEYPOINTS
    _places: LRUCache[int, tuple[list[Location], dict[int, str | None]]] = field(
        default_factory=lambda: LRUCache(_PARTITIONS)
    )
    _looked: LRUCache[int, Looked] = field(default_factory=lambda: LRUCache(_KEPT))
    _read: dict[int, ImageRow] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def picture(self, image_id: int) -> Picture:
        """The pixels of an image; ImageError where it can't be read or is not the one that was embedded."""
        location, sha256 = self._place(image_id)
        manifest = self.job.manifest
        status, message = _OK, None
        try:
            data = read_bytes(location.place, manifest.max_image_bytes, location.member)
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise ImageError("The file is another one than was embedded.", "changed")
            pixels = decode_photo(data, LONGEST, manifest.max_image_pixels, manifest.model.decode)
            return Picture(pixels, sharpness(pixels))
        except ImageError as error:
            status, message = error.status, f"{location.place}: {error}"
            raise ImageError(message, status) from None
        finally:
            row = ImageRow(image_id, location.path, None, None, None, sha256, status, message)
            with self._lock:
                self._read[image_id] = row

    def looked_at(self, image_id: int) -> Looked:
        """What others are compared with of an image; it is read once as long as it is remembered. Raises as `picture`.

        Jobs that hold local features need none of this: they would be read here.
        """
        with self._lock:
            found = self._looked.get(image_id)
        if found is None:
            picture = self.picture(image_id)
            found = Looked(local_features(picture.pixels, self.keypoints), picture.sharpness)
            with self._lock:
                self._looked[image_id] = found
        return found

    def begin(self) -> None:
        """Forget which images were read, and where they are: before another batch they may have gone, or moved."""
        with self._lock:
            self._read.clear()
            self._places.clear()

    def require_source(self) -> None:
        """Raise SourceError where images could not be read as their place is out of reach: they are not gone then."""
        with self._lock:
            rows = list(self._read.values())
        require_source(self.job, rows, read_moved(self.job))

    def _place(self, image_id: int) -> tuple[Location, str | None]:
        partition = self.job.partition_of(image_id)
        with self._lock:
            if partition.number not in self._places:
                table = read_table(self.job.metadata(partition.number), ["id", "sha256"])
                digests = dict(zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True))
                self._places[partition.number] = path_list.read_locations(self.job, partition), digests
            locations, digests = self._places[partition.number]
        return locations[image_id - partition.start], digests.get(image_id)


def shrunk_to(pixels: Pixels, longest: int) -> Pixels:
    """An image, RGB uint8 [h, w, 3], whose longer side is at most `longest` pixels."""
    height, width = pixels.shape[:2]
    return shrunk(pixels, int(height * width * min(1.0, longest / max(height, width)) ** 2))


def sharpness(pixels: Pixels) -> float:
    """How sharp an image, RGB uint8 [h, w, 3], is: the variance of its second differences, at one scale for all."""
    step = max(1, max(pixels.shape[:2]) // _SHARP)
    grey = pixels[::step, ::step].astype(np.float32).mean(axis=2)
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    second = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return round(float(second.var()), 3)
