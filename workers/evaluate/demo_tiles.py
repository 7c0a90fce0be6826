"""Tiles of photographs for the demo: the squares of one, and which are too flat or too like another to be kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from shared.errors import SourceError
from workers.images.encode import Image

TILE_SIDES = (256, 128, 80)
WRITTEN_SIDE = 256
THUMBNAIL_SIDE = 16
FLAT_BELOW = 7.0
DUPLICATE_ABOVE = 0.95

Thumbnail: TypeAlias = npt.NDArray[np.float32]


def tiles(source: str, photograph: Image) -> Iterator[tuple[str, Image]]:
    """The tiles of a photograph, WRITTEN_SIDE px wide, each with a name that begins with `source`."""
    height, width = photograph.shape[:2]
    for side in TILE_SIDES:
        rows, columns = height // side, width // side
        if rows * columns < 2:
            continue
        # Centred, so what is lost at the edges is lost evenly.
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        for row in range(rows):
            for column in range(columns):
                y, x = top + row * side, left + column * side
                tile = photograph[y : y + side, x : x + side]
                if side != WRITTEN_SIDE:
                    tile = np.asarray(
                        cv2.resize(tile, (WRITTEN_SIDE, WRITTEN_SIDE), interpolation=cv2.INTER_CUBIC), dtype=np.uint8
                    )
                yield f"{source}-{side}px-r{row}c{column}", tile


def thumbnail_of(image: Image) -> Thumbnail:
    """16 x 16 grey values less the plane that fits them best: a sky that merely darkens upwards comes out as flat."""
    small = cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    ramp = np.arange(THUMBNAIL_SIDE, dtype=np.float32) - (THUMBNAIL_SIDE - 1) / 2
    # On a grid, the constant and the two ramps are orthogonal, so the fit is three means.
    across, down = (grey * ramp).mean() / (ramp**2).mean(), (grey.T * ramp).mean() / (ramp**2).mean()
    return np.asarray(grey - grey.mean() - across * ramp - down * ramp[:, None], dtype=np.float32)


def unit(thumbnail: Thumbnail) -> Thumbnail:
    """At unit length, so that a product of two is their correlation; one without any content becomes zeros."""
    return np.asarray(thumbnail.ravel() / max(float(np.linalg.norm(thumbnail)), 1e-6), dtype=np.float32)


def reason_against(thumbnail: Thumbnail, kept: Sequence[Thumbnail]) -> str:
    """Why a tile is left out beside those whose thumbnails, at unit length, were `kept`: flat or duplicate; else ""."""
    if float(thumbnail.std()) < FLAT_BELOW:
        return "flat"
    # The mirrored tile counts too, because "flip" is one of the alterations; it is compared in grey, because "grey" is
    # another.
    both = np.stack([unit(thumbnail), unit(thumbnail[:, ::-1])])
    return "duplicate" if kept and float((np.stack(kept) @ both.T).max()) > DUPLICATE_ABOVE else ""


def read_photograph(photograph: Path) -> Image:
    """The pixels of an image file, RGB uint8 [h, w, 3]; SourceError where there are none."""
    try:
        data = photograph.read_bytes()
    except OSError as error:
        raise SourceError(f"The photograph {photograph} can't be read: {error.strerror}; install it again.") from error
    return decoded(data, str(photograph))


def decoded(data: bytes, name: str) -> Image:
    """The pixels of the bytes of an image, RGB uint8 [h, w, 3]; SourceError, which calls it `name`, for others."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise SourceError(f"The photograph {name} holds no image that OpenCV can decode; install its package again.")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
