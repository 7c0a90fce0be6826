"""Find the neighbours of the images of a partition: each embedding asks the index for those near it, in batches."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.job.changes.log import Ids
from shared.job.index import builds
from shared.job.index.duplicates.neighbours import (
    LEAST,
    NEIGHBOURS,
    Digests,
    Neighbours,
    firsts,
    neighbours_file,
    readable,
    write_neighbours,
)
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.processes.control import Control
from shared.vectors import unit, widen
from workers.search.candidates.additions import Additions
from workers.search.candidates.width import width_of
from workers.search.opening import open_build
from workers.vectors.ann import faiss_index
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Floats, Rows, StoredEmbeddings

LISTS: Final = 8
"""The most lists of an IVF index that are read for an image: what is nearly equal is nearly always in the same list."""
DEPTH: Final = 32
"""How many candidates of the index are compared exactly."""
BATCH: Final = 1_024
"""How many images ask the index at once."""
VALUES: Final = 1 << 23
"""How many values of candidates a thread holds as float32 at once: 32 MB."""
_CORES: Final = os.cpu_count() or 1


class NeighbourSearch:
    """The promoted build of a job, opened to ask it for the neighbours of its own images.

    Of images whose embeddings are equal only the first is asked for, and found: thousands of equal ones have each other
    by that alone, and leave room for neighbours that differ.
    """

    def __init__(
        self, stored: StoredEmbeddings, index: Any, live: Rows, held: int, lists: int, *, every: bool = True
    ) -> None:
        """`live` are the rows, int64 ascending, of the images that are there; `index` holds the first `held` rows.

        `lists` is how widely the index searches. `every` is whether it holds no other image than the live ones.
        """
        self.stored = stored
        self.live = live
        self.digests = _digests(stored, live)
        first = firsts(self.digests)
        self.distinct: Rows = live[first == np.arange(len(live))]
        self._index, self._lists = index, lists
        self._only = None
        if not every or len(self.distinct) < len(live):
            self._only = Only(stored.ids[self.distinct])
        added = self.distinct[self.distinct >= held]
        self._additions = Additions(index, stored, added) if len(added) else None

    @staticmethod
    def key(job: OpenJob) -> tuple[object, ...]:
        """What changes when a job has to be opened again: its build, its images, their embeddings."""
        digest = builds.ledger_digest(ledger.sealed(job))
        return job.path, builds.current_build(job), job.state.number, digest

    @classmethod
    def open(cls, job: OpenJob, job_files: JobFiles) -> "NeighbourSearch":
        """Open what a job's promoted build covers, and what was embedded since; raises as `Searcher.open` does."""
        builds.require_promoted(job)
        info = builds.read_info(job, builds.current_build(job) or "")
        opened, width = open_build(job_files, job, info, None), width_of(info)
        lists = min(LISTS, width.nprobe) if info.nlist else width.nprobe
        kept = opened.kept
        return cls(opened.stored, opened.index(), kept.rows, opened.held, lists, every=kept.only is None)

    def of(self, ids: Ids, control: Control[float]) -> Neighbours:
        """The neighbours of some of the images, int64 ids ascending, nearest first.

        Those that are not live are left out. `control` is asked between batches and told the share that is done.
        """
        places = np.flatnonzero(np.isin(self.stored.ids[self.live], ids))
        rows, digests = self.live[places], self.digests[places]
        asking = rows[np.isin(rows, self.distinct)]
        sources, targets, similarities = [], [], []
        with ThreadPoolExecutor(_CORES, thread_name_prefix="neighbours") as threads:
            for start in range(0, len(asking), BATCH):
                control.require_going()
                for found in self._batch(asking[start : start + BATCH], threads.map):
                    sources.append(found[0])
                    targets.append(found[1])
                    similarities.append(found[2])
                self.stored.release()
                control.report(min(1.0, (start + BATCH) / len(asking)))
        none = np.empty(0, np.int64)
        return Neighbours(
            self.stored.ids[rows], digests, np.concatenate([none, *sources]), np.concatenate([none, *targets]),
            np.concatenate([np.empty(0, np.float32), *similarities]),
        )  # fmt: skip

    def _batch(self, rows: Rows, each: Callable[..., Iterator[Any]]) -> list[tuple[Ids, Ids, Floats]]:
        units = unit(self.stored.rows(rows))
        depth = min(DEPTH, len(self.distinct))
        ids = faiss_index.candidates(self._index, units, depth, self._lists, self._only)
        near = np.full(ids.shape, -1, np.int64)
        near[ids >= 0] = self.stored.rows_of(ids[ids >= 0])
        if self._additions is not None:
            more = self._additions.candidates(units, depth)
            beside = np.full((len(rows), max(map(len, more))), -1, np.int64)
            for place, found in enumerate(more):
                beside[place, : len(found)] = found
            near = np.concatenate([near, beside], axis=1)
        step = max(1, VALUES // max(1, near.size // len(rows) * self.stored.dim))
        pieces = [slice(start, start + step) for start in range(0, len(rows), step)]
        return list(each(lambda piece: self._nearest(rows[piece], units[piece], near[piece]), pieces))

    def _nearest(self, rows: Rows, units: Floats, near: Rows) -> tuple[Ids, Ids, Floats]:
        """The pairs of some rows with those of their candidates, [q, n] rows or -1, that are near enough."""
        vectors = widen(self.stored.rows(np.maximum(near, 0).reshape(-1))).reshape(*near.shape, -1)
        # einsum sums each row by itself, in one order: the similarity of two images depends on them alone.
        similarities = np.einsum("qnd,qd->qn", vectors, units)
        similarities /= np.sqrt(np.einsum("qnd,qnd->qn", vectors, vectors))
        np.clip(similarities, -1, 1, out=similarities)
        similarities[(near < 0) | (near == rows[:, None])] = -np.inf
        order = np.lexsort((near, -similarities), axis=-1)[:, :NEIGHBOURS]
        best = np.take_along_axis(similarities, order, axis=1)
        good = best >= LEAST
        targets = np.take_along_axis(near, order, axis=1)[good]
        sources = np.repeat(rows, np.count_nonzero(good, axis=1))
        return self.stored.ids[sources], self.stored.ids[targets], best[good]


def find_neighbours(job: OpenJob, search: NeighbourSearch, partition: int, control: Control[float]) -> Path:
    """Find and commit the neighbours of those images of a sealed partition whose neighbours no file holds yet.

    What was asked before a compaction put the partition in the place of others is not asked again. Returns the file,
    which stays as it is if it is there. Raises CorruptFile as `read_seal` and Stopped as `control` says.
    """
    seal = ledger.read_seal(job, partition)
    path = neighbours_file(job, seal)
    paths = job.duplicates_files("neighbours")
    if path in paths:
        if any(readable([path])):
            return path
        paths.remove(path)
        path.unlink(missing_ok=True)
    known = np.concatenate([np.empty(0, np.int64), *(ids for _, ids in readable(paths, whole=False))])
    found = search.of(np.setdiff1d(np.arange(seal.start, seal.stop), known), control)
    control.require_commit()
    job.require()
    write_neighbours(path, found, builds.current_build(job) or "")
    return path


def _digests(stored: StoredEmbeddings, rows: Rows) -> Digests:
    """128 bits of each of the rows, uint64 [n, 2]."""
    found = np.empty((len(stored), 2), np.uint64)
    for first, block in stored.blocks():
        made = (hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(block))
        found[first : first + len(block)] = np.frombuffer(b"".join(made), np.uint64).reshape(-1, 2)
    return found[rows]
