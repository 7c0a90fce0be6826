"""Find the keypoints of a grey image and describe each by 128 bits, which can be mirrored without the image."""

import cv2
import numpy as np
from numpy.typing import NDArray

BITS = 128
# Fewer pixels than this on a side have no place for a descriptor, and OpenCV's pyramid would be empty.
_SMALLEST = 12
# OpenCV's own is .04; soft garments and blurred copies have their keypoints below that.
_CONTRAST = 0.02
_EDGE = 10.0
# OpenCV lays SIFT out as [row][column][direction]. In a mirrored image the rows are upside down, as the first column
# runs along the keypoint's own direction, and directions turn the other way.
_MIRRORED = np.arange(BITS).reshape(4, 4, 8)[::-1][:, :, [0, 7, 6, 5, 4, 3, 2, 1]].reshape(BITS)


def described(grey: NDArray[np.uint8], keypoints: int, layers: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The `keypoints` strongest keypoints of `grey` (uint8 [h, w]), or as many as there are, the strongest first.

    They are looked for in so many `layers` of sizes between a size and twice that.

    The first array, float64 [n, 2], has their x and y in pixels of `grey`, from the outer corner of its first pixel.
    The second one, uint8 [n, 16], has 128 bits for each: whether each value of its RootSIFT is above their median.
    """
    found = cv2.SIFT.create(
        keypoints, layers, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE, enable_precise_upscale=True
    )
    kept, values = found.detectAndCompute(grey, None) if min(grey.shape) >= _SMALLEST else ((), None)
    if values is None or not len(kept):
        return np.zeros((0, 2)), np.zeros((0, BITS // 8), np.uint8)
    points = np.array([key.pt for key in kept], np.float64).reshape(-1, 2) + 0.5
    strength = np.array([key.response for key in kept])
    # Equal strengths are many in graphics: the order must not depend on how OpenCV found them.
    order = np.lexsort((points[:, 0], points[:, 1], -strength))[:keypoints]
    return points[order], _bits(np.asarray(values, np.float32)[order])


def mirrored(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bits (uint8 [n, 16]) that the same keypoints have in the mirrored image."""
    return np.packbits(np.unpackbits(bits, axis=1)[:, _MIRRORED], axis=1)


def _bits(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    # A root keeps the order of values, so the median of SIFT divides it as that of RootSIFT would.
    return np.packbits(values > np.median(values, axis=1, keepdims=True), axis=1)
