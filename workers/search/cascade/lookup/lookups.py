"""Make and keep the look-ups of the jobs last asked for, off the path of queries, and make hits of what they find."""

import logging
import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.errors import LookalikeError
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.messages.search import Hit
from shared.settings import Settings
from workers.search.cascade.lookup.pdqs import PdqLookup, read_lookup
from workers.search.searcher import Searcher
from workers.search.unit_queries import unit_queries

log = logging.getLogger("lookalike.query")

LOOK_SECONDS: Final = 5.0
"""How long a partition that has no features is believed to have none: they may be made meanwhile."""


@dataclass(slots=True, eq=False)
class _Known:
    """What was last asked for a job: the searcher that it was for, when, and the making of its look-up."""

    searcher: "weakref.ref[Searcher]"
    looked: float
    made: "Future[None]"


class PdqLookups:
    """The look-ups of the jobs last asked for, within the bytes of a setting; one a process, for several threads.

    They are made by a thread of their own. One is made anew when the searcher of its job is another one, as after every
    change of the job, and what it knows then is not read again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: LRUCache[Path, _Known] = LRUCache(settings.open_jobs)
        self._made: LRUCache[Path, PdqLookup] = LRUCache(settings.pdq_bytes, getsizeof=lambda lookup: lookup.nbytes + 1)
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="pdq")

    def close(self) -> None:
        """End its thread, when what it does now is done."""
        self._maker.shutdown(cancel_futures=True)

    def begin(self, searcher: Searcher, job: OpenJob) -> None:
        """Begin to make the look-up of what a searcher searches, unless it is there."""
        if self._settings.pdq_bytes:
            with self._lock:
                self._begun(searcher, job)

    def has(self, job: OpenJob) -> bool:
        """Whether there is a look-up of a job that finds anything, perhaps of what it was before."""
        with self._lock:
            return bool(self._made.get(job.path))

    def of(self, searcher: Searcher, job: OpenJob, seconds: float) -> PdqLookup | None:
        """The look-up of what a searcher searches; None where the job stores no PDQs, they would take more bytes than
        they may, or it is not made within `seconds`."""
        if not self._settings.pdq_bytes:
            return None
        with self._lock:
            made, known = self._begun(searcher, job), self._made.get(job.path)
            if made is None:
                return known if known else None
        if not wait([made], max(0.0, seconds)).done:
            log.warning("%s: its PDQs are still being read; this query is answered without them.", job.job_id)
            return None
        with self._lock:
            found = self._made.get(job.path)
        return found if found else None

    def _begun(self, searcher: Searcher, job: OpenJob) -> "Future[None] | None":
        """The making that has to be waited for, begun if need be; None where what is there is of this searcher."""
        known, found, now = self._known.get(job.path), self._made.get(job.path), time.monotonic()
        same = known is not None and known.searcher() is searcher
        if known is not None and same:
            if found is not None and found.is_whole:
                return None
            if now - known.looked < LOOK_SECONDS or not known.made.done():
                return known.made if found is None else None
        made = self._maker.submit(self._make, searcher, job)
        self._known[job.path] = _Known(weakref.ref(searcher), now, made)
        return None if same and found is not None else made

    def _make(self, searcher: Searcher, job: OpenJob, *, anew: bool = False) -> None:
        """Put the look-up of a job as it is now in the place of the one before; `anew` with an index of all of it."""
        with self._lock:
            former = None if anew else self._made.get(job.path)
        try:
            made = read_lookup(JobFiles.of(job, self._settings), job, searcher, former, self._settings.pdq_bytes)
        except (LookalikeError, OSError, MemoryError) as error:
            log.warning("%s: its PDQs can't be read: %s", job.job_id, error or "no memory is left")
            made = PdqLookup(is_whole=False)
        with self._lock:
            self._made[job.path] = made
        if made.is_outgrown:
            self._maker.submit(self._make, searcher, job, anew=True)


def hits_of(searcher: Searcher, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> list[Hit]:
    """Hits of images that can be found, by their `ids`, int64 [n], in that order.

    Their similarity is to the nearest of `vectors`, float32 [views, d].
    """
    if not len(ids):
        return []
    rows = searcher.stored.rows_of(np.sort(ids))
    units = unit_queries(np.asarray(vectors, np.float32), searcher.stored.dim)
    nearest = np.max([searcher.stored.cosines(rows, unit) for unit in units], axis=0)
    made = {hit.id: hit for hit in searcher.hits(rows, nearest)}
    return [made[image_id] for image_id in ids.tolist()]
