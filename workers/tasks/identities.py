"""Cache the identities of the jobs that this process serves, and read them again when a manifest may have changed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StoreError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.manifest import load_manifest
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class _Known:
    identity: str
    stamp: object
    looked: float


class Identities:
    """Reads a manifest once, on a disk as long as job.json is the same file; several threads may ask at once.

    A job in a store is looked at again after two seconds; if the store does not answer then, the old identity stays.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._known: dict[Path, _Known] = {}
        self._lock = threading.Lock()

    def of(self, job: JobDir) -> str:
        """The identity of `job`. Raises JobNotFound if there is no job, and as `load_manifest` does."""
        with self._lock:
            known = self._known.get(job.path)
        now, files = self._clock(), JobFiles.of(job, self._settings)
        if known is not None and now - known.looked < files.believed_seconds:
            return known.identity
        # The stamp comes before the manifest: if that is replaced meanwhile, the next question reads the new one.
        stamp = files.stamp(job.spec)
        if stamp is not None and known is not None and known.stamp == stamp:
            return known.identity
        try:
            identity = load_manifest(job).identity
        except StoreError as error:
            if known is None or error.refused:
                raise
            identity = known.identity
        with self._lock:
            self._known[job.path] = _Known(identity, stamp, now)
        return identity
