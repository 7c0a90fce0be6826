"""Decide which candidates are near enough to a query that they may show its picture (pure)."""

from collections.abc import Sequence
from typing import Final

from shared.models import ModelSpec

# No similarity tells a copy from another picture in every collection: the nearest other picture is at .42 in one, and
# at .87 in another. How far a candidate stands out from the ranks behind the first ones says more. Where many copies
# fill those ranks none of them stands out, but all are as near as only copies are.
_BEHIND: Final = slice(4, 20)
STANDS_OUT: Final = 0.10
FUSED_STANDS_OUT: Final = 0.20
"""As `STANDS_OUT`, of embeddings that fusion has whitened: strangers are farther apart there, and as many stand out."""
COPIES: Final = 0.90
RANKS: Final = 20
"""How many of the nearest images have to be known."""


def bound_of(model: ModelSpec) -> float:
    """By how much an image has to stand out, of the embeddings of a job's model."""
    return STANDS_OUT if model.fusion is None else FUSED_STANDS_OUT


def near(similarities: Sequence[float], stands_out: float = STANDS_OUT, copies: float = COPIES) -> int:
    """How many of the nearest images are near enough for doubt, by the similarities of the nearest, which fall.

    Those are that stand out from the ranks behind by `stands_out`, or are as similar as `copies`. Of fewer than five
    images nothing is known of the ranks behind, and all of them are.
    """
    behind = similarities[_BEHIND]
    if not behind:
        return len(similarities)
    level = sum(behind) / len(behind)
    return sum(one >= copies or one - level >= stands_out for one in similarities)
