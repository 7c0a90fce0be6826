"""Tell whether two pictures that show the same have other colours in a part: one garment, dyed or in two colours.

A copy may be grey, toned, paler or in a warmer light: one change of the colours of the whole picture explains it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.verify.agreement.cells import Cells

Array = NDArray[np.float64]

# Points along a side of a field at which the query is looked at.
_POINTS = 4
_FEWEST_FIELDS = 6
# The share of a field's compared cells: a field of which half is under something else has half of its colour.
_ALIGNED = 0.75
# Steps of Cr and Cb, of 255. A grey or toned picture says nothing of colours: they are none, or follow its brightness.
_OF_THEIR_OWN = 4.0
# A copy has lost its colours where less than a third is left: what is only paler, or written anew, keeps more.
_LOST = 3.0
# Paler or more vivid, within these.
_VIVID = (0.2, 5.0)
# Steps, and of how far the colours of the hit are from each other: small vivid pictures lose colour at their edges.
_FAR, _FAR_OF_SPREAD = 12.0, 0.4
_MOST_FAR = 0.2
# How many times the area of a field of the other picture a field may have whose colour is compared with it.
_LARGER = 1.15
_ROUNDS = 8
_NEAR = 2.0


@dataclass(frozen=True, eq=False, slots=True)
class Colours:
    """The colours of an image of (width, height).

    `fields`, uint8 [n, n, 2], are the mean Cr and Cb of as many fields, and `grey`, uint8 [h, w], is its thumbnail.
    """

    size: tuple[int, int]
    fields: NDArray[np.uint8]
    grey: NDArray[np.uint8]


def are_colours_other(query: Colours, hit: Colours, matrix: NDArray[np.float64], cells: Cells) -> bool:
    """Whether a fifth of what both show has another colour, after the best change of the whole picture's colours.

    `matrix`, float64 [2, 3], brings pixels of the query to those of the hit. Compared are those fields of the hit that
    lie in the query, and of whose compared cells nearly all are aligned: something that was pasted over one of both has
    colours of its own. False where they are few, or where either picture is grey or toned.
    """
    side = len(hit.fields)
    places, inside = _places(query.size, hit.size, matrix, side)
    if len(query.fields) <= side:
        # What is stored is compared with what is stored: fields of one picture that lie on as large ones of the other.
        # Those of a crop are smaller, and lie in one that shows more.
        fields = (places * len(query.fields)).astype(np.intp)
        inside &= (fields == fields[:, :1]).all(axis=(1, 2)) & _is_as_large(query.size, hit.size, matrix)
    chosen = inside & _shown(cells, side)
    if chosen.sum() < _FEWEST_FIELDS:
        return False
    ours, theirs = _at(query.fields, places)[chosen].mean(axis=1), hit.fields.reshape(-1, 2)[chosen].astype(np.float64)
    light = _at(query.grey[:, :, None], places)[chosen].mean(axis=(1, 2)), _brightness(hit.grey, side)[chosen]
    return is_a_part_other(ours, theirs, *light)


def has_lost_colours(picture: Colours, other: Colours) -> bool:
    """Whether a picture is grey, or toned, where the other one, which shows the same whole picture, has colours."""
    left, whole = (
        _own(one.fields.reshape(-1, 2).astype(np.float64), _brightness(one.grey, len(one.fields)))
        for one in (picture, other)
    )
    return whole >= _OF_THEIR_OWN and left * _LOST < whole


def is_a_part_other(ours: Array, theirs: Array, own_light: Array, light: Array) -> bool:
    """Whether a fifth of the fields has another colour, after the best change of all colours.

    `ours` and `theirs`, float64 [n, 2], are Cr and Cb of the same fields, and the lights, float64 [n], how bright they
    are, in any unit. False where either has no colours of its own.
    """
    if not _has_colours(ours, own_light) or not _has_colours(theirs, light):
        return False
    # Either may be the paler one, in which a dye is pale as well.
    return _is_far(ours, theirs, own_light) or _is_far(theirs, ours, light)


def _is_far(first: Array, second: Array, light: Array) -> bool:
    far = max(_FAR, _FAR_OF_SPREAD * _length(second - second.mean(axis=0)))
    return float((_left(first, second, light) > far).mean()) >= _MOST_FAR


def _is_as_large(query_size: tuple[int, int], hit_size: tuple[int, int], matrix: NDArray[np.float64]) -> bool:
    """Whether the query as a whole is as large as the hit as a whole, where both show the same."""
    share = abs(float(np.linalg.det(matrix[:, :2]))) * math.prod(query_size) / math.prod(hit_size)
    return 1 / _LARGER < share < _LARGER


def _places(
    query_size: tuple[int, int], hit_size: tuple[int, int], matrix: NDArray[np.float64], side: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Points of each field of the hit in the query, from 0 to 1: float64 [fields, points, 2], and which lie inside."""
    steps = (np.arange(side * _POINTS) + 0.5) / (side * _POINTS)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(side, _POINTS, side, _POINTS, 2)
    points = grid.transpose(0, 2, 1, 3, 4).reshape(side * side, _POINTS**2, 2) * hit_size
    there = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T / query_size
    return there, np.asarray(((there >= 0) & (there < 1)).all(axis=(1, 2)), np.bool_)


