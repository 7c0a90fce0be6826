"""Choose the views of a query image: the whole, the pictures that borders part or frame, centre, corners (pure)."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.search.decoding.frames import Box, frames, overlap, sampled, scaled

_SIDE: Final = 0.55
"""Of the side of an image: what its centre and each of its corners take."""
_FLAT: Final = 6.0
"""The standard deviation of a line's values up to which it shows nothing: a JPEG leaves that much in a plain border."""
_GAP: Final = 0.004
"""Of the side of an image: the least width of a flat separator. That between the pictures of a collage is thin."""
_LEAST_SIDE: Final = 0.10
_LEAST_AREA: Final = 0.025
_MOST_AREA: Final = 0.95
"""Of the image: a part that takes nearly all of it is the whole, and one that takes next to nothing is no picture."""
_DEPTH: Final = 8
_MOST_FRAMES: Final = 2
_SAME: Final = 0.8
"""Of what either of two boxes takes: boxes that share so much show one picture."""


def view_boxes(image: NDArray[np.uint8], count: int) -> list[Box]:
    """At most `count` views of an image, RGB uint8 [h, w, 3], the whole first.

    A screenshot's picture and the pictures of a collage come next, the largest first, as far as flat lines part them;
    then pictures that were pasted into another one, as far as straight borders frame them; then the centre and the
    corners. A plain photograph has none of the former.
    """
    height, width = image.shape[:2]
    side = max(1, round(width * _SIDE)), max(1, round(height * _SIDE))
    middle = (width - side[0]) // 2, (height - side[1]) // 2
    places = [middle, (0, 0), (width - side[0], 0), (0, height - side[1]), (width - side[0], height - side[1])]
    boxes = [(0, 0, width, height)] + (_pictures(image, count - 1) if count > 1 else [])
    boxes += [(left, top, left + side[0], top + side[1]) for left, top in places]
    return list(dict.fromkeys(boxes))[:count]


def _pictures(image: NDArray[np.uint8], most: int) -> list[Box]:
    """The pictures that an image, RGB uint8 [h, w, 3], is made of, as far as they are told apart, each once."""
    found = parts(image)
    if len(found) < most:
        framed = frames(image, _MOST_FRAMES)
        found += [box for box in framed if all(overlap(box, part) < _SAME for part in found)]
    return found


def parts(image: NDArray[np.uint8]) -> list[Box]:
    """The parts of an image, RGB uint8 [h, w, 3], that flat borders and separators cut out of it, the largest first.

    Of a large image every so many pixels are looked at, so a part may be some pixels off.
    """
    height, width = image.shape[:2]
    step, seen = sampled(image)
    rows, columns = seen.shape[:2]
    least = max(2, round(columns * _GAP)), max(2, round(rows * _GAP))
    cut = (scaled(box, step, image) for box in _cut(seen, (0, 0, columns, rows), least, _DEPTH))
    found = [
        box
        for box in cut
        if box[2] - box[0] >= _LEAST_SIDE * width
        and box[3] - box[1] >= _LEAST_SIDE * height
        and _LEAST_AREA <= _area(box) / (width * height) <= _MOST_AREA
    ]
    return sorted(found, key=lambda box: (-_area(box), box))


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _cut(image: NDArray[np.uint8], box: Box, least: tuple[int, int], depth: int) -> Iterator[Box]:
    """The boxes inside `box` that no flat line goes through; `least` is how wide a separator is, across and down."""
    left, top, right, bottom = box
    inside = image[top:bottom, left:right]
    # Rows and columns by turns: a border of one kind may be flat only once that of the other is away.
    rows = _runs(_is_flat(inside, axis=1), least[1])
    if not rows:
        return
    if len(rows) == 1:
        columns = _runs(_is_flat(inside[rows[0][0] : rows[0][1]], axis=0), least[0])
        pieces = [(left + start, top + rows[0][0], left + stop, top + rows[0][1]) for start, stop in columns]
    else:
        pieces = [(left, top + start, right, top + stop) for start, stop in rows]
    if pieces == [box] or not depth:
        yield from pieces
        return
    for piece in pieces:
        yield from _cut(image, piece, least, depth - 1)


def _is_flat(inside: NDArray[np.uint8], axis: int) -> NDArray[np.bool_]:
    """Which rows (axis 1) or columns (axis 0) have one colour."""
    flat: NDArray[np.bool_] = inside.std(axis=axis, dtype=np.float32).max(axis=1) <= _FLAT
    return flat


def _runs(flat: NDArray[np.bool_], least: int) -> list[tuple[int, int]]:
    """The lines [start, stop) between flat separators of at least `least` lines; flat borders are left out, however
    thin."""
    shown = np.flatnonzero(~flat)
    if not len(shown):
        return []
    breaks = np.flatnonzero(np.diff(shown) > least)
    starts = [shown[0], *shown[breaks + 1]]
    stops = [*(shown[breaks] + 1), shown[-1] + 1]
    return [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)]
