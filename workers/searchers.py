"""The searchers kept open: one for each of the jobs last asked for, anew when a newer build is promoted."""

import threading
from collections import OrderedDict
from pathlib import Path

from shared import builds
from shared.errors import NoIndexYet
from shared.jobdir import JobDir
from shared.manifest import command_of
from shared.settings import Settings
from workers.search import Searcher


class SearcherPool:
    """The searchers of the jobs last asked for, at most `open_jobs`; several threads may ask at once.

    A newer promoted build is noticed at the next query, by one stat of CURRENT.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: OrderedDict[Path, tuple[object, Searcher]] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()

    def searcher(self, job: JobDir) -> Searcher:
        """The searcher of a job's promoted build, opened if need be.

        Raises JobNotFound when there is no such job, NoIndexYet when it has no promoted build, and what
        `Searcher.open` raises.
        """
        stamp = _stamp(job)
        if (found := self._lookup(job, stamp)) is not None:
            return found
        # Opening takes seconds; queries to the jobs that are open already go on meanwhile.
        with self._opening:
            if (found := self._lookup(job, stamp)) is not None:
                return found
            build = builds.current_build(job)
            if build is None:
                raise _no_index(job)
            searcher = Searcher.open(job, build, self._settings.query_cache_size)
            with self._lock:
                self._open[job.path] = (stamp, searcher)
                self._open.move_to_end(job.path)
                if len(self._open) > self._settings.open_jobs:
                    self._open.popitem(last=False)
            return searcher

    def _lookup(self, job: JobDir, stamp: object) -> Searcher | None:
        with self._lock:
            known = self._open.get(job.path)
            if known is None or known[0] != stamp:
                return None
            self._open.move_to_end(job.path)
            return known[1]


def _stamp(job: JobDir) -> object:
    """What changes when CURRENT is replaced."""
    try:
        status = job.current.stat()
    except FileNotFoundError:
        job.require()
        raise _no_index(job) from None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _no_index(job: JobDir) -> NoIndexYet:
    return NoIndexYet(
        f"The job {job.path} has no index yet: {command_of(job)} builds one once all its partitions are sealed."
    )
