"""Read one image: its bytes from their place, and its pixels or the reason why there are none."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from shared.models.preprocessing import REDUCED
from workers.images.decode import Seen, decode

Features: TypeAlias = bytes  # A field of that name is in its way below.


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image of a job as it was read: `status` is "ok" and `pixels` are there, or `status` is that of an ImageError.

    `path` is the text of the job's list, `bytes` the size of the file, `sha256` 64 hex digits over its bytes. None
    stands for what the reading did not reach. An image whose bytes were known is "ok" without being decoded. `features`
    are there where they were asked for, as the features column of a chunk holds them.
    """

    path: str
    bytes: int | None
    sha256: str | None
    width: int | None
    height: int | None
    pixels: NDArray[np.uint8] | None
    status: str
    error_message: str | None
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    features: Features | None = None


def read_image(
    location: Location,
    image_size: int,
    max_pixels: int,
    max_bytes: int,
    how: str = REDUCED,
    features: bool = False,
    known: Callable[[str], bool] = lambda sha256: False,
) -> ReadImage:
    """Read and decode the image at `location`; a failure is returned, never raised.

    Beyond the statuses of `decode` there are vanished, unreadable, damaged, and oversized for over `max_bytes`. Only
    regular files are read, because a FIFO would block and a device may never end. If a file changes meanwhile, `bytes`
    and `sha256` are those of what was read. Bytes whose sha256 is `known` are not decoded; others are, in the way
    `how`, and where `features` are wanted, these are made of the same pixels.
    """
    path, size, sha256 = location.path, None, None
    began = time.perf_counter()
    read = None
    made: list[bytes] = []
    seen = _making(made) if features else None
    try:
        data = read_bytes(location.place, max_bytes, location.member)
        size, sha256 = len(data), hashlib.sha256(data).hexdigest()
        read = time.perf_counter()
        if known(sha256):
            return ReadImage(path, size, sha256, None, None, None, "ok", None, read - began)
        image = decode(data, image_size, max_pixels, how, seen)
        found = ReadImage(path, size, sha256, image.width, image.height, image.pixels, "ok", None)
        found = replace(found, features=made[0]) if made else found
    except ImageError as error:
        found = ReadImage(path, size, sha256, None, None, None, error.status, str(error))
    ended = time.perf_counter()
    read = ended if read is None else read
    return replace(found, read_seconds=read - began, decode_seconds=ended - read)


def _making(made: list[bytes]) -> Seen:
    """Makes the features of the pixels that it is called with, and appends them."""
    from workers.verify.collection.making import image_features  # Most jobs want none.

    return lambda pixels, width, height: made.append(image_features(pixels, width, height).to_bytes())
