"""Compare candidates with a query in the order of their similarity, side by side, until it is enough or time is up."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from shared.errors import LookalikeError
from shared.messages.search import Hit
from shared.messages.verified import ALL, ENOUGH, PROVEN, SECONDS, Verified

AFTER_PROVEN: Final = 3
"""So many candidates in a row that are not proven end it, once some are: copies are each other's neighbours."""
LONG_AFTER: Final = 16
"""As `AFTER_PROVEN`, where all copies are wanted: the first of each of six views and their like are among so many."""

Judge: TypeAlias = Callable[[Hit], Hit]
"""Gives a candidate its verdict. Raises a LookalikeError or an OSError where its image can't be compared."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What verifying may take: `seconds`, and how many candidates are compared at once, `side_by_side`.

    It ends once some candidates are proven and the next `after` of them are not.
    """

    seconds: float
    side_by_side: int
    after: int


def verify_candidates(
    candidates: Sequence[Hit], judge: Judge, threads: Executor, bounds: Bounds, began: float | None = None
) -> tuple[Mapping[int, Hit], Verified]:
    """The candidates that were compared, with their verdicts, by image id; and what was compared.

    What is compared does not depend on which comparison is done first, as long as there is time: `began` is when that
    began to run, by the monotonic clock, and is now unless given.
    """
    until = (monotonic() if began is None else began) + bounds.seconds
    waiting: deque[tuple[Hit, Future[Hit]]] = deque()
    left = iter(candidates)
    judged: dict[int, Hit] = {}
    unread, why, ended, behind = 0, None, ALL, 0
    try:
        while True:
            while len(waiting) < bounds.side_by_side and (one := next(left, None)) is not None:
                waiting.append((one, threads.submit(judge, one)))
            if not waiting:
                break
            hit, future = waiting.popleft()
            if not wait([future], max(0.0, until - monotonic())).done:
                ended = SECONDS
                break
            try:
                judged[hit.id] = future.result()
            except (LookalikeError, OSError) as error:
                unread, why = unread + 1, why or str(error)
                continue
            proven = judged[hit.id].verdict in PROVEN
            behind = 0 if proven else behind + 1
            if behind >= bounds.after and any(one.verdict in PROVEN for one in judged.values()):
                ended = ENOUGH if waiting or next(left, None) is not None else ALL
                break
    finally:
        for _, future in waiting:
            future.cancel()
    return judged, Verified(len(candidates), len(judged), unread, why, ended)
