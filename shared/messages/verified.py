"""How the hits of a search are verified: what is asked for, what was compared for an answer, and which hit is best."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from shared.errors import MessageError, QueryError
from shared.messages.tasks import checked_integer
from shared.messages.verdicts import SAME_BYTES, SAME_PICTURE, SAME_PIXELS, Evidence

NEVER, AUTO, ALWAYS = "never", "auto", "always"
VERIFY: Final = (AUTO, ALWAYS, NEVER)
"""Whether the picture of a query is compared with those of its candidates; auto: where one is near enough for doubt."""
MAX_VIEWS: Final = 16
"""The most views of a query image that are searched for."""
PROVEN: Final = (SAME_BYTES, SAME_PIXELS, SAME_PICTURE)
"""The verdicts that say that a hit shows the query's picture, the strongest first."""

# Why no more candidates of an answer were compared.
ALL: Final = "all"
"""There are no more within the bound."""
ENOUGH: Final = "enough"
"""Some are proven, and those that were compared next were not."""
FAR: Final = "far"
"""The others are not near enough for doubt."""
SECONDS: Final = "seconds"
"""The time was up."""
_ENDS: Final = (ALL, ENOUGH, FAR, SECONDS)


@dataclass(frozen=True, slots=True)
class Verify:
    """How a search is to be verified: `how` is one of `VERIFY`, and `views` the views of each image to search for."""

    how: str = NEVER
    views: int = 1

    @classmethod
    def of(cls, how: str, views: int) -> Self:
        """What a program asks for; raises QueryError where there is no such thing."""
        if how not in VERIFY:
            raise QueryError(f"verify is {how!r:.80}; expected one of {', '.join(VERIFY)}.")
        if isinstance(views, bool) or not isinstance(views, int) or not 1 <= views <= MAX_VIEWS:
            raise QueryError(f"views is {views!r:.80}; an image is searched for by 1 to {MAX_VIEWS} views.")
        return cls(how, views)

    def to_json(self) -> dict[str, Any]:
        """The fields of a message; none of them for a plain search, so that workers that know none answer it."""
        table: dict[str, Any] = {} if self.how == NEVER else {"verify": self.how}
        return table if self.views == 1 else table | {"views": self.views}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises MessageError for anything but what `to_json` gives among the fields `values` of a message."""
        how = values.get("verify", NEVER)
        if not isinstance(how, str) or how not in VERIFY:
            raise MessageError(f"verify must be one of {', '.join(VERIFY)}, not {how!r:.80}.")
        return cls(how, checked_integer(values.get("views", 1), "views", 1, MAX_VIEWS))


PLAIN: Final = Verify()
"""A search whose hits are not verified, for the whole image alone."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared for an answer whose hits were to be verified.

    Attributes
    ----------
    candidates
        How many images were near enough, or brought to the first hits by a finer model, and within the bound, to be
        compared with the query's picture.
    compared
        How many of them were.
    unread
        How many of them could not be, as their image can't be read or is another one by now.
    why_unread
        A sentence about the first of those; None where there is none.
    ended
        Why no more were compared: "all" of them were, "enough" as some are proven and the next ones were not,
        the others are too "far", or the "seconds" that verifying may take were up.
    reason
        A sentence that says why no verdict could be given at all; None where one could.
    looked_up
        Among how many images those with a near PDQ were looked for, which are candidates however far their embeddings
        are; None where the job stores no PDQs, or they were not looked at.
    nothing
        Whether no hit is nearer to the query than chance: where the picture is in the job, one mostly is.
    chances
        What the chances of similar hits were measured on: "job", its own images, or "published", others; None where no
        hit has one.
    no_chances
        A sentence that says why similar hits have no chance; None where they have, or none is to be given.
    """

    candidates: int = 0
    compared: int = 0
    unread: int = 0
    why_unread: str | None = None
    ended: str = ALL
    reason: str | None = None
    nothing: bool = False
    chances: str | None = None
    no_chances: str | None = None
    looked_up: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every candidate was compared: where none is proven then, the picture is not among them."""
        return self.reason is None and not self.unread and self.ended != SECONDS

    def and_of(self, other: "Verified") -> "Verified":
        """What was compared by this holder of some shards and by another one together."""
        ends = (self.ended, other.ended)
        looked_up = [self.looked_up, other.looked_up]
        return Verified(
            self.candidates + other.candidates,
            self.compared + other.compared,
            self.unread + other.unread,
            self.why_unread or other.why_unread,
            max(ends, key=(ALL, FAR, ENOUGH, SECONDS).index),
            self.reason or other.reason,
            no_chances=self.no_chances or other.no_chances,
            looked_up=None if looked_up == [None, None] else sum(count or 0 for count in looked_up),
        )

    def to_json(self) -> dict[str, Any]:
        table: dict[str, Any] = {"candidates": self.candidates, "compared": self.compared, "ended": self.ended}
        if self.unread:
            table |= {"unread": self.unread, "why_unread": self.why_unread}
        if self.looked_up is not None:
            table["looked_up"] = self.looked_up
        if self.reason is not None:
            table["reason"] = self.reason
        if self.chances is not None:
            table |= {"nothing_above_chance": self.nothing, "chances": self.chances}
        return table if self.no_chances is None else table | {"no_chances": self.no_chances}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises ValueError, TypeError, KeyError or MessageError for anything but what `to_json` gives."""
        candidates, compared, unread = (
            checked_integer(table.get(name, 0), name, 0, 1 << 40) for name in ("candidates", "compared", "unread")
        )
        why, ended, reason = table.get("why_unread"), table["ended"], table.get("reason")
        nothing, chances, none = table.get("nothing_above_chance", False), table.get("chances"), table.get("no_chances")
        texts = all(isinstance(text, str | None) for text in (why, reason, chances, none))
        if ended not in _ENDS or not texts or type(nothing) is not bool:
            raise ValueError(f"verified is {table!r:.200}")
        looked_up = checked_integer(table["looked_up"], "looked_up", 0, 1 << 40) if "looked_up" in table else None
        return cls(candidates, compared, unread, why, ended, reason, nothing, chances, none, looked_up)


class Judged(Protocol):
    """What a hit has that its place among others depends on."""

    @property
    def id(self) -> int: ...
    @property
    def similarity(self) -> float: ...
    @property
    def verdict(self) -> str | None: ...
    @property
    def evidence(self) -> Evidence | None: ...
    @property
    def fused(self) -> float | None: ...


Ranked = TypeVar("Ranked", bound=Judged)


def best_first(hits: Iterable[Ranked]) -> list[Ranked]:
    """Hits in the order of an answer: those that are proven, the strongest verdict first and then the most matching
    points; behind them the others by falling similarity, and where that is equal by image id. Where a finer model
    compared some, those come first, in the order of what both models say.
    """
    return sorted(hits, key=_place)


def _place(hit: Judged) -> tuple[float, float, float, int]:
    if hit.verdict not in PROVEN:
        return (len(PROVEN), hit.fused is None, -(hit.similarity if hit.fused is None else hit.fused), hit.id)
    inliers = math.inf if hit.evidence is None else hit.evidence.inliers
    return (PROVEN.index(hit.verdict), -inliers, -hit.similarity, hit.id)