def _shown(cells: Cells, side: int) -> NDArray[np.bool_]:
    """The fields, bool [fields], of whose compared cells nearly all are aligned; also those without any."""
    rows, columns = cells.is_compared.shape
    of_cell = ((np.arange(rows) * 2 + 1) * side // (2 * rows))[:, None] * side
    of_cell = (of_cell + (np.arange(columns) * 2 + 1) * side // (2 * columns)).reshape(-1)
    compared, aligned = (
        np.bincount(of_cell, weights=part.reshape(-1), minlength=side * side)
        for part in (cells.is_compared, cells.is_aligned)
    )
    return np.asarray(aligned >= _ALIGNED * compared, np.bool_)


def _at(picture: NDArray[np.uint8], places: Array) -> Array:
    """The values of a picture (uint8 [h, w, c]) at places from 0 to 1, float64 [..., 2]: float64 [..., c]."""
    size = np.array([picture.shape[1], picture.shape[0]])
    x, y = np.moveaxis(np.clip((places * size).astype(np.intp), 0, size - 1), -1, 0)
    return np.asarray(picture[y, x], np.float64)


def _brightness(grey: NDArray[np.uint8], side: int) -> Array:
    return np.asarray(cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA), np.float64).reshape(-1)


def _has_colours(colours: Array, light: Array) -> bool:
    """Whether colours, float64 [n, 2], differ from each other, and not by the brightness of their fields alone."""
    return _own(colours, light) >= _OF_THEIR_OWN


def _own(colours: Array, light: Array) -> float:
    """How far colours, float64 [n, 2], are from each other, but for what follows the brightness of their fields."""
    level = (light - light.mean()) / max(float(light.std()), 1e-6)
    terms = np.column_stack([np.ones(len(level)), level, level**2])
    solved, *_ = np.linalg.lstsq(terms, colours, rcond=None)
    return _length(colours - terms @ solved)


def _length(colours: Array) -> float:
    return float(np.sqrt((colours**2).sum(axis=1).mean()))


def _left(ours: Array, theirs: Array, light: Array) -> Array:
    """How far `theirs` are from `ours`, all more or less vivid, shifted, and tinted by their light: float64 [n].

    A warmer white shifts what is bright more than what is dark. By least absolute differences, so that a part of them
    is seen to be other.
    """
    level = (light - light.mean())[:, None]
    weights = np.ones(len(ours))
    left = weights
    for _ in range(_ROUNDS):
        share = weights[:, None] / weights.sum()
        first, second, tint = (some - (some * share).sum(axis=0) for some in (ours, theirs, level))
        first, second = (
            some - tint * (share * some * tint).sum(axis=0) / max(float((share * tint**2).sum()), 1e-6)
            for some in (first, second)
        )
        vivid = float((share * first * second).sum() / max(float((share * first**2).sum()), 1e-6))
        left = np.linalg.norm(np.clip(vivid, *_VIVID) * first - second, axis=1)
        weights = 1 / np.maximum(left, _NEAR)
    return np.asarray(left, np.float64)
