"""Find the pictures that straight borders frame in an image, such as one that was pasted into it (pure).

A pasted picture ends in four straight lines, on which each row or column differs from the one beside it, and which end
at its corners. Doors, windows and shelves have straight lines too, but seldom make a rectangle, or go on behind it.
"""

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two are outside."""
Floats: TypeAlias = NDArray[np.float32]

_LOOKED_AT: Final = 480
"""The pixels of the longer side that are at least looked at."""
_RUN: Final = 11
"""The pixels along a line over which its step is averaged: what is no line differs in both directions."""
_STEP: Final = 3.0
"""Grey values of 255 that a step has at least."""
_BLOCK: Final = 8
"""The blocks of a JPEG end at every so many columns, where steps count if they are larger than those of most blocks."""
_OF_BLOCKS: Final = 0.8
_OVER_BLOCKS: Final = 2.0
_USUAL: Final = 0.6
"""Of the pixels of a line, those that are a step: of other rows and columns a third are."""
_MOST_LINES: Final = 24
_LEAST_SIDE: Final = 0.10
_LEAST_PIXELS: Final = 32
"""Of a side that is looked at: a picture of fewer pixels can't be proven to be another one, and lines are chance."""
_AREAS: Final = (0.025, 0.6)
"""Of the image: a picture that takes more of it is seen well enough with the whole."""
_LONGEST: Final = 4.0
"""How many times as long as wide a picture is at most: boards and doors are longer."""
_LEAST_SHOWN: Final = 0.5
"""Of each side of a rectangle, what has to be a step."""
_BEYOND: Final = 0.15
"""Of a side, the part of its line that is looked at behind either corner, where it should have ended."""
_GOES_ON: Final = 0.5
_AT_EDGE: Final = 0.08
"""What a side costs that is the edge of the image itself, where no step can be seen."""
_LEAST_SCORE: Final = 0.6
"""Of photographs three in a hundred have a rectangle of more; of .4, one in four."""
_SAME: Final = 0.4
"""Of what either of two rectangles takes: the better one stays. One that has three sides of it is no other picture."""
_LOOKED_THROUGH: Final = 300


def frames(image: NDArray[np.uint8], most: int) -> list[Box]:
    """At most `most` framed parts of an image, RGB uint8 [h, w, 3], the most certain first; few photographs have any.

    Up to two of the sides may be edges of the image that meet in a corner. Of a large image every so many pixels are
    looked at, so a part may be some pixels off.
    """
    step, seen = sampled(image)
    rows, columns = seen.shape[:2]
    if min(rows, columns) < 2 * _LEAST_PIXELS:
        return []
    least = [max(_LEAST_PIXELS, _LEAST_SIDE * side) for side in (rows, columns)]
    grey = np.asarray(seen @ np.array([0.3, 0.59, 0.11], np.float32), np.float32)
    upright, level = _Lines.of(grey, least[0]), _Lines.of(grey.T, least[1])
    across, down = upright.pairs(least[1]), level.pairs(least[0])
    if not len(across) or not len(down):
        return []
    score = _scores(upright, level, across, down)
    found: list[Box] = []
    for place in np.argsort(-score, axis=None, kind="stable")[:_LOOKED_THROUGH].tolist():
        of_across, of_down = divmod(place, len(down))
        if len(found) == most or score[of_across, of_down] < _LEAST_SCORE:
            break
        (left, right), (top, bottom) = across[of_across].tolist(), down[of_down].tolist()
        box = scaled((left, top, right, bottom), step, image)
        if all(overlap(box, other) < _SAME for other in found):
            found.append(box)
    return found


