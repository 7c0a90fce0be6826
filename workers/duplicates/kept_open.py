"""Keep open what a search for duplicates works with, of one job, from one task to the next: opening it takes long."""

import threading
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Opened = TypeVar("Opened")

IDLE_SECONDS: Final = 60.0
"""How long what no task asks for stays in memory."""


class KeptOpen(Generic[Opened]):
    """What was opened last, until something else is, or no task asks for it."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._open: tuple[Hashable, Opened] | None = None
        self._timer: threading.Timer | None = None

    def of(self, key: Hashable, open_: Callable[[], Opened]) -> Opened:
        """What was opened under this key; it is opened by `open_` unless it was the last, and raises what that does."""
        with self._lock:
            self._stop()
            if self._open is None or self._open[0] != key:
                self._open = None  # Two may not fit into memory at once.
                self._open = key, open_()
            return self._open[1]

    def rest(self) -> None:
        """Let it go if it is not asked for in the next minute."""
        with self._lock:
            self._stop()
            self._timer = threading.Timer(self._idle_seconds, self.release)
            self._timer.daemon = True
            self._timer.start()

    def release(self) -> None:
        """Let it go."""
        with self._lock:
            self._stop()
            self._open = None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
