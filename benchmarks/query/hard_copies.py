"""Altered copies that a similarity alone hardly finds: parts of a photograph, turned ones, and pasted ones."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.images.encode import encode_jpeg

Image = NDArray[np.uint8]
_QUALITY: Final = 85
_PAPER: Final = 248


def _quarter(image: Image, others: list[Image]) -> Image:
    height, width = image.shape[:2]
    return image[height // 8 : height // 8 + height // 2, width // 3 : width // 3 + width // 2]


def _turned(image: Image, others: list[Image]) -> Image:
    return np.rot90(image)


def _page(image: Image, others: list[Image]) -> Image:
    """A page with a title, the photograph at half of its width, and lines of text below."""
    photo = _sized(image, 360)
    page = np.full((photo.shape[0] + 420, 720, 3), _PAPER, np.uint8)
    cv2.putText(page, "A page about something", (40, 70), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (30, 30, 30), 2, cv2.LINE_AA)
    page[110 : 110 + photo.shape[0], 40:400] = photo
    for line in range(5):
        place = (40, 160 + photo.shape[0] + 45 * line)
        cv2.putText(
            page, "some words of a text that nobody reads", place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (60, 60, 60), 1
        )
    return page


def _collage(image: Image, others: list[Image]) -> Image:
    tiles = [cv2.resize(one, (300, 400), interpolation=cv2.INTER_AREA) for one in (others[0], image, *others[1:3])]
    collage = np.full((812, 612, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = divmod(number, 2)
        collage[top * 412 : top * 412 + 400, left * 312 : left * 312 + 300] = tile
    return collage


def _inside(image: Image, others: list[Image]) -> Image:
    """Another photograph with this one in its corner, at two fifths of its width."""
    ground, photo = _sized(others[0], 720), _sized(image, 288)
    rows = min(photo.shape[0], ground.shape[0] - 30)
    ground[15 : 15 + rows, 15 : 15 + 288] = photo[:rows]
    return ground


def _sized(image: Image, width: int) -> Image:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


HARD: Mapping[str, Callable[[Image, list[Image]], Image]] = MappingProxyType(
    {
        "a quarter": _quarter,
        "turned by 90°": _turned,
        "in a page": _page,
        "collage of four": _collage,
        "in another photo": _inside,
    }
)
"""What is done to a photograph, RGB uint8 [h, w, 3], with three others, by name."""


def hard_copy(name: str, image: Image, others: list[Image]) -> bytes:
    """JPEG bytes of a photograph after what `HARD` does by that name."""
    return encode_jpeg(np.ascontiguousarray(HARD[name](image, others)), _QUALITY)
