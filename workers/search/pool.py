"""Keep searchers open, one for each of the jobs last asked for, and open another when a newer build is promoted."""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cachetools import LRUCache

from shared.errors import CorruptFile, StoreError
from shared.job.bundle.facts import damaged
from shared.job.changes.log import last_change
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.job.partition import committed
from shared.messages.shards import Held
from shared.processes.outage import Outage
from shared.settings import Settings
from workers.search.searcher import Searcher

log = logging.getLogger("lookalike.query")


class _Seen(NamedTuple):
    """What was seen of a job that grows: its last change, the sealed partitions, and the committed chunks."""

    change: int
    sealed: frozenset[int]
    chunks: committed.Listing

    def is_as(self, other: "_Seen", known: "_Open") -> bool:
        """Whether nothing came or went that counts for the job that is open.

        What a compaction writes before its change, and removes after it, does not; nor do chunks of partitions that a
        build covers, which are tried again.
        """
        differ = self.sealed ^ other.sealed
        return (
            self.change == other.change
            and not any(map(known.job.holds, differ))
            and self._counting(known) == other._counting(known)
        )

    def _counting(self, known: "_Open") -> list[tuple[int, tuple[int, ...]]]:
        return [one for one in self.chunks if known.job.holds(one[0]) and one[0] not in known.searcher.covered]


@dataclass(slots=True)
class _Open:
    """A searcher that is kept open, its job and that one's files, what it was opened by, and when that was looked at.

    `build` is the one that it searches, None before there is an index. `stamp` is of CURRENT and of where the source
    moved to. `seen` is None of a job that a build covers for ever.
    """

    searcher: Searcher
    job: OpenJob
    files: JobFiles
    build: str | None
    stamp: object
    seen: _Seen | None
    looked: float


class SearcherPool:
    """The searchers of the jobs last asked for, at most `open_jobs`; several threads may ask at once.

    A newer promoted build is noticed at the next query, by a stat of CURRENT, a source that moved by one of moved.json,
    and a change of the job by its number; in a store, within two seconds, and one that does not answer leaves what is
    open at work. What was sealed or committed is noticed by a listing of the seals, and of the chunks of the partitions
    that are being embedded; a job that has a build and was never changed has neither.
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

        A job that has no promoted build yet is searched as far as it is embedded. Raises JobNotFound when there is no
        such job, NoIndexYet when nothing of it is embedded, and what `Searcher.open` and `Searcher.open_parts` raise.
        """
        stamp, seen = self._stamp(job)
        if (found := self._lookup(job, stamp, seen)) is not None:
            return found.searcher, found.job
        # Opening takes seconds; queries to the jobs that are open already continue meanwhile.
        with self._opening:
            if (found := self._lookup(job, stamp, seen)) is not None:
                return found.searcher, found.job
            with self._lock:
                known = self._open.get(job.path)
            build = builds.current_build(job)
            if known is not None and (known.stamp, known.build) == (stamp, build):  # The same build of a changed job.
                former, files = known.searcher, known.files
            else:
                former, files = None, JobFiles.of(job, self._settings)
            searcher, opened = self._made(files, build, former)
            with self._lock:
                self._open[job.path] = _Open(searcher, opened, files, build, stamp, seen, time.monotonic())
            return searcher, opened

    def _made(self, files: JobFiles, build: str | None, former: Searcher | None) -> tuple[Searcher, OpenJob]:
        """A searcher of a build, or of what is embedded, and the job as it was opened for; `former` is that before."""
        while True:
            opened = open_job(files.job)
            try:
                searcher = self._opened(files, build, former)
                if last_change(files.job) == opened.state.number:
                    return searcher, opened
                # A compaction may have taken away what no build covers before it was read: it would not be found.
            except (CorruptFile, FileNotFoundError) as error:
                if last_change(files.job) > opened.state.number:
                    continue  # A compaction took away what was being opened: what it put there is opened instead.
                if not isinstance(error, CorruptFile):
                    raise
                if former is None:
                    raise damaged(error, opened.manifest.bundle) from None
                log.warning("%s Searching what was open until then.", error)
                # A partition was taken back to be embedded again: what is open serves until the next build, as it does
                # in a job that was never changed.
                return former.without(opened.state.removed, opened.listed), opened

    def _opened(self, files: JobFiles, build: str | None, former: Searcher | None) -> Searcher:
        if build is None:
            return Searcher.open_parts(files, self._settings.query_cache_size, former, self._held)
        return Searcher.open(files, build, self._settings.query_cache_size, former, held=self._held)

    def _stamp(self, job: JobDir) -> tuple[object, _Seen | None]:
        """`_stamp`, as far as need be known."""
        if not job.in_store:  # A disk is never believed nor away, and says nothing of whether a store is.
            return _stamp(job)
        with self._lock:
            known = self._open.get(job.path)
        if known is not None and time.monotonic() - known.looked < known.files.believed_seconds:
            return known.stamp, known.seen
        try:
            stamp = _stamp(job)
        except StoreError as error:
            if known is None:
                raise
            self._outage.began(error)
            stamp = known.stamp, known.seen
        else:
            self._outage.over()
        if known is not None:
            known.looked = time.monotonic()
        return stamp

    def _lookup(self, job: JobDir, stamp: object, seen: _Seen | None) -> _Open | None:
        with self._lock:
            known = self._open.get(job.path)
        return known if known is not None and known.stamp == stamp and _is_as(known, seen) else None


def _is_as(known: _Open, seen: _Seen | None) -> bool:
    """Whether a job is as it was when its searcher was opened."""
    if known.seen is None or seen is None:
        return known.seen is seen
    return known.seen.is_as(seen, known)


def _stamp(job: JobDir) -> tuple[object, _Seen | None]:
    """What changes when CURRENT is replaced, or what the job says of where its source moved to; and how it grew."""
    try:
        status = job.current.stat()
    except FileNotFoundError:
        job.require()
        status = None
    try:
        moved = job.moved.stat()
    except FileNotFoundError:
        moved = None
    change = last_change(job)
    # Only a job that was changed has partitions that are embedded after its first build.
    grows = status is None or change > 0
    seen = _Seen(change, frozenset(job.sealed_numbers()), committed.listed_chunks(job)) if grows else None
    return (_changes(status), _changes(moved)), seen


def _changes(status: os.stat_result | None) -> object:
    return status and (status.st_ino, status.st_mtime_ns, status.st_size)
