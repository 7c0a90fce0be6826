"""Whether a job or a pack that is there already was begun from the same source, and with the same options."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.sources.choosing import Choice, choice_of
from coordinator.sources.listing import Listing, PathDigest
from shared.errors import LookalikeError
from shared.errors.remedy import Remedy, left_out
from shared.job.manifest import Source


@dataclass(frozen=True, slots=True)
class Begun:
    """A job or a pack that is there already, as the errors say it that refuse to continue with it.

    `made` and `of` stand between `path` and its source: "was made", "from". `another` is what to do instead: "name
    another JOB". `source` is what it was begun from, with `listed` images; `moved_to` is where that is now, if it
    moved, and `moves` what to do if it did.
    """

    path: str
    made: str
    of: str
    another: str
    error: type[LookalikeError]
    source: Source
    listed: int
    moved_to: str | None = None
    moves: Remedy | None = None
    adds: Remedy | None = None

    def require_source(self, given: Listing) -> None:
        """Raise `error` unless `given` is the source that this was begun from, naming both.

        That is one of the same kind at the same place; what changes in place is listed, and compared path by path.
        """
        made = self.source
        same_kind = given.kind == made.kind
        if not same_kind or (not given.changes_in_place and given.location != (self.moved_to or made.location)):
            moved = "" if self.moved_to is None else f", which moved to {self.moved_to}"
            raise self.error(
                f"{self.path} {self.made} {self.of} the {made.kind} {made.location}{moved}, not {self.of} the "
                f"{given.kind} {given.location}: {self.another} for another source.",
                remedy=self.moves if same_kind else self.adds,
            )
        if given.changes_in_place:  # Reading again is quick, and it may have changed under the same name.
            now = PathDigest()
            for _ in now.feed(given):
                pass
            if now.hexdigest() != made.digest:
                raise self.error(
                    f"{self.path} {self.made} {self.of} a {made.kind} of {self.listed:,} paths ({made.location}), and "
                    f"the one given now differs from it ({now.count:,} paths): give the same list, or {self.another}."
                )

    def stays(self, option: str, found: str) -> LookalikeError:
        """The error of an option that is asked to be another one than this was begun with, as `found` says."""
        return self.error(found, remedy=left_out(option, self.another))


def is_other(asked: object, begun: object) -> bool:
    """Whether an option is asked to be another one than it was begun with; None asks for nothing."""
    return asked is not None and asked != begun


def chosen(choice: Choice, source: Source) -> Iterator[tuple[str, Any, Any]]:
    """The options of a choice: the name, what `choice` asks for, and what `source` was begun with."""
    begun = choice_of(source)
    yield "exclude", choice.exclude or None, begun.exclude
    yield "include", choice.include or None, begun.include
    yield "sniff", choice.sniff or None, begun.sniff


def patterns_text(option: str, patterns: Sequence[str]) -> str:
    """An option that is given once for each pattern, as it is typed; "" for none."""
    return " ".join(f"{option} {shlex.quote(pattern)}" for pattern in patterns)
