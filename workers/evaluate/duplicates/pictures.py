"""What of the images of a job is compared: their local features, stored or made, and how sharp they are."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from shared.job import path_list
from shared.job.opened import OpenJob
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.features.record import ImageFeatures
from shared.job.source.moved import read_moved
from shared.settings import Settings
from shared.storage.parquet import read_table
from workers.images.decode import decode_photo
from workers.images.reach import require_source
from workers.images.read import read_image
from workers.verify.collection.stored import StoredFeatures
from workers.verify.features import LocalFeatures, shrunk

LONGEST: Final = 1_024
"""Pixels that the long side of an image is shrunk to before it is looked at."""
_SHARP: Final = 512  # Pixels: a copy that was only made smaller is not sharper for it.
_PARTITIONS: Final = 4
_KEPT: Final = 4_096  # Images, of 21 kB each.
_OK: Final = "ok"

Pixels = npt.NDArray[np.uint8]


class Fact(NamedTuple):
    """What a job knows of an image: the SHA-256 of its bytes, how many they are, and its pixels a side."""

    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None


@dataclass(slots=True)
class Pictures:
    """Images of a job, each where it is now; several threads may ask at once.

    What is compared of an image is what the job stores of it, and where it stores nothing, what it would: either way
    the same comes of it. An image whose bytes are not those that were embedded is an error: what is compared is what
    was embedded, and decoded once before, so nothing in it ends this process.
    """

    job: OpenJob
    settings: Settings = field(default_factory=Settings)
    _places: LRUCache[int, tuple[list[Location], dict[int, Fact]]] = field(
        default_factory=lambda: LRUCache(_PARTITIONS)
    )
    _stored: StoredFeatures = field(init=False)
    _looked: LRUCache[int, LocalFeatures] = field(default_factory=lambda: LRUCache(_KEPT))
    _read: dict[int, ImageRow] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._stored = StoredFeatures(self.settings)

    def picture(self, image_id: int) -> Pixels:
        """The pixels of an image, RGB uint8 [h, w, 3], at most LONGEST on a side.

        Raises ImageError where it can't be read or is not the one that was embedded.
        """
        location, fact = self._place(image_id)
        manifest = self.job.manifest
        status, message = _OK, None
        try:
            data = read_bytes(location.place, manifest.max_image_bytes, location.member)
            _require_embedded(fact, hashlib.sha256(data).hexdigest())
            return decode_photo(data, LONGEST, manifest.max_image_pixels, manifest.model.decode)
        except ImageError as error:
            status, message = error.status, f"{location.place}: {error}"
            raise ImageError(message, status) from None
        finally:
            self._remember(image_id, location, fact, status, message)

    def looked_at(self, image_id: int) -> LocalFeatures:
        """What is compared of an image; it is read or decoded once as long as it is remembered. Raises as `picture`."""
        with self._lock:
            found = self._looked.get(image_id)
        if found is None:
            found = self._stored.of(self.job, image_id) or self._made(image_id)
            with self._lock:
                self._looked[image_id] = found
        return found

    def sharpness(self, image_id: int) -> float | None:
        """How sharp an image is; None where it can't be read, which is no error: it decides between equals alone."""
        try:
            return sharpness(self.picture(image_id))
        except ImageError:
            return None

    def are_equally_large(self, one: int, other: int) -> bool:
        """Whether two images have the same number of pixels and of bytes, as far as the job knows: then it takes more
        to say which is better."""
        first, second = self._place(one)[1], self._place(other)[1]
        pixels = [(fact.width or 0) * (fact.height or 0) for fact in (first, second)]
        return pixels[0] == pixels[1] and (first.bytes or 0) == (second.bytes or 0)

    def _made(self, image_id: int) -> LocalFeatures:
        """The features of an image as they would be stored, to the last bit."""
        location, fact = self._place(image_id)
        manifest = self.job.manifest
        model = manifest.model
        sizes = model.image_size, manifest.max_image_pixels, manifest.max_image_bytes
        read = read_image(location, *sizes, model.decode, features=True)
        status, message = read.status, read.error_message
        try:
            if read.features is None:
                raise ImageError(message or "It has no features.", status)
            _require_embedded(fact, read.sha256)
            return LocalFeatures.from_bytes(ImageFeatures.from_bytes(read.features).local)
        except ImageError as error:
            status, message = error.status, f"{location.place}: {error}"
            raise ImageError(message, status) from None
        finally:
            self._remember(image_id, location, fact, status, message)

    def _remember(self, image_id: int, location: Location, fact: Fact, status: str, message: str | None) -> None:
        row = ImageRow(image_id, location.path, None, None, None, fact.sha256, status, message)
        with self._lock:
            self._read[image_id] = row

    def begin(self) -> None:
        """Forget which images were read, and where they are: before another batch they may have gone, or moved, and
        features may have been made."""
        with self._lock:
            self._read.clear()
            self._places.clear()
            self._stored = StoredFeatures(self.settings)

    def require_source(self) -> None:
        """Raise SourceError where images could not be read as their place is out of reach: they are not gone then."""
        with self._lock:
            rows = list(self._read.values())
        require_source(self.job, rows, read_moved(self.job))

    def _place(self, image_id: int) -> tuple[Location, Fact]:
        partition = self.job.partition_of(image_id)
        with self._lock:
            if partition.number not in self._places:
                table = read_table(self.job.metadata(partition.number), ["id", *Fact._fields])
                columns = (table[name].to_pylist() for name in Fact._fields)
                facts = dict(zip(table["id"].to_pylist(), map(Fact, *columns), strict=True))
                self._places[partition.number] = path_list.read_locations(self.job, partition), facts
            locations, facts = self._places[partition.number]
        return locations[image_id - partition.start], facts.get(image_id, Fact())


def _require_embedded(fact: Fact, sha256: str | None) -> None:
    if fact.sha256 is not None and sha256 != fact.sha256:
        raise ImageError("The file is another one than was embedded.", "changed")


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
