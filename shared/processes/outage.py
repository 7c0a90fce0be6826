"""Log an outage in two lines: one when something begins to fail, one when it works again, however long that takes."""

import logging
import threading
import time


class Outage:
    """Whether one thing fails now, logged once at each change; several threads may report the same one.

    `what` begins the sentence, as in "clothes partition 3: its lease could not be renewed".
    """

    def __init__(self, log: logging.Logger, what: str, meanwhile: str = "trying again until it can be done") -> None:
        self._log = log
        self._what = what
        self._meanwhile = meanwhile
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def began(self, why: object) -> None:
        """It failed; logs that unless it is known."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        self._log.warning("%s (%s); %s.", self._what, why, self._meanwhile)

    def over(self) -> None:
        """It worked; logs that if it had failed before."""
        with self._lock:
            if self._since is None:
                return
            seconds, self._since = time.monotonic() - self._since, None
        self._log.warning("%s for %.0f s; that is over.", self._what, seconds)
