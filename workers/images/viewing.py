"""Give the pixels or a thumbnail of an image, as a notebook shows it."""

import cv2
import numpy as np
from numpy.typing import NDArray

# The module of decoding switches off OpenCV's threads and messages in a process. A user's process keeps them.
_threads, _level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()

from workers.images.decode import decode_photo  # noqa: E402
from workers.images.encode import encode_jpeg  # noqa: E402

cv2.setNumThreads(_threads)
cv2.utils.logging.setLogLevel(_level)

_QUALITY = 80
_WHOLE = 1 << 20


def pixels(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The bytes of an image file as uint8 [h, w, 3], RGB, upright, transparent parts on white; raises ImageError."""
    return decode_photo(data, _WHOLE, max_pixels)


def thumbnail(data: bytes, longest: int, max_pixels: int) -> bytes:
    """The bytes of an image file as a small JPEG, its longer side `longest` pixels; raises ImageError."""
    return encode_jpeg(decode_photo(data, longest, max_pixels), _QUALITY)
