"""Encode pixels as a JPEG."""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import ImageError

Image: TypeAlias = npt.NDArray[np.uint8]
QUALITY = 90
"""JPEG quality of every altered copy whose alteration is not the quality itself."""


def encode_jpeg(image: Image, quality: int) -> bytes:
    """JPEG bytes of an RGB uint8 [h, w, 3] image at `quality` (1-100).

    Raises ImageError if `image` has another shape or dtype, or OpenCV can't write it.
    """
    bgr = cv2.cvtColor(checked(image), cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise ImageError(f"OpenCV could not write an image of shape {image.shape} as JPEG; try another image.")
    return bytes(data.tobytes())


def checked(image: Image) -> Image:
    """`image` itself; ImageError where it is no RGB image, uint8 [h, w, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"An alteration got an array of dtype {image.dtype} and shape {image.shape}; it needs a decoded image: "
            "RGB, uint8, [height, width, 3], at least one pixel."
        )
    return image
