"""Read the images of a trial, and make altered copies of some, as the model takes them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from shared.images.location import Location, read_bytes
from workers.evaluate.altered_copies import LONGEST
from workers.images.alterations import ALTERATIONS, HARDER
from workers.images.decode import decode, decode_photo
from workers.images.isolated import IsolatedReaders
from workers.images.read import ReadImage
from workers.images.stream import stream_images

MOST_IMAGES: Final = 512
"""How many images a trial reads at most: enough for the originals to be hard to find among."""
_AHEAD = 32
# Originals whose copies are in memory at once.
_GROUP = 8

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Limits:
    """How the images of a job are taken: pixels of a side, the most pixels and bytes of one, and how it is decoded."""

    image_size: int
    max_pixels: int
    max_bytes: int
    how: str


def read_sample(
    locations: Sequence[Location], limits: Limits, threads: int, most: int = MOST_IMAGES
) -> Iterator[tuple[Location, Pixels]]:
    """The first `most` of `locations` that can be read, each with its pixels, no bytes twice.

    They are read in processes of their own: an image that ends one is left out.
    """
    seen: set[str | None] = set()
    with IsolatedReaders(limits.image_size, limits.max_pixels, limits.max_bytes, limits.how) as readers:

        def read(place: int, location: Location) -> ReadImage:
            return readers.read(location)

        images = stream_images(locations, read=read, threads=threads, ahead=_AHEAD)
        try:
            for location, image in zip(locations, images, strict=True):
                if image.pixels is not None and image.sha256 not in seen:
                    seen.add(image.sha256)
                    yield location, image.pixels
                if len(seen) >= most:
                    return
        finally:
            images.close()


def copies_of(location: Location, limits: Limits) -> list[Pixels]:
    """An image altered in every way that there is; none where it can't be read a second time."""
    try:
        data = read_bytes(location.place, limits.max_bytes, location.member)
        photo = decode_photo(data, LONGEST, limits.max_pixels, limits.how)
        altered = (alteration(photo) for alteration in (*ALTERATIONS.values(), *HARDER.values()))
        # Through the bytes of a JPEG file, as a query comes.
        return [decode(jpeg, limits.image_size, LONGEST**2, limits.how).pixels for jpeg in altered]
    except ImageError:
        return []


def copies_of_all(locations: Sequence[Location], limits: Limits, threads: int) -> Iterator[tuple[int, list[Pixels]]]:
    """For each place in `locations`, in order, the altered copies of its image; few are in memory at once."""
    with ThreadPoolExecutor(threads, thread_name_prefix="copies") as pool:
        for start in range(0, len(locations), _GROUP):
            made = pool.map(lambda location: copies_of(location, limits), locations[start : start + _GROUP])
            yield from enumerate(made, start)
