"""Add up the time that each thread spends on reading, decoding, the model and writing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.processes.load import STAGES, StageLoad

# What the embedding waits for: the next image, the model, and the commit before.
_READING, _MODEL, _WRITING = "waited for read", "waited for model", "waited for write"
# "Now" is what happened in the last 5 to 10 seconds: long enough to hold some batches of the largest models.
_RECENT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment, and the seconds by stage until then."""

    at: float
    spent: dict[str, float]


class StageClock:
    """Seconds by stage, from any thread. The embedding itself runs in one, which is held up by one stage at a time."""

    def __init__(self, threads: int, now: Callable[[], float] = time.monotonic) -> None:
        """`threads` is how many threads read and decode."""
        self._shares = {"read": threads, "decode": threads}
        self._now = now
        self._lock = threading.Lock()
        self._spent: dict[str, float] = dict.fromkeys((*STAGES, _READING, _MODEL, _WRITING), 0.0)
        self._marks = [self.mark(), self.mark()]

    def mark(self) -> Mark:
        """This moment, for `since`."""
        with self._lock:
            return Mark(self._now(), self._spent.copy())

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._spent[stage] += seconds

    @contextmanager
    def at_work(self, stage: str) -> Iterator[None]:
        """Count the block as work of `stage`."""
        began = self._now()
        try:
            yield
        finally:
            self.add(stage, self._now() - began)

    @contextmanager
    def waiting_for(self, stage: str) -> Iterator[None]:
        """Count the block as time in which the embedding waited for `stage`: read (the next image), model or write."""
        with self.at_work(f"waited for {stage}"):
            yield

    def since(self, mark: Mark) -> StageLoad:
        """The load from `mark` to this moment."""
        now = self.mark()
        seconds = max(now.at - mark.at, 1e-9)
        spent = {what: now.spent[what] - mark.spent[what] for what in now.spent}
        # If images came late, the cause is the stage of the two on which their threads spent more time.
        images = spent[_READING] / seconds
        reading = spent["read"] / ((spent["read"] + spent["decode"]) or 1)
        return StageLoad(
            {stage: min(1.0, spent[stage] / seconds / self._shares.get(stage, 1)) for stage in STAGES},
            {
                "read": images * reading,
                "decode": images * (1 - reading),
                "model": spent[_MODEL] / seconds,
                "write": spent[_WRITING] / seconds,
            },
        )

    def recent(self) -> StageLoad:
        """The load of the last seconds."""
        if self._now() - self._marks[1].at > _RECENT_SECONDS:
            self._marks = [self._marks[1], self.mark()]
        return self.since(self._marks[0])
