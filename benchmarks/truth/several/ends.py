"""Let the product compare candidates whose verdicts are known, and count what it finds until it ends."""

import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.messages.search import Hit
from shared.messages.verdicts import SAME_PICTURE, SIMILAR
from shared.messages.verified import PROVEN
from workers.search.cascade.verification import Bounds, verify_candidates

Floats = npt.NDArray[np.float32]

AS_GIVEN: Final = "as the query has them"
BY_PROVEN: Final = "half by what is proven"
COPIES: Final = "copies"
AUTO: Final = "auto"
COLLAGES: Final = "collages"
ALONE: Final = "alone"
ENDS: Final = (3, 6, 8, 10, 16)
"""After how many candidates in a row that are not proven it ends, once some are."""

_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """The places of what one query is compared with, the likeliest first, and which of these are proven."""

    places: Sequence[int]
    proven: frozenset[int]


def compared(one: Candidates, after: int, threads: Executor, vectors: Floats | None) -> tuple[int, int]:
    """How many candidates are compared, and how many of them are proven, as the product ends after `after`.

    With `vectors`, float32 [n, d] by place, those that are like the proven ones come next; without, the order stays.
    """
    hits = [Hit(rank, place, "", 0.0) for rank, place in enumerate(one.places, start=1)]

    def judge(hit: Hit) -> Hit:
        return replace(hit, verdict=SAME_PICTURE if hit.id in one.proven else SIMILAR)

    def alike(hit: Hit, others: Sequence[Hit]) -> Sequence[float]:
        if vectors is None:
            return [0.0] * len(others)
        found: list[float] = (vectors[[other.id for other in others]] @ vectors[hit.id]).tolist()
        return found

    judged, *_ = verify_candidates(hits, judge, threads, Bounds(_SECONDS, 1, after), alike)
    return len(judged), sum(hit.verdict in PROVEN for hit in judged.values())


def figures(asked: Mapping[str, Sequence[Candidates]], vectors: Floats, threads: Executor) -> list[dict[str, Any]]:
    """A row for each order and end: of each kind of query the share of what can be proven that is `found`, and how many
    are `compared` by those of which something is proven."""
    rows: list[dict[str, Any]] = []
    for order, by in ((AS_GIVEN, None), (BY_PROVEN, vectors)):
        for after in ENDS:
            found: dict[str, float] = {}
            counts: dict[str, float] = {}
            for kind, each in asked.items():
                ended = [compared(one, after, threads, by) for one in each]
                provable = sum(len(one.proven) for one in each)
                found[kind] = round(sum(proven for _, proven in ended) / max(provable, 1), 4)
                some = [count for count, proven in ended if proven]
                counts[kind] = round(statistics.fmean(some), 1) if some else 0.0
            rows.append({"order": order, "after": after, "found": found, "compared": counts})
    return rows
