"""Compare two embeddings of the same images: of which altered copies each finds the original first."""

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 2.0


def found_first(
    images: NDArray[np.float32], copies: NDArray[np.float32], originals: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Of which copies, unit vectors [m, d], the original `originals` [m] is the nearest of `images` [n, d]: bool [m].

    An image that is as near as the original counts as before it. A copy without a direction, NaN, finds nothing.
    """
    with np.errstate(invalid="ignore"):
        similarities = copies @ images.T
    own = similarities[np.arange(len(copies)), originals]
    others = similarities.copy()
    others[np.arange(len(copies)), originals] = -np.inf
    found: NDArray[np.bool_] = own > others.max(axis=1)
    return found


def is_better(fused: NDArray[np.bool_], plain: NDArray[np.bool_]) -> bool:
    """Whether `fused` finds more than `plain` does, of the same copies, by more than chance.

    Only those tell the two apart that one of them alone finds. Were both as good, either would find about as many of
    these, and the difference would have the root of their number as its standard deviation. It has to be twice that.
    """
    gained, lost = int((fused & ~plain).sum()), int((plain & ~fused).sum())
    return bool(gained - lost > _DEVIATIONS * (gained + lost) ** 0.5)
