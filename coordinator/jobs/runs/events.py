"""The events of a run: what is happening, what is to be kept, each look at the workers, and the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coordinator.jobs.progress import Progress
from coordinator.jobs.reconcile import Look
from shared.errors import LookalikeError

STOPPING = "Stopping; the batch under way ends first …"


@dataclass(frozen=True, slots=True)
class Step:
    """One look at the workers: what was found, and sentences about those that died, or errors that they complain of."""

    look: Look
    notices: Sequence[str | LookalikeError]


@dataclass(frozen=True, slots=True)
class Doing:
    """What goes on now, to be shown until something else does."""

    what: str


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence to keep."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The index covers the job."""

    progress: Progress


Event = Doing | Said | Step | Finished
"""What is told of a run, in the order in which it happens."""

Tell = Callable[[Event], None]
"""Called with each event, in the thread of the run. What it raises ends the run, as KeyboardInterrupt does."""
