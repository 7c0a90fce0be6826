"""Prove that two images are the same pixels: one whole picture and no more, scaled, turned by 90° or mirrored."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.messages.verdicts import Evidence
from workers.verify.agreement.colours import is_a_part_other
from workers.verify.features import COLOURS, LocalFeatures, coarse_colours, colours_of, shrunk
from workers.verify.region import evidence_of
from workers.verify.richness import LEAST_RICH, richness

SIDE = 64
_CELL = 8
_SMALLEST = 24
# Measured on photographs of clothes: JPEG 10, blur, grey and 64 px stay above .98 in both, and a cell is never farther
# away than .14 of the contrast of the whole, or than 3.7 times what cells are in the middle. A caption makes it 6.
LEAST_CORRELATED = 0.97
"""The least mean product of the coarse squares of two images of the same pixels, in the best of the eight ways."""
_LEAST_FINE = 0.9
_MOST_AWAY = 0.3
_MOST_OVER_MIDDLE = 5.0
# Noise of quantised pixels: below it no cell is an exception.
_LEAST_AWAY = 0.03
_COLOURLESS = 4.0
_LEAST_COLOUR = 0.7


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """An image as squares: `coarse` and `fine`, float32 [64, 64], its `colours`, float32 [6, 6, 2]; and its size."""

    width: int
    height: int
    coarse: NDArray[np.float32]
    fine: NDArray[np.float32]
    colours: NDArray[np.float32]
    is_rich: bool


def same_pixels(
    query: NDArray[np.uint8] | LocalFeatures | View, candidate: NDArray[np.uint8] | LocalFeatures | View
) -> Evidence | None:
    """The evidence that `candidate` is the whole picture of `query` and nothing but it; None where it is not proved.

    Each is an RGB image, uint8 [h, w, 3], its local features, or what `view_of` made of either, as for many
    candidates of one query. Both are stretched to a small square and compared in
    the eight ways to turn and mirror it, without regard to brightness and contrast. What shows too little to be told
    from others of its kind, such as one letter or a gradient, is never proved.
    """
    ours, theirs = (one if isinstance(one, View) else view_of(one) for one in (query, candidate))
    if not ours.is_rich or not theirs.is_rich:
        return None
    agreements = [
        float((ours.coarse * _laid(theirs.coarse, turns, mirrored)).mean())
        for mirrored in (False, True)
        for turns in range(4)
    ]
    best = int(np.argmax(agreements))
    turns, mirrored = best % 4, best >= 4
    if agreements[best] < LEAST_CORRELATED:
        return None
    coarse, fine, colours = (_laid(part, turns, mirrored) for part in (theirs.coarse, theirs.fine, theirs.colours))
    if _correlation(ours.fine, fine) < _LEAST_FINE or not _are_colours_alike(ours.colours, colours):
        return None
    first, second = (some.reshape(-1, 2).astype(np.float64) for some in (ours.colours, colours))
    if is_a_part_other(first, second, _light(ours.coarse), _light(coarse)):
        return None
    away = np.sqrt((_cells(ours.coarse - coarse) ** 2).mean(axis=(1, 3)))
    if away.max() > min(_MOST_AWAY, _MOST_OVER_MIDDLE * max(float(np.median(away)), _LEAST_AWAY)):
        return None
    sizes = (ours.width, ours.height), (theirs.width, theirs.height)
    return evidence_of(_matrix(*sizes, turns, mirrored), *sizes, 0, _aligned(ours.fine, fine))


def coarse_square(image: NDArray[np.uint8] | LocalFeatures) -> NDArray[np.float32]:
    """What `same_pixels` compares first of an image, float32 [64, 64]: it soft and small, of mean 0 and deviation 1.

    So one product of matrices can tell of many images which pairs it would refuse.
    """
    return view_of(image).coarse


def view_of(image: NDArray[np.uint8] | LocalFeatures) -> View:
    """What `same_pixels` looks at of an image, RGB uint8 [h, w, 3], or of its features."""
    if isinstance(image, LocalFeatures):
        width, height, grey, colours = image.width, image.height, image.grey, coarse_colours(image.colours)
    else:
        height, width = image.shape[:2]
        small = shrunk(image, 4 * SIDE * SIDE)
        grey, colours = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8), colours_of(small)
    how = cv2.INTER_AREA if min(grey.shape) >= SIDE else cv2.INTER_LINEAR
    square = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=how), np.uint8)
    soft = np.asarray(cv2.GaussianBlur(square.astype(np.float32), (0, 0), 1.0), np.float32)
    fine = soft - cv2.GaussianBlur(soft, (0, 0), 3.0)
    is_rich = min(width, height) >= _SMALLEST and richness(square) >= LEAST_RICH
    coarse = (soft - soft.mean()) / max(float(soft.std()), 1.0)
    return View(width, height, coarse, fine, colours.astype(np.float32) - 128, is_rich)


def _laid(square: NDArray[np.float32], turns: int, mirrored: bool) -> NDArray[np.float32]:
    """A square array mirrored left to right or not, and then turned clockwise by `turns` times 90°."""
    return np.rot90(square[:, ::-1] if mirrored else square, -turns)


def _matrix(query: tuple[int, int], hit: tuple[int, int], turns: int, mirrored: bool) -> NDArray[np.float64]:
    """The transform from pixels of the query to those of the hit, float64 [2, 3], where `_laid` makes them equal."""
    laid = np.diag([-1.0 if mirrored else 1.0, 1.0])
    for _ in range(turns):
        laid = np.array([[0.0, -1.0], [1.0, 0.0]]) @ laid
    # From the hit's centre to the query's in unit squares; back is the transpose.
    linear = np.diag(hit) @ laid.T @ np.diag(1 / np.array(query, np.float64))
    return np.column_stack([linear, np.array(hit) / 2 - linear @ (np.array(query) / 2)])


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float((first * second).sum() / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-6))


def _aligned(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The share of the cells with structure in which two squares show the same, 0 to 1."""
    ours, theirs = _cells(first), _cells(second)
    lengths = [np.sqrt((cells**2).sum(axis=(1, 3))) for cells in (ours, theirs)]
    structured = np.maximum(*lengths) >= _CELL  # A standard deviation of one grey value.
    agreement = (ours * theirs).sum(axis=(1, 3)) / np.maximum(lengths[0] * lengths[1], 1e-6)
    return float((agreement > 0.5)[structured].mean()) if structured.any() else 0.0


def _are_colours_alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two fields of colours are one, more or less vivid; a grey copy has none, and says nothing."""
    if min(float(np.sqrt((colours**2).mean())) for colours in (first, second)) < _COLOURLESS:
        return True
    return _correlation(first, second) >= _LEAST_COLOUR


def _light(coarse: NDArray[np.float32]) -> NDArray[np.float64]:
    """How bright the fields are that have colours: float64 [36]."""
    square = np.ascontiguousarray(coarse)
    return np.asarray(cv2.resize(square, (COLOURS, COLOURS), interpolation=cv2.INTER_AREA), np.float64).reshape(-1)


def _cells(square: NDArray[np.float32]) -> NDArray[np.float32]:
    return square.reshape(SIDE // _CELL, _CELL, SIDE // _CELL, _CELL)
