"""The figures of one embedding: where the originals of altered copies come, and how far they stand out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from workers.search.cascade.nearness import RANKS, STANDS_OUT, near

FALSE: Final = 0.001
"""The share of queries of absent photographs that may be recognised as one that is there."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ranked:
    """What comes of queries: `ranks` of their originals, from 1; the `own` similarity of each; that of `others` [q, k],
    the nearest first.
    """

    ranks: NDArray[np.intp]
    own: Vectors
    others: Vectors


def ranked(photos: Vectors, queries: Vectors, originals: NDArray[np.intp]) -> Ranked:
    """Compare unit vectors of `queries` [q, d] with those of all `photos` [n, d]; `originals` [q] are places in them.

    A photograph that is as near as the original counts as before it.
    """
    similarities = queries @ photos.T
    rows = np.arange(len(queries))
    own = similarities[rows, originals].copy()
    similarities[rows, originals] = -np.inf
    others = -np.sort(-similarities, axis=1)[:, :RANKS]
    return Ranked(1 + (similarities >= own[:, None]).sum(axis=1), own, others)


def figures(found: Ranked, kinds: Sequence[str], stands_out: float = STANDS_OUT) -> dict[str, Any]:
    """R@1 and R@10 of all queries, R@1 of each kind; and what a threshold, and the doubt of `auto`, would recognise.

    The threshold is the one that `FALSE` of the queries pass with another photograph. `compared` is the share of
    originals that `--verify auto` compares, of images that stand out by `stands_out` (cosine), and `compared_absent`
    that of queries which it compares with anything, if their original is absent.
    """
    names = np.array(kinds)
    threshold = float(np.quantile(found.others[:, 0], 1 - FALSE, method="higher"))
    compared = [
        rank <= near(sorted([own, *others.tolist()], reverse=True)[:RANKS], stands_out)
        for rank, own, others in zip(found.ranks.tolist(), found.own.tolist(), found.others, strict=True)
    ]
    absent = [near(others.tolist(), stands_out) > 0 for others in found.others]
    return {
        "r_at_1": _share(found.ranks <= 1),
        "r_at_10": _share(found.ranks <= 10),
        "recognised": _share((found.ranks <= 1) & (found.own > threshold)),
        "stands_out": stands_out,
        "threshold": round(threshold, 4),
        "compared": _share(np.array(compared)),
        "compared_absent": _share(np.array(absent)),
        "kinds": {kind: _share(found.ranks[names == kind] <= 1) for kind in dict.fromkeys(kinds)},
    }


def _share(which: NDArray[np.bool_]) -> float:
    return round(float(which.mean()), 4)