def sampled(image: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    """How far apart the rows and columns of an image, [h, w, 3], are that are looked at, in pixels, and these alone."""
    step = max(1, max(image.shape[:2]) // _LOOKED_AT)
    return step, image[::step, ::step]


def scaled(box: Box, step: int, image: NDArray[np.uint8]) -> Box:
    """A box of what was sampled in the pixels of the image itself."""
    left, top, right, bottom = box
    height, width = image.shape[:2]
    return left * step, top * step, min(right * step, width), min(bottom * step, height)


def overlap(first: Box, second: Box) -> float:
    """The area that both boxes take, as a share of what either takes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0, width) * max(0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (first, second)]
    return both / (sum(areas) - both)


class _Lines:
    """The lines between columns of a picture that look most like borders, its two edges among them.

    `places`, int [n], are the columns that lines come before, and `steps`, float32 [rows + 1, n], how many of the rows
    above are a step there; `end` columns and `length` rows has the picture.
    """

    def __init__(self, places: NDArray[np.intp], steps: Floats, end: int) -> None:
        self.places, self.end, self.length = places, end, len(steps) - 1
        self._steps = steps

    @classmethod
    def of(cls, grey: Floats, least: float) -> "_Lines":
        """Those of a grey picture, float32 [h, w], on which about so many rows in a run are a step."""
        is_step = _steps(grey)
        inner = _strongest(is_step, _longest_runs(is_step), least)
        end = grey.shape[1]
        counted = np.zeros((len(grey) + 1, len(inner) + 2), np.float32)
        np.cumsum(is_step[:, inner], axis=0, out=counted[1:, 1:-1])
        return cls(np.array([0, *inner, end]), counted, end)

    def pairs(self, least: float) -> NDArray[np.intp]:
        """The places of lines that are at least so far apart: int [n, 2]."""
        first, second = np.triu_indices(len(self.places), 1)
        both = np.stack([self.places[first], self.places[second]], axis=1)
        return both[both[:, 1] - both[:, 0] >= least]

    def shown(self, places: NDArray[np.intp], starts: NDArray[np.intp], stops: NDArray[np.intp]) -> Floats:
        """The share of rows from `starts` to `stops`, int [m], that are a step at lines, int [n]: float32 [n, m]."""
        of_line = np.searchsorted(self.places, places)
        counted = self._steps[stops][:, of_line] - self._steps[starts][:, of_line]
        return np.asarray((counted / np.maximum(stops - starts, 1)[:, None]).T, np.float32)

    def is_edge(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        return np.asarray((places == 0) | (places == self.end), np.bool_)


def _steps(grey: Floats) -> NDArray[np.bool_]:
    """Where a column differs from the one before it, more than its neighbours do from theirs: bool [h, w]."""
    differences = np.zeros_like(grey)
    np.subtract(grey[:, 1:], grey[:, :-1], out=differences[:, 1:])
    summed = np.cumsum(np.pad(differences, ((_RUN // 2 + 1, _RUN // 2), (0, 0))), axis=0)
    along = np.abs(summed[_RUN:] - summed[:-_RUN]) / _RUN
    beside = np.pad(along, ((0, 0), (1, 1)))
    of_blocks = np.array([np.quantile(along[::4, first::_BLOCK], _OF_BLOCKS) for first in range(_BLOCK)], np.float32)
    least = _STEP + _OVER_BLOCKS * np.maximum(0, of_blocks - np.median(of_blocks))
    is_large = along >= np.resize(least, along.shape[1])
    return np.asarray(is_large & (along > beside[:, :-2]) & (along >= beside[:, 2:]), np.bool_)


def _longest_runs(is_step: NDArray[np.bool_]) -> Floats:
    """How far the best run of each column is above what is usual, in rows: float32 [w]."""
    gains = np.where(is_step, np.float32(1 - _USUAL), np.float32(-_USUAL))
    run, best = (np.zeros(is_step.shape[1], np.float32) for _ in range(2))
    for row in gains:
        run += row
        np.maximum(run, 0, out=run)
        np.maximum(best, run, out=best)
    return best


def _strongest(is_step: NDArray[np.bool_], strength: Floats, least: float) -> list[int]:
    """The columns of the strongest lines, ascending, no two side by side."""
    left = strength.copy()
    left[:2] = left[-1:] = 0
    found: list[int] = []
    while len(found) < _MOST_LINES:
        place = int(left.argmax())
        if left[place] < least * (1 - _USUAL) / 2:
            break
        found.append(place)
        left[place - 1 : place + 2] = 0
    return sorted(found)


def _scores(upright: _Lines, level: _Lines, across: NDArray[np.intp], down: NDArray[np.intp]) -> Floats:
    """How much each rectangle looks like a pasted picture, -1 where it can't be one: float32 [across, down]."""
    shown: list[Any] = []
    beyond: list[Any] = []
    at_edge: list[Any] = []
    for lines, own, other in ((upright, across, down), (level, down, across)):
        length = other[:, 1] - other[:, 0]
        more = np.maximum(4, (_BEYOND * length).astype(np.intp))
        before, behind = np.maximum(other[:, 0] - more, 0), np.minimum(other[:, 1] + more, lines.length)
        for side in (0, 1):
            places = own[:, side]
            inside = lines.shown(places, other[:, 0], other[:, 1])
            around = lines.shown(places, before, behind) * (behind - before) - inside * length
            outside = around / np.maximum(behind - before - length, 1)
            edge = np.broadcast_to(lines.is_edge(places)[:, None], inside.shape)
            for column, values in ((shown, inside), (beyond, outside), (at_edge, edge)):
                column.append(values if lines is upright else values.T)
    inside, outside, edges = np.stack(shown), np.stack(beyond), np.stack(at_edge)
    count = edges.sum(axis=0)
    wide, high = (pairs[:, 1] - pairs[:, 0] for pairs in (across, down))
    area, shape = np.outer(wide, high) / (upright.end * level.end), wide[:, None] / high
    good = (count <= 2) & ~(edges[0] & edges[1]) & ~(edges[2] & edges[3])
    good &= (shape <= _LONGEST) & (shape >= 1 / _LONGEST)
    good &= (np.where(edges, 1, inside).min(axis=0) >= _LEAST_SHOWN) & (area >= _AREAS[0]) & (area <= _AREAS[1])
    seen = np.where(edges, 0, inside - _GOES_ON * outside).sum(axis=0) / np.maximum(4 - count, 1)
    return np.asarray(np.where(good, seen - _AT_EDGE * count, -1), np.float32)
