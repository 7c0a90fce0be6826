"""Compare candidates with a query, the likeliest first and side by side, until it is enough or time is up."""

from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeAlias

from shared.errors import LookalikeError
from shared.messages.search import Hit
from shared.messages.verified import ALL, ENOUGH, PROVEN, SECONDS, Verified
from workers.search.cascade.views import Alike, Likely

AFTER_PROVEN: Final = 3
"""So many candidates in a row that are not proven end it, once some are: copies are each other's neighbours."""
LONG_AFTER: Final = 8
"""As `AFTER_PROVEN`, where all copies are wanted: strangers may be nearer than some of them."""

Judge: TypeAlias = Callable[[Hit], Hit]
"""Gives a candidate its verdict. Raises a LookalikeError or an OSError where its image can't be compared."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What verifying may take: `seconds`, and how many candidates are begun before the next one is known, side by side.

    It ends once some candidates are proven and the next `after` of them are not.
    """

    seconds: float
    side_by_side: int
    after: int


def verify_candidates(
    candidates: Sequence[Hit],
    judge: Judge,
    threads: Executor,
    bounds: Bounds,
    alike: Alike,
    began: float | None = None,
) -> tuple[Mapping[int, Hit], Set[int], Verified]:
    """The candidates that were compared, with their verdicts, by image id; the ids of those that could not be; and what
    is to be said of them.

    They are compared in their order until one is proven, and then as `Likely` says. Which are compared does not depend
    on which comparison is done first, nor on how many are done side by side, as long as there is time: `began` is when
    that began to run, by the monotonic clock, and is now unless given. Raises what `alike` raises.
    """
    until = (monotonic() if began is None else began) + bounds.seconds
    likely = Likely(candidates, alike)
    begun: dict[int, Future[Hit]] = {}
    judged: dict[int, Hit] = {}
    unread: set[int] = set()
    why, ended, behind, is_any = None, ALL, 0, False
    try:
        while likely.left:
            seconds = until - monotonic()
            # What comes behind the next is a guess: a proof puts others before it.
            for hit in likely.left[: bounds.side_by_side] if seconds > 0 else ():
                if hit.id not in begun:
                    begun[hit.id] = threads.submit(judge, hit)
            hit = likely.left[0]
            if hit.id not in begun or not wait([begun[hit.id]], max(0.0, seconds)).done:
                ended = SECONDS
                break
            likely.left.pop(0)
            try:
                judged[hit.id] = begun.pop(hit.id).result()
            except (LookalikeError, OSError) as error:
                unread.add(hit.id)
                why = why or str(error)
                continue
            if judged[hit.id].verdict in PROVEN:
                is_any, behind = True, 0
                if likely.left:
                    likely.proven(hit)
                    _put_back(begun, likely.left[: bounds.side_by_side])
                continue
            behind += 1
            if is_any and behind >= bounds.after:
                ended = ENOUGH if likely.left else ALL
                break
    finally:
        for future in begun.values():
            future.cancel()
    return judged, unread, Verified(len(likely), len(judged), len(unread), why, ended)


def _put_back(begun: dict[int, Future[Hit]], ahead: Sequence[Hit]) -> None:
    """Take back what waits for a thread and is not among the next ones any more."""
    for image in begun.keys() - {hit.id for hit in ahead}:
        if begun[image].cancel():
            del begun[image]
