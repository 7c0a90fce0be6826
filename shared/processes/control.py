"""Let a task control the stage that it runs: whether to continue, whether to commit, and where progress goes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Progress = TypeVar("Progress", contravariant=True)


class Stopped(Exception):
    """The worker was told to stop, or lost its lease; what is committed stays, the rest is for another worker."""


@dataclass(frozen=True, slots=True)
class Control(Generic[Progress]):
    """`keep_going` is asked between batches, `may_commit` before anything is written, `report` gets the progress."""

    keep_going: Callable[[], bool]
    may_commit: Callable[[], bool]
    report: Callable[[Progress], None]

    def require_going(self) -> None:
        """Raises Stopped when the stage is to stop."""
        if not self.keep_going():
            raise Stopped

    def require_commit(self) -> None:
        """Raises Stopped when what would be written belongs to another worker by now."""
        if not self.may_commit():
            raise Stopped
