"""Keep searchers open, one for each of the jobs last asked for, and open another when a newer build is promoted."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache

from shared.errors import CorruptFile, NoIndexYet, StoreError
from shared.errors.remedy import Remedy
from shared.job.changes.log import last_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.local.job_files import JobFiles
from shared.job.manifest import maker_of
from shared.job.opened import OpenJob, open_job
from shared.messages.shards import Held
from shared.processes.outage import Outage
from shared.settings import Settings
from workers.search.searcher import Searcher

log = logging.getLogger("lookalike.query")


@dataclass(slots=True)
class _Open:
    """A searcher that is kept open, its job and that one's files, what it was opened by, and when that was looked at.

    `stamp` is of CURRENT and of where the source moved to, `change` of the last change and of what is sealed.
    """

    searcher: Searcher
    job: OpenJob
    files: JobFiles
    stamp: object
    change: object
    looked: float


class SearcherPool:
    """The searchers of the jobs last asked for, at most `open_jobs`; several threads may ask at once.

    A newer promoted build is noticed at the next query, by a stat of CURRENT, a source that moved by one of moved.json,
    and a change of the job by its number; in a store, within two seconds, and one that does not answer leaves what is
    open at work.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held = None if settings.shards is None else Held.parsed(settings.shards)
        self._open: LRUCache[Path, _Open] = LRUCache(settings.open_jobs)
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._outage = Outage(log, "The store of a job that is open does not answer", "searching what was promoted")

    def searcher(self, job: JobDir) -> Searcher:
        """The searcher of a job's promoted build, opened if need be; raises as `opened` does."""
        return self.opened(job)[0]

    def opened(self, job: JobDir) -> tuple[Searcher, OpenJob]:
        """The searcher of a job's promoted build, opened if need be, and the open job.

        Raises JobNotFound when there is no such job, NoIndexYet when it has no promoted build, and what
        `Searcher.open` raises.
        """
        stamp, change = self._stamp(job)
        if (found := self._lookup(job, stamp, change)) is not None:
            return found.searcher, found.job
        # Opening takes seconds; queries to the jobs that are open already continue meanwhile.
        with self._opening:
            if (found := self._lookup(job, stamp, change)) is not None:
                return found.searcher, found.job
            with self._lock:
                known = self._open.get(job.path)
            if known is not None and known.stamp == stamp:  # The same build of a job that was changed.
                former, files = known.searcher, known.files
            else:
                former, files = None, JobFiles.of(job, self._settings)
            build = builds.current_build(job)
            if build is None:
                raise _no_index(job)
            opened = open_job(job)
            try:
                searcher = Searcher.open(files, build, self._settings.query_cache_size, former, self._held)
            except CorruptFile as error:
                if former is None:
                    raise
                log.warning("%s Searching what was open until then.", error)
                # A partition was taken back to be embedded again: what is open serves until the next build, as it does
                # in a job that was never changed.
                searcher = former.without(opened.state.removed)
            with self._lock:
                self._open[job.path] = _Open(searcher, opened, files, stamp, change, time.monotonic())
            return searcher, opened

    def _stamp(self, job: JobDir) -> tuple[object, object]:
        """`_stamp`, as far as need be known."""
        if not job.in_store:  # A disk is never believed nor away, and says nothing of whether a store is.
            return _stamp(job)
        with self._lock:
            known = self._open.get(job.path)
        if known is not None and time.monotonic() - known.looked < known.files.believed_seconds:
            return known.stamp, known.change
        try:
            stamp = _stamp(job)
        except StoreError as error:
            if known is None:
                raise
            self._outage.began(error)
            stamp = known.stamp, known.change
        else:
            self._outage.over()
        if known is not None:
            known.looked = time.monotonic()
        return stamp

    def _lookup(self, job: JobDir, stamp: object, change: object) -> _Open | None:
        with self._lock:
            known = self._open.get(job.path)
            if known is None or (known.stamp, known.change) != (stamp, change):
                return None
            return known


def _stamp(job: JobDir) -> tuple[object, object]:
    """What changes when CURRENT is replaced, or what the job says of where its source moved to; and its last change."""
    try:
        status = job.current.stat()
    except FileNotFoundError:
        job.require()
        raise _no_index(job) from None
    try:
        moved = job.moved.stat()
    except FileNotFoundError:
        moved = None
    change = last_change(job)
    # Only a job that was changed has partitions that are sealed after its first build.
    return (_changes(status), _changes(moved)), (change, len(job.sealed_numbers())) if change else None


def _changes(status: os.stat_result | None) -> object:
    return status and (status.st_ino, status.st_mtime_ns, status.st_size)


def _no_index(job: JobDir) -> NoIndexYet:
    return NoIndexYet(
        f"The job {job.path} has no index yet",
        remedy=Remedy(maker_of(job), str(job.path), "builds one once all its partitions are sealed"),
    )
