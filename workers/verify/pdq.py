"""Compute PDQ, a hash of 256 bits of which most stay when a picture is re-encoded, scaled or filtered (pure).

Written from the published description of PDQ (Meta, 2019): the luminance is averaged twice in boxes and reduced to 64 x
64, and the 16 x 16 lowest frequencies of its cosine transform, but the constant ones, are compared with their median.
"""

from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Hash = NDArray[np.uint8]
"""A PDQ: uint8 [32], the bytes in the order in which its 64 hex digits are written."""

BYTES: Final = 32
LEAST_QUALITY: Final = 50
"""The quality below which a PDQ says nothing: pictures that show next to nothing have equal ones by chance."""
_SIDE: Final = 64
_FREQUENCIES: Final = 16
_MOST: Final = 1_024  # More pixels a side change little, and take their time.
_LEAST: Final = 5
_BOXES: Final = 2
_GRADIENTS: Final = 90  # So many of them, in hundredths of the range from black to white, are one point of quality.


def pdq(image: NDArray[np.uint8]) -> tuple[Hash, int]:
    """The PDQ of an RGB image, uint8 [h, w, 3], and its quality from 0 to 100, by how much there is to see in it.

    An image of fewer than five pixels on a side has a quality of 0. Raises ValueError for another type or shape.
    """
    luma = _luma(image)
    if luma is None:
        return np.zeros(BYTES, np.uint8), 0
    reduced = _reduced(luma)
    return _hash(reduced), _quality(reduced)


def turned_pdqs(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The PDQs of an image as it is, and turned and mirrored in the seven other ways: uint8 [8, 32]; and the quality.

    The first four are the image, mirrored left to right, upside down, and turned by 180 degrees; the others are these,
    with rows and columns exchanged before. Each is the one that the turned image has. Raises as `pdq`.
    """
    luma = _luma(image)
    if luma is None:
        return np.zeros((8, BYTES), np.uint8), 0
    turned = [upright[::up, ::left] for upright in (luma, luma.T) for up in (1, -1) for left in (1, -1)]
    return np.stack([_hash(_reduced(np.ascontiguousarray(one))) for one in turned]), _quality(_reduced(luma))


def distances(hashes: NDArray[np.uint8], query: Hash) -> NDArray[np.int64]:
    """In how many of 256 bits each of `hashes`, uint8 [n, 32], differs from `query`: int64 [n]."""
    different: NDArray[np.int64] = np.bitwise_count(hashes ^ query).sum(axis=1, dtype=np.int64)
    return different


def _luma(image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The luminance of an image, float32 [h, w], not larger than need be; None for one that is too small."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"PDQ is of uint8 [h, w, 3], not of {image.dtype} {list(image.shape)}.")
    height, width = image.shape[:2]
    if min(height, width) < _LEAST:
        return None
    # Of pixels that are hardly averaged, the rounding counts.
    small = max(height, width) <= 4 * _SIDE
    luma = cv2.cvtColor(image.astype(np.float32) if small else image, cv2.COLOR_RGB2GRAY)
    if max(height, width) > _MOST:
        luma = cv2.resize(luma, (min(width, _MOST), min(height, _MOST)), interpolation=cv2.INTER_AREA)
    return luma.astype(np.float32)


def _reduced(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """A luminance averaged twice, and reduced to float32 [64, 64]."""
    height, width = luma.shape
    for _ in range(_BOXES):
        luma = _boxed(luma)
    # The middle of each of the 64 x 64 fields.
    rows = ((np.arange(_SIDE) + 0.5) * height / _SIDE).astype(np.intp)
    columns = ((np.arange(_SIDE) + 0.5) * width / _SIDE).astype(np.intp)
    return np.ascontiguousarray(luma[rows[:, None], columns[None]])


def _boxed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of a box around each pixel, half a field wide and high; at the borders, of what there is of it."""
    (high, up), (wide, left) = (_window(side) for side in values.shape)
    if high == wide == 1:
        return values
    sums = cv2.boxFilter(
        values, cv2.CV_32F, (wide, high), anchor=(left, up), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    counts = _counts(values.shape[0], high, up)[:, None] * _counts(values.shape[1], wide, left)[None]
    return np.asarray(sums / counts, np.float32)


def _window(side: int) -> tuple[int, int]:
    """How many pixels a box has along a side, and how many of them come before the middle one."""
    window = -(-side // (2 * _SIDE))
    return window, window - (window + 2) // 2 if window > 1 else 0


@cache
def _counts(side: int, window: int, before: int) -> NDArray[np.float32]:
    """How many pixels of the box around each place are in the image."""
    places = np.arange(side)
    first = np.maximum(places - before, 0)
    last = np.minimum(places - before + window, side)
    return (last - first).astype(np.float32)


@cache
def _cosines() -> NDArray[np.float32]:
    frequencies, places = np.arange(1, _FREQUENCIES + 1)[:, None], np.arange(_SIDE)[None]
    waves = np.cos(np.pi / (2 * _SIDE) * frequencies * (2 * places + 1))
    return np.asarray(np.sqrt(2 / _SIDE) * waves, np.float32)


def _hash(reduced: NDArray[np.float32]) -> Hash:
    values = (_cosines() @ reduced @ _cosines().T).reshape(-1)
    middle = np.partition(values, len(values) // 2 - 1)[len(values) // 2 - 1]
    return np.packbits((values > middle)[::-1])


def _quality(reduced: NDArray[np.float32]) -> int:
    gradients = [np.trunc(np.diff(reduced, axis=axis) * (100 / 255)) for axis in (0, 1)]
    return min(100, int(sum(np.abs(gradient).sum() for gradient in gradients)) // _GRADIENTS)
