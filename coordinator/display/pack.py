"""Show how far a pack is: the counts of its process, the rate of the last minute, the time left."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.text import duration, size

_RATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PackProgress:
    """Images by state, bytes of those packed, whole tars; rates and seconds left, None while they are not known."""

    listed: int
    packed: int
    failed: int
    bytes: int
    tars: int
    images_per_second: float | None = None
    bytes_per_second: float | None = None

    @property
    def done(self) -> int:
        return self.packed + self.failed

    @property
    def eta_seconds(self) -> float | None:
        return (self.listed - self.done) / self.images_per_second if self.images_per_second else None

    @property
    def detail(self) -> str:
        """The bytes and tars, the rates and the time left, as far as they are known."""
        tars = f"{size(self.bytes)}, {self.tars:,} {'tar' if self.tars == 1 else 'tars'} whole"
        if self.images_per_second is None or self.bytes_per_second is None or self.eta_seconds is None:
            return tars
        rate = f"{self.images_per_second:,.0f} img/s, {size(round(self.bytes_per_second))}/s"
        return f"{tars} · {rate} · {duration(self.eta_seconds)} left"

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.done:,}/{self.listed:,} images · {self.failed:,} failed · {self.detail}"


@dataclass(slots=True)
class PackPace:
    """Turn the counts of a pack, as they come, into its progress."""

    listed: int
    now: Callable[[], float] = time.monotonic
    _past: deque[tuple[float, PackProgress]] = field(default_factory=deque)

    def told(self, packed: int, failed: int, bytes: int, tars: int) -> PackProgress:
        """The progress at this moment, with the rates since the oldest count of the last minute."""
        moment = self.now()
        plain = PackProgress(self.listed, packed, failed, bytes, tars)
        while len(self._past) > 1 and moment - self._past[0][0] > _RATE_SECONDS:
            self._past.popleft()
        before, then = self._past[0] if self._past else (moment, plain)
        self._past.append((moment, plain))
        seconds = moment - before
        if seconds <= 0 or plain.done == then.done:
            return plain
        images, size = (plain.done - then.done) / seconds, (plain.bytes - then.bytes) / seconds
        return PackProgress(self.listed, packed, failed, bytes, tars, images, size)
