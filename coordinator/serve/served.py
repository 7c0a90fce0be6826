"""The jobs that a server serves: one, or all below a jobs root."""

import threading
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from cachetools import LRUCache

from coordinator.serve.problems import Refused
from shared.errors import JobError, JobNotFound, StoreError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings
from shared.storage import files

_KEPT_OPEN: Final = 32


@dataclass(frozen=True, slots=True)
class _Known:
    job: OpenJob
    stamp: object
    looked: float


class Served:
    """Opens jobs by their ids, and nothing that is elsewhere; several threads may ask at once."""

    def __init__(self, settings: Settings, job: JobDir | None = None) -> None:
        """With a `job` that one alone is served, otherwise those below the `jobs_root` of the settings."""
        self._settings, self._only = settings, job
        self._known: LRUCache[str, _Known] = LRUCache(_KEPT_OPEN)
        self._lock = threading.Lock()

    def ids(self) -> list[str]:
        """The ids of the jobs that are there, in order."""
        if self._only is not None:
            return [self._only.job_id] if self._only.spec.is_file() else []
        assert self._settings.jobs_root is not None
        return sorted(name for name in files.directories_in(self._settings.jobs_root) if self._is_job(name))

    def open(self, job_id: str) -> OpenJob:
        """The job of an id as it is now. Raises Refused with 404 where there is none, and as `open_job` does."""
        job = self._place(job_id)
        where = JobFiles.of(job, self._settings)
        now = time.monotonic()
        with self._lock:
            known = self._known.get(job_id)
        if known is not None and now - known.looked < where.believed_seconds:
            return known.job
        try:
            # The stamp comes before the manifest: if that is replaced meanwhile, the next request reads the new one.
            stamp = where.stamp(job.spec)
            renewed = known is not None and stamp is not None and known.stamp == stamp
            opened = known.job.renewed() if known is not None and renewed else open_job(job)
        except JobNotFound:
            raise _unknown(job_id) from None
        except StoreError as error:
            if known is None or error.refused:
                raise
            return known.job
        with self._lock:
            self._known[job_id] = _Known(opened, stamp, now)
        return opened

    def _place(self, job_id: str) -> JobDir:
        if self._only is not None:
            if job_id != self._only.job_id:
                raise _unknown(job_id)
            return self._only
        assert self._settings.jobs_root is not None
        try:
            return JobDir.under(self._settings.jobs_root, job_id)
        except JobError:  # It can't name a job, or leads out of the jobs root.
            raise _unknown(job_id) from None

    def _is_job(self, name: str) -> bool:
        try:
            return self._place(name).spec.is_file()
        except (Refused, OSError):
            return False


def path_of(job_id: str) -> str:
    """The path of a job in the API."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _unknown(job_id: str) -> Refused:
    return Refused(404, f"This server has no job {job_id[:80]!r}; GET /v1/jobs lists those that it has.")
