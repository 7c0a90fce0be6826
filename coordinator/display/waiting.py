"""Say in one line what a command waits for, once the wait has taken a while and no terminal shows it."""

import threading
from collections.abc import Callable
from typing import Self

SECONDS = 2.0


class Waiting:
    """Use as a context manager around what may take long; `say` gets the current text once, after `SECONDS`.

    A wait that ends earlier says nothing, so the output of a quick command stays as it is.
    """

    def __init__(self, what: str, say: Callable[[str], None], seconds: float = SECONDS) -> None:
        self._what = what
        self._say = say
        self._lock = threading.Lock()
        self._ended = False
        self._timer = threading.Timer(seconds, self._due)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with self._lock:  # A line that is being printed is finished, and none comes after this.
            self._ended = True
            self._timer.cancel()

    def update(self, what: str) -> None:
        """Say `what` from now on."""
        self._what = what

    def _due(self) -> None:
        with self._lock:
            if not self._ended:
                self._say(self._what)


class Lasting(Waiting):
    """As `Waiting`, and says the text of then again every `again` seconds: for what may take hours."""

    def __init__(self, what: str, say: Callable[[str], None], seconds: float = SECONDS, again: float = 10.0) -> None:
        super().__init__(what, say, seconds)
        self._again = again

    def _due(self) -> None:
        super()._due()
        with self._lock:
            if not self._ended:
                self._timer = threading.Timer(self._again, self._due)
                self._timer.daemon = True
                self._timer.start()
