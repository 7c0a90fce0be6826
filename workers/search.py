"""From a query vector to hits: cache, candidates from the index, exact rerank; and the few searchers kept open."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shared import builds, ledger
from shared.errors import CorruptFile, FingerprintMismatch, NoIndexYet, QueryError
from shared.jobdir import JobDir
from shared.manifest import load_manifest
from shared.messages import MAX_K, Hit
from shared.settings import Settings
from workers import index, recall
from workers.stored import Floats, Images, Rows, StoredEmbeddings


class Searcher:
    """Answers queries to one build of one job; several threads may ask at once.

    A query goes one way: the cache of answers, then candidates from the index, then their exact cosine similarity
    from the stored embeddings, then hits.
    """

    def __init__(
        self,
        faiss_index: Any,
        stored: StoredEmbeddings,
        images: Images,
        *,
        nprobe: int,
        nlist: int,
        rerank_depth: int,
        cache_size: int = 0,
    ) -> None:
        self.stored = stored
        self.nprobe = nprobe
        self.rerank_depth = rerank_depth
        self._index = faiss_index
        self._images = images
        self._nlist = nlist
        self._cache = _Answers(cache_size)

    @classmethod
    def open(cls, job: JobDir, build: str, cache_size: int = 0) -> "Searcher":
        """Open a build: its index in memory, its embeddings and image paths mapped.

        Raises FingerprintMismatch when another model made it than the job's, and CorruptFile when a file of it is not
        what its index.json says, or the partitions were sealed anew since it was built.
        """
        manifest = load_manifest(job)
        info = builds.read_info(job, build)
        if info.fingerprint != manifest.model.fingerprint:
            raise FingerprintMismatch(
                f"The index {build} of {job.path} was built for the model {info.fingerprint}, but the job is made for "
                f"{manifest.model.fingerprint}: `lookalike repair {job.path}` removes it, and `lookalike index` builds "
                "it anew."
            )
        seals = list(ledger.sealed(job, manifest))
        if builds.ledger_digest(seals) != info.ledger_digest:
            raise CorruptFile(
                f"The index {build} of {job.path} covers {info.ntotal} embeddings that are not those sealed now: run "
                "`lookalike index` again, which builds the index anew."
            )
        builds.check_files(job, info, checksums=True)
        directory = job.build_dir(build)
        faiss_index = index.load(directory / builds.INDEX_FILE, ntotal=info.ntotal, dim=info.dim)
        images = Images.open(directory / builds.IMAGES_FILE)
        stored = StoredEmbeddings.open(job, seals, ids=images.ids)
        stored.expect_scattered_reads()
        return cls(
            faiss_index,
            stored,
            images,
            nprobe=info.nprobe,
            nlist=info.nlist,
            rerank_depth=info.rerank_depth,
            cache_size=cache_size,
        )

    @property
    def ntotal(self) -> int:
        return len(self.stored)

    def search(self, vector: npt.ArrayLike, k: int = 10, exact: bool = False) -> list[Hit]:
        """The k images most similar to `vector` ([d], any length but 0): rank from 1, cosine similarity falling.

        Ties are ordered by image id. There are min(k, ntotal) hits. With `exact`, all embeddings are compared instead
        of the index's candidates. Raises QueryError when the vector has another dimension than the job, a value that
        is no number or the length 0, or k is not 1 to 1,000.
        """
        one = np.asarray(vector, dtype=np.float32)
        if one.ndim != 1:
            raise QueryError(f"A query is one vector of {self.stored.dim} values, not an array of shape {one.shape}.")
        return self.search_many(one[None], k, exact)[0]

    def search_many(self, vectors: npt.ArrayLike, k: int = 10, exact: bool = False) -> list[list[Hit]]:
        """As `search`, for many queries [q, d] at once: one pass over the index, or over all embeddings if `exact`."""
        units = self._units(np.asarray(vectors, dtype=np.float32))
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise QueryError(f"k must be a whole number from 1 to {MAX_K}, not {k!r}.")
        keys = [self._cache.key(unit, k, exact) for unit in units]
        answers = [self._cache.get(key) for key in keys]
        missing = [number for number, answer in enumerate(answers) if answer is None]
        if missing:
            for number, hits in zip(missing, self._answered(units[missing], k, exact), strict=True):
                answers[number] = hits
                self._cache.put(keys[number], hits)
        return [list(answer) for answer in answers if answer is not None]

    def _answered(self, units: Floats, k: int, exact: bool) -> list[tuple[Hit, ...]]:
        if exact:
            found = recall.exact_search(self.stored, units, k)
            return [self._hits(ids, cosines) for ids, cosines in zip(found.ids, found.similarities, strict=True)]
        return [self._reranked(unit, ids, k) for unit, ids in zip(units, self._candidates(units, k), strict=True)]

    def _candidates(self, units: Floats, k: int) -> Rows:
        depth = min(max(self.rerank_depth, k), self.ntotal)
        ids = index.candidates(self._index, units, depth, self.nprobe)
        # Where the lists that were read hold fewer images than hits are asked for, all lists are read.
        short = np.count_nonzero(ids >= 0, axis=1) < min(k, self.ntotal)
        if short.any():
            ids[short] = index.candidates(self._index, units[short], depth, self._nlist)
        return ids

    def _reranked(self, unit: Floats, ids: Rows, k: int) -> tuple[Hit, ...]:
        rows = self.stored.rows_of(ids[ids >= 0])
        return self._hits(*recall.ranked(self.stored, rows, unit, k))

    def _hits(self, ids: Rows, cosines: Floats) -> tuple[Hit, ...]:
        paths = (self._images.path(row) for row in self.stored.rows_of(ids).tolist())
        answers = zip(ids.tolist(), paths, cosines.tolist(), strict=True)
        return tuple(Hit(rank, *answer) for rank, answer in enumerate(answers, start=1))

    def _units(self, vectors: Floats) -> Floats:
        """The queries at length 1; QueryError for one that has no direction or not the job's dimension."""
        if vectors.ndim != 2 or vectors.shape[1] != self.stored.dim:
            raise QueryError(
                f"A query vector has {vectors.shape[-1] if vectors.ndim else 0} values, and this job's embeddings have "
                f"{self.stored.dim}: embed the query with the model that the job was made with."
            )
        # float64, since the squares of large float32 values overflow.
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(bad):
            what = "only zeros" if lengths[bad[0]] == 0 else "a value that is not a finite number"
            raise QueryError(f"Query vector {bad[0] + 1} of {len(vectors)} holds {what}, so nothing is similar to it.")
        units: Floats = (vectors / lengths[:, None]).astype(np.float32)
        return units


class _Answers:
    """The answers given last, by query; an answer that is asked for again moves to the front."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[bytes, tuple[Hit, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, unit: Floats, k: int, exact: bool) -> bytes:
        if not self._size:
            return b""
        return hashlib.blake2b(unit.tobytes() + f"{k} {exact}".encode(), digest_size=32).digest()

    def get(self, key: bytes) -> Sequence[Hit] | None:
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
            return self._answers.get(key)

    def put(self, key: bytes, hits: tuple[Hit, ...]) -> None:
        if not self._size:
            return
        with self._lock:
            self._answers[key] = hits
            self._answers.move_to_end(key)
            if len(self._answers) > self._size:
                self._answers.popitem(last=False)


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
        f"The job {job.path} has no index yet: `lookalike index` builds one once all its partitions are sealed."
    )
