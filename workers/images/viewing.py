"""Viewing: an image as a person is shown it in a notebook, its pixels or a thumbnail."""

import cv2
import numpy as np
from numpy.typing import NDArray

# The module of decoding takes OpenCV's threads and its messages away from a process. One of a user's keeps them.
_threads, _level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()

from workers.images.decode import decode_photo  # noqa: E402
from workers.images.encode import encode_jpeg  # noqa: E402

cv2.setNumThreads(_threads)
cv2.utils.logging.setLogLevel(_level)

_QUALITY = 80
_WHOLE = 1 << 20


def pixels(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The bytes of an image file as uint8 [h, w, 3], RGB, upright, what is transparent on white; raises ImageError."""
    return decode_photo(data, _WHOLE, max_pixels)


def thumbnail(data: bytes, longest: int, max_pixels: int) -> bytes:
    """The bytes of an image file as a small JPEG, its longer side `longest` pixels; raises ImageError."""
    return encode_jpeg(decode_photo(data, longest, max_pixels), _QUALITY)
