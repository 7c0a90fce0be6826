"""Keep the search for neighbours of one job open from one partition to the next: opening it reads all embeddings."""

import threading
from typing import Final

from shared.job.index import builds
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.settings import Settings
from workers.duplicates.neighbours import NeighbourSearch

IDLE_SECONDS: Final = 60.0
"""How long an index that nobody asks stays in memory."""


class KeptOpen:
    """The search of the job that was asked last, until another is, its index or its images change, or none is."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._open: tuple[object, NeighbourSearch] | None = None
        self._timer: threading.Timer | None = None

    def of(self, job: OpenJob, settings: Settings) -> NeighbourSearch:
        """The search of a job as it is now; raises as `NeighbourSearch.open`."""
        key = job.path, builds.current_build(job), job.state.number, builds.ledger_digest(ledger.sealed(job))
        with self._lock:
            self._stop()
            if self._open is None or self._open[0] != key:
                self._open = None  # Two do not fit into memory at once.
                self._open = key, NeighbourSearch.open(job, JobFiles.of(job, settings))
            return self._open[1]

    def rest(self) -> None:
        """Let the search go if it is not asked for in the next minute."""
        with self._lock:
            self._stop()
            self._timer = threading.Timer(self._idle_seconds, self.release)
            self._timer.daemon = True
            self._timer.start()

    def release(self) -> None:
        """Let the search go."""
        with self._lock:
            self._stop()
            self._open = None

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
