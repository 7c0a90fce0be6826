"""The local features of an image: keypoints with bits, a grey thumbnail and coarse colours, as they are compared."""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError
from workers.verify.descriptors import BITS, described
from workers.verify.stored import STEPS, packed, unpacked

STORED_KEYPOINTS = 170
QUERY_KEYPOINTS = 1_500
# Sizes are counted in pixels and not by a longer side, so that a panorama or a long screenshot keeps its details.
# SIFT takes its time by pixels and layers. With 320 x 240 pixels and three layers an image of a collection takes twice
# as long, and a hundredth more of the copies are proved; a query is made once.
_STORED_PIXELS, _STORED_LAYERS = 256 * 192, 2
_QUERY_PIXELS, _QUERY_LAYERS = 480 * 360, 3
_STORED_GREY = 144 * 108
_QUERY_GREY = 480 * 360
COLOURS = 6
_QUERY_COLOURS = 48
FEATURES_VERSION = f"rootsift{BITS}x{STORED_KEYPOINTS}-2"
"""Names all that changes the stored bytes. It belongs to the fingerprint of what stores them."""


@dataclass(frozen=True, eq=False, slots=True)
class LocalFeatures:
    """What an image is compared by.

    Attributes
    ----------
    width, height
        Pixels of the decoded, upright image.
    points
        float32 [n, 2]: x and y of the keypoints in pixels of the image, the strongest first. (0, 0) is the outer corner
        of its first pixel.
    bits
        uint8 [n, 16]: 128 bits for each keypoint.
    grey
        uint8 [h, w]: the image in grey, small: as many pixels as 144 x 108 for what is stored, more for a query.
    colours
        uint8 [6, 6, 2]: the mean Cr and Cb in 6 x 6 fields of the image; 128 is no colour. A query has 48 x 48 fields,
        of which a part may be compared with fields of the hit.
    """

    width: int
    height: int
    points: NDArray[np.float32]
    bits: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    colours: NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """These features as they are stored; what is loaded again differs in the thumbnail, by its compression."""
        return packed(self.width, self.height, self.points, self.bits, self.grey, coarse_colours(self.colours))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The features that `to_bytes` wrote; CorruptFile for anything else."""
        return cls(*unpacked(data))


def as_stored(features: LocalFeatures) -> LocalFeatures:
    """The features as a job would read them back, whose thumbnail is compressed: what proves a picture was chosen on
    those, and two garments on one floor are proven by a thumbnail that is not."""
    return LocalFeatures.from_bytes(features.to_bytes())


def local_features(image: NDArray[np.uint8], keypoints: int = STORED_KEYPOINTS) -> LocalFeatures:
    """The local features of `image`, RGB uint8 [h, w, 3].

    At most `keypoints` of them: `STORED_KEYPOINTS` for an image of a collection. More than that are for a query, which
    is looked at more closely: pictures inside a screenshot are small, and the letters of a caption have keypoints too.
    Raises ImageError if `image` has another shape or dtype.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"Features were asked of an array of dtype {image.dtype} and shape {image.shape}; they need a decoded "
            "image: RGB, uint8, [height, width, 3], at least one pixel."
        )
    if keypoints < 1:
        raise ValueError(f"{keypoints} keypoints were asked for; at least one is needed")
    height, width = image.shape[:2]
    is_query = keypoints > STORED_KEYPOINTS
    seen = shrunk(image, _QUERY_PIXELS if is_query else _STORED_PIXELS)
    grey = np.asarray(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), np.uint8)
    points, bits = described(grey, keypoints, _QUERY_LAYERS if is_query else _STORED_LAYERS)
    scale = np.array([width / grey.shape[1], height / grey.shape[0]])
    return LocalFeatures(
        width,
        height,
        _on_grid(points * scale, width, height),
        bits,
        shrunk(grey, _QUERY_GREY if is_query else _STORED_GREY),
        colours_of(seen, _QUERY_COLOURS if is_query else COLOURS),
    )


def shrunk(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """`image` (uint8 [h, w] or [h, w, 3]), by area averaging no larger than `pixels`; itself if it is small."""
    height, width = image.shape[:2]
    scale = math.sqrt(pixels / (height * width))
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def colours_of(image: NDArray[np.uint8], side: int = COLOURS) -> NDArray[np.uint8]:
    """The mean Cr and Cb in `side` x `side` fields of an RGB image (uint8 [h, w, 3]): uint8 [side, side, 2]."""
    fields = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(fields, cv2.COLOR_RGB2YCrCb)[:, :, 1:], np.uint8)


def coarse_colours(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours (uint8 [n, n, 2]) as a stored image has them: uint8 [6, 6, 2]."""
    if len(colours) == COLOURS:
        return colours
    return np.asarray(cv2.resize(colours, (COLOURS, COLOURS), interpolation=cv2.INTER_AREA), np.uint8)


def _on_grid(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float32]:
    """Points where storing would put them, so that fresh features match as stored ones do."""
    size = np.array([width, height], np.float64)
    return ((np.clip(np.floor(points / size * STEPS), 0, STEPS - 1) + 0.5) / STEPS * size).astype(np.float32)
