"""Make pictures with the structure of photographs, the same for the same seed, and some that show almost nothing."""

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def scene(seed: int, height: int = 360, width: int = 300) -> Picture:
    """Many shapes of many sizes on a soft ground, with grain: RGB uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    picture = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    for _ in range(70):
        size = int(min(height, width) * rng.uniform(0.03, 0.2))
        centre = rng.integers(0, (width, height))
        corners = centre + rng.integers(-size, size + 1, (rng.integers(3, 7), 2))
        cv2.fillPoly(picture, [corners.astype(np.int32)], rng.integers(0, 256, 3).tolist(), cv2.LINE_AA)
    return grained(cv2.GaussianBlur(picture, (0, 0), 0.8), rng)


def floor(seed: int, height: int = 360, width: int = 300) -> Picture:
    """Boards with a strong grain that nowhere repeats: RGB uint8 [height, width, 3]."""
    rng = np.random.default_rng(10_000 + seed)
    waves = sum(
        cv2.resize(rng.normal(0, 1, (height // 2**k, max(2, width // 2 ** (k + 3)))), (width, height))
        for k in (0, 1, 2)
    )
    boards = (np.arange(height) // 45 % 2 * 25)[:, None] + 22 * np.asarray(waves) + 120
    seams = np.where(np.arange(height) % 45 < 2, -60, 0)[:, None]
    return np.clip((boards + seams)[:, :, None] * np.array([1.0, 0.8, 0.6]), 0, 255).astype(np.uint8)


def on_floor(ground: Picture, seed: int, share: float = 0.6) -> Picture:
    """A garment of its own that covers `share` of `ground`, with a hem, buttons and a print."""
    height, width = ground.shape[:2]
    side = share**0.5
    top, left = int(height * (1 - side) / 2), int(width * (1 - side) / 2)
    garment = scene(20_000 + seed, height - 2 * top, width - 2 * left)
    picture = ground.copy()
    picture[top : height - top, left : width - left] = garment
    return picture


def grained(picture: NDArray[Any], rng: np.random.Generator, strength: float = 3.0) -> Picture:
    """`picture` with the noise of a camera."""
    return np.clip(picture + rng.normal(0, strength, picture.shape), 0, 255).astype(np.uint8)


def pixels_of(data: bytes) -> Picture:
    """The pixels of an encoded image: RGB uint8 [h, w, 3]."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def as_jpeg(picture: Picture, quality: int = 85) -> Picture:
    """`picture` as it comes out of a JPEG of that quality."""
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return pixels_of(data.tobytes())


def resized(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def letter(text: str, ground: int = 255, ink: int = 0, side: int = 300) -> Picture:
    """One letter, large, in the middle of a plain ground."""
    picture = np.full((side, side, 3), ground, np.uint8)
    scale, thickness = side / 40, side // 20
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    corner = ((side - width) // 2, (side + height) // 2)
    return np.asarray(cv2.putText(picture, text, corner, 0, scale, (ink,) * 3, thickness, cv2.LINE_AA), np.uint8)


def checkerboard(field: int, shift: int = 0, side: int = 320) -> Picture:
    rows = (np.arange(side) + shift) // field
    return np.repeat(((rows[:, None] + rows) % 2 * 200 + 25).astype(np.uint8)[:, :, None], 3, axis=2)


def tiles(seed: int, field: int = 40, side: int = 320) -> Picture:
    """One motif that is repeated over the whole picture."""
    motif = scene(30_000 + seed, field, field)
    return np.ascontiguousarray(np.tile(motif, (side // field, side // field, 1)))


def gradient(turns: int = 0, low: int = 20, high: int = 235, side: int = 300) -> Picture:
    ramp = np.repeat(np.linspace(low, high, side)[None], side, axis=0)
    return np.repeat(np.rot90(ramp, turns)[:, :, None], 3, axis=2).astype(np.uint8)


def noise(seed: int, side: int = 300) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def logo(seed: int, side: int = 300) -> Picture:
    """A small mark in the middle of white: a ring, a bar and three letters."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), 255, np.uint8)
    colour = rng.integers(0, 200, 3).tolist()
    middle = side // 2
    cv2.circle(picture, (middle, middle), side // 6, colour, side // 40, cv2.LINE_AA)
    cv2.line(picture, (middle - 30, middle), (middle + 30, middle + int(rng.integers(-30, 30))), colour, 5, cv2.LINE_AA)
    text = "".join(chr(65 + code) for code in rng.integers(0, 26, 3))
    return np.asarray(cv2.putText(picture, text, (middle - 25, middle + 8), 0, 0.8, colour, 2, cv2.LINE_AA), np.uint8)


def flat(value: int, side: int = 300) -> Picture:
    return np.full((side, side, 3), value, np.uint8)


# Pictures of one kind each that show too little to be told apart, two or more of a kind.
POOR: Mapping[str, list[Picture]] = {
    "flat": [flat(128), flat(200)],
    "black": [flat(0), flat(0, 200)],
    "gradient": [gradient(), gradient(1), gradient(0, 60, 180), gradient(2)],
    "letter": [letter("A"), letter("B"), letter("A", 0, 255), letter("A", 230, 40, 240)],
    "noise": [noise(1), noise(2)],
    "checkerboard": [checkerboard(40), checkerboard(32), checkerboard(20), checkerboard(40, 13)],
    "one pixel": [flat(7, 1), flat(90, 1)],
}
