"""Ask millions of pairs whether they are the same pixels: one product of matrices leaves out those that can't be."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workers.images.encode import Image
from workers.verify.features import LocalFeatures
from workers.verify.pixels import LEAST_CORRELATED, coarse_square, same_pixels

Squares = npt.NDArray[np.float32]

_BLOCK: Final = 64
_ROUNDING: Final = 1e-3
"""Sums of 4,096 products in another order differ by less: a pair at the very limit is asked and not left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """An image that is compared with every stored one but `own`, by its name and its pixels (RGB uint8 [h, w, 3])."""

    name: str
    pixels: Image
    own: int


def squares(images: Iterable[Image | LocalFeatures]) -> Squares:
    """What `same_pixels` correlates first of each image, float32 [n, side, side]."""
    return np.stack([coarse_square(image) for image in images])


def may_be(asked: Squares, stored: Squares) -> Iterator[tuple[int, int]]:
    """The pairs of rows that `same_pixels` may call the same, in any of the eight ways to turn and mirror one of them.

    No other pair can be: the first thing it asks is this correlation.
    """
    rows = stored.reshape(len(stored), -1)
    for start in range(0, len(asked), _BLOCK):
        ways = laid(asked[start : start + _BLOCK])
        best = np.max([way @ rows.T for way in ways], axis=0)
        for first, second in np.argwhere(best >= least(rows.shape[1])).tolist():
            yield start + first, second


def laid(squares: Squares) -> Squares:
    """Squares [n, side, side] turned and mirrored in all eight ways, float32 [8, n, side * side]."""
    ways = [np.rot90(some, turns, axes=(1, 2)) for some in (squares, squares[:, :, ::-1]) for turns in range(4)]
    return np.stack([way.reshape(len(squares), -1) for way in ways])


def least(dims: int) -> float:
    """The product of two squares of `dims` values each that the same pixels reach."""
    return dims * (LEAST_CORRELATED - _ROUNDING)


def false_among(
    asked: Iterable[Asked], stored: Sequence[LocalFeatures], names: Sequence[str], *, half: bool
) -> dict[str, Any]:
    """Which of all pairs of an asked image and a stored one, but its own, are called the same pixels.

    `half` says that the asked images are the stored ones in their order: each pair of them is asked once.
    """
    theirs = squares(stored)
    pairs, compared, wrong = 0, 0, []
    for block in _blocks(asked):
        pairs += sum(len(stored) - 1 - (one.own if half else 0) for one in block)
        for first, second in may_be(squares(one.pixels for one in block), theirs):
            one = block[first]
            if second == one.own or (half and second < one.own):
                continue
            compared += 1
            if same_pixels(one.pixels, stored[second]) is not None:
                wrong.append({"query": one.name, "stored": names[second]})
    return {"pairs": pairs, "compared": compared, "false": len(wrong), "wrong": wrong}


def _blocks(asked: Iterable[Asked]) -> Iterator[list[Asked]]:
    every = iter(asked)
    while block := list(islice(every, _BLOCK)):
        yield block
