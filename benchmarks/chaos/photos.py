"""Make photographs for the chaos harness, by number, the same on every machine, a few of them no images at all."""

from pathlib import Path

import cv2
import numpy as np

from shared.errors import SourceError

_SIZE = (320, 240)
# One in so many can't be decoded, so that failed images are part of what has to come out the same.
_BROKEN_EVERY = 89


def make_photos(folder: Path, count: int) -> Path:
    """Write `count` files into `folder`; returns the folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        write = write_note if number % _BROKEN_EVERY == _BROKEN_EVERY - 1 else write_photo
        write(folder / f"photo_{number:05d}.jpg", number)
    return folder


def write_note(path: Path, number: int) -> None:
    """Write a file that is no image in the place of the photograph of a number."""
    path.write_bytes(f"Photograph {number} was lost; this is a note in its place.".encode())


def write_photo(path: Path, number: int) -> None:
    """Write the photograph of a number: a smooth random field of colour with grain, as JPEG."""
    rng = np.random.default_rng(number)
    field = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), _SIZE, interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 24, field.shape, dtype=np.uint16)
    if not cv2.imwrite(str(path), np.minimum(field + grain, 255).astype(np.uint8)):
        raise SourceError(f"OpenCV could not write {path}: is the disk full?")
