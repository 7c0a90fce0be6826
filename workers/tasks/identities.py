"""Cache the identities of the jobs that this process serves, and read them again when a manifest may have changed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StoreError
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest

# A query must not wait for a store each time: an identity that was read a moment ago is trusted.
_STORE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Known:
    identity: str
    stamp: object
    looked: float


class Identities:
    """Reads a manifest once, on a disk as long as job.json is the same file; several threads may ask at once.

    A job in a store is looked at again after two seconds; if the store does not answer then, the old identity stays.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Path, _Known] = {}
        self._lock = threading.Lock()

    def of(self, job: JobDir) -> str:
        """The identity of `job`. Raises JobNotFound if there is no job, and as `load_manifest` does."""
        with self._lock:
            known = self._known.get(job.path)
        now = self._clock()
        if job.in_store and known is not None and now - known.looked < _STORE_SECONDS:
            return known.identity
        # The stamp comes before the manifest: if that is replaced meanwhile, the next question reads the new one.
        stamp = None if job.in_store else _stamp(job)
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


def _stamp(job: JobDir) -> object:
    """A value that changes when job.json is replaced; None if there is none."""
    try:
        status = job.spec.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
