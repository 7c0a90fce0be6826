"""Alter a photo as it may be altered between the archive and a query for it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from shared.errors import UsageError
from workers.images.encode import QUALITY, Image, checked, encode_jpeg

_TURN = 30
_THUMBNAIL = 64


@dataclass(frozen=True, slots=True)
class Alteration:
    """One way in which a query differs from its original.

    `name` is printed in tables, `sentence` says what is done, `change` does it to an RGB uint8 [h, w, 3] array, and
    `quality` is the JPEG quality (1-100) at which the changed image is written.
    """

    name: str
    sentence: str
    change: Callable[[Image], Image]
    quality: int = QUALITY

    @property
    def slug(self) -> str:
        """The name as one word of a path: lower-case letters, digits and hyphens."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def __call__(self, image: Image) -> bytes:
        """JPEG bytes of the altered `image` (RGB uint8 [h, w, 3]); the same bytes for the same pixels.

        Raises ImageError if `image` has another shape or dtype.
        """
        return encode_jpeg(self.change(checked(image)), self.quality)


def alter(name: str, image: Image) -> bytes:
    """JPEG bytes of `image` (RGB uint8 [h, w, 3]) after the alteration called `name`.

    Raises UsageError for a name that is not in `ALTERATIONS`, and ImageError as `Alteration` does.
    """
    if name not in ALTERATIONS:
        raise UsageError(f"No alteration is called {name!r}; choose one of: {', '.join(ALTERATIONS)}.")
    return ALTERATIONS[name](image)


def _unchanged(image: Image) -> Image:
    return image


def _half_size(image: Image) -> Image:
    height, width = image.shape[:2]
    # INTER_AREA averages the pixels that disappear, as photo sites do it; the other modes would alias.
    return _uint8(cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA))


def _flip(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def _brightness(image: Image) -> Image:
    return _uint8(np.clip(np.rint(image * np.float32(1.3) + np.float32(20)), 0, 255))


def _crop(image: Image) -> Image:
    height, width = image.shape[:2]
    # Rounded down on each edge, so a side of one pixel keeps its pixel.
    top, left = height // 10, width // 10
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def _grey(image: Image) -> Image:
    return _uint8(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _small_rotation(image: Image) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle=5, scale=1)
    return _uint8(
        cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    )


def _text(image: Image) -> Image:
    height, width = image.shape[:2]
    caption, font, thickness = "A LINE OF TEXT", cv2.FONT_HERSHEY_SIMPLEX, max(1, width // 150)
    captioned = image.copy()
    strip = max(1, round(height * 0.18))
    bottom = height - round(height * 0.08)
    captioned[max(0, bottom - strip) : bottom] = 20
    # The caption fills nine tenths of the width, or the height of its strip if it would be taller than that.
    (unit_width, unit_height), _ = cv2.getTextSize(caption, font, 1.0, thickness)
    scale = min(0.9 * width / unit_width, 0.7 * strip / unit_height)
    (text_width, text_height), _ = cv2.getTextSize(caption, font, scale, thickness)
    corner = ((width - text_width) // 2, bottom - (strip - text_height) // 2)
    return _uint8(cv2.putText(captioned, caption, corner, font, scale, (255, 255, 255), thickness, cv2.LINE_AA))


def _quarter_turn(image: Image) -> Image:
    return np.ascontiguousarray(np.rot90(image))


def _turn(image: Image) -> Image:
    height, width = image.shape[:2]
    # All of the photo stays to be seen, in a frame of its own size.
    along, across = np.cos(np.radians(_TURN)), np.sin(np.radians(_TURN))
    scale = min(width / (along * width + across * height), height / (across * width + along * height))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle=_TURN, scale=float(scale))
    return _uint8(cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_AREA, borderValue=(255, 255, 255)))


def _quarter(image: Image) -> Image:
    height, width = image.shape[:2]
    top, left = height // 6, width // 4
    return np.ascontiguousarray(image[top : top + max(1, height // 2), left : left + max(1, width // 2)])


def _thumbnail(image: Image) -> Image:
    height, width = image.shape[:2]
    factor = min(1.0, _THUMBNAIL / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return _uint8(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _blur(image: Image) -> Image:
    return _uint8(cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 150))


def _colour_cast(image: Image) -> Image:
    faded = (image + image.mean(axis=2, keepdims=True, dtype=np.float32)) / 2
    return _uint8(np.clip(np.rint(faded * np.array([1.2, 1.0, 0.75], np.float32)), 0, 255))


def _page(image: Image) -> Image:
    height, width = image.shape[:2]
    page = np.full_like(image, 250)
    small = _half_size(image)
    top, left = height // 10, width // 10
    # On small photos the page ends earlier.
    part = small[: height - top, : width - left]
    page[top : top + part.shape[0], left : left + part.shape[1]] = part
    line, below = max(1, height // 40), top + part.shape[0]
    for start in range(below + 2 * line, height - line, 3 * line):
        page[start : start + line, left : max(left + 1, width - left)] = 90
    return page


def _uint8(array: object) -> Image:
    # OpenCV's stubs promise only some array; this makes sure that it is uint8.
    return np.asarray(array, dtype=np.uint8)


ALTERATIONS: Mapping[str, Alteration] = MappingProxyType(
    {
        made.name: made
        for made in (
            Alteration("jpeg quality 20", "Written again as JPEG at quality 20.", _unchanged, quality=20),
            Alteration("half size", "Half as wide and half as high, by area averaging.", _half_size),
            Alteration("flip", "Mirrored left to right.", _flip),
            Alteration("brightness", "Every value times 1.3 plus 20, clipped at white.", _brightness),
            Alteration("crop 20 %", "The centre that is left when each side loses 20 % of its length.", _crop),
            Alteration("grey", "Without colour: luma in all three channels.", _grey),
            Alteration(
                "small rotation", "Turned by 5 degrees, size kept, corners filled by reflection.", _small_rotation
            ),
            Alteration("text", "A dark strip with a caption written across the lower part.", _text),
        )
    }
)
"""The alterations by name, in the order in which tables print them.

Each is one that a match query really meets: recompression and scaling by a web site, mirroring, an exposure filter,
another framing, a grey copy, a scan put askew, a caption.
"""

MEASURED: tuple[str, ...] = ("jpeg quality 20", "half size", "flip", "brightness", "crop 20 %", "grey")
"""The alterations by which the accuracy of every build of an index is measured."""

HARDER: Mapping[str, Alteration] = MappingProxyType(
    {
        made.name: made
        for made in (
            Alteration("quarter turn", "Turned left by 90 degrees.", _quarter_turn),
            Alteration("turn", "Turned by 30 degrees, all of it on white, in a frame of the same size.", _turn),
            Alteration("a quarter", "A part of half the width and half the height.", _quarter),
            Alteration("thumbnail", "The longer side 64 pixels.", _thumbnail),
            Alteration("blur", "Gaussian blur of a 150th of the longer side.", _blur),
            Alteration("colour cast", "Half of the colour taken away, the rest warmer.", _colour_cast),
            Alteration("page", "At half its size on a light page, with lines of text below.", _page),
        )
    }
)
"""Alterations that change more of a photo, by name: beside the others, what a fusion of features is learned from."""
