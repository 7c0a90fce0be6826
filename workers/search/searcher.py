"""Turn query vectors into hits: cache of answers, candidates from the index, exact rerank."""

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.errors import QueryError
from shared.job.index import builds
from shared.job.index.calibration import Calibration
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.messages.filter import Filter
from shared.messages.search import MAX_K, Hit, Searched
from shared.messages.shards import Held
from workers.search.answer_cache import AnswerCache
from workers.search.candidates.additions import Additions
from workers.search.candidates.of_index import OfIndex
from workers.search.candidates.width import Width, width_of
from workers.search.filtering.filters import Chosen, Filters
from workers.search.kept import Kept
from workers.search.opening import Opened, open_build, open_parts
from workers.search.unit_queries import unit_queries
from workers.vectors.ann import faiss_index
from workers.vectors.embeddings import Floats, Rows, StoredEmbeddings
from workers.vectors.exact import exact_search
from workers.vectors.image_list import Images
from workers.vectors.parts import Parts
from workers.vectors.rerank import nearest

# Up to here, comparing all that a filter chose takes no longer than an index that is searched widely enough for them.
NARROW: Final = 20_000
# From here on, one pass of matrix products over the chosen costs less than a pass for each query.
_MATRIX_QUERIES: Final = 4
# Queries of one call from which on they are shared out among threads, each with a slice of them. FAISS would use its
# own threads, but those wait for each other: where other queries are under way, that takes ten times as long. A slice
# is as large as one thread answers: FAISS reads a list once for the queries of a slice that want it.
_SHARED_QUERIES: Final = 8
CORES: Final = os.cpu_count() or 1
_threads = ThreadPoolExecutor(CORES, thread_name_prefix="search")


class Searcher:
    """Answers queries to one build of one job; several threads may ask at once."""

    def __init__(
        self,
        index: Any,
        stored: StoredEmbeddings,
        images: Images,
        *,
        width: Width,
        nlist: int,
        cache_size: int = 0,
        filters: Filters | None = None,
        kept: Kept | None = None,
        additions: Additions | None = None,
        searched: Searched | None = None,
        parts: Parts | None = None,
        covered: frozenset[int] = frozenset(),
        calibration: Calibration | None = None,
    ) -> None:
        """`filters` are those over the metadata; without, a search is filtered by ids alone. `kept` are the images that
        were not removed, all of them if not given. `additions` are the rows that the index does not hold, if any.
        Without an index, all of `stored` are compared. `parts` are what is searched besides the partitions whose
        numbers are `covered` by the index. `calibration` is what was measured of it, if anything."""
        self.stored = stored
        self._kept = kept or Kept(stored)
        self._additions = additions
        self.width = width
        self.searched = searched
        self.covered = covered
        self.calibration = calibration or Calibration("", "", reason="Nothing was measured.")
        self._parts = parts or {}
        self._index = index
        self._images = images
        self._nlist = nlist
        self._cache = AnswerCache(cache_size)
        self.filters = filters or Filters(self._kept.ids)

    @classmethod
    def open(
        cls, files: JobFiles, build: str, cache_size: int = 0, former: "Searcher | None" = None,
        job: OpenJob | None = None, held: Held | None = None,
    ) -> "Searcher":  # fmt: skip
        """Open a build: its index in memory, or the shards of it that are `held`, its embeddings and paths mapped.

        What was sealed or committed since is found as well, and what was removed is not. `files` is kept as long as the
        searcher is, by its embeddings. What a `former` searcher of the same build has open is not read again, nor a
        `job` that is open.

        Raises FingerprintMismatch when another model made it than the job's, and CorruptFile when a file of it is not
        what its index.json says, or the partitions were sealed again since it was built.
        """
        job = job or open_job(files.job)
        info = builds.read_info(job, build)
        opened = open_build(files, job, info, None if former is None else former._parts, held)
        index = opened.index() if former is None else former._index
        added = opened.kept.rows[opened.kept.rows >= opened.held]
        known = None if former is None else former._additions
        additions = Additions(index, opened.stored, added, known) if len(added) else None
        return cls._of(opened, index, additions, width_of(info), info.nlist, cache_size)

    @classmethod
    def open_parts(
        cls, files: JobFiles, cache_size: int = 0, former: "Searcher | None" = None, held: Held | None = None
    ) -> "Searcher":
        """Open what is embedded of a job that has no index yet; all of it is compared with each query.

        What a `former` searcher of this kind has open is not read again. Raises as `opening.open_parts` does.
        """
        opened = open_parts(files, open_job(files.job), {} if former is None else former._parts, held)
        return cls._of(opened, None, None, Width(nprobe=1, depth=1), 0, cache_size)

    @classmethod
    def _of(
        cls, opened: Opened, index: Any, additions: Additions | None, width: Width, nlist: int, cache_size: int
    ) -> "Searcher":
        return cls(
            index, opened.stored, opened.images, width=width, nlist=nlist, cache_size=cache_size,
            filters=opened.filters, kept=opened.kept, additions=additions, searched=opened.searched,
            parts=opened.parts, covered=opened.covered, calibration=opened.calibration,
        )  # fmt: skip

    @property
    def ntotal(self) -> int:
        """How many images can be found."""
        return len(self._kept.ids)

    @property
    def kept(self) -> StoredEmbeddings:
        """The embeddings of the images that can be found."""
        return self._kept.stored

    def widened(self, width: Width) -> "Searcher":
        """A searcher of another width that shares everything with this one except the cache; it has none."""
        return self._like(width, self._kept, self.filters, self._additions, cache_size=0)

    def without(self, removed: Rows, listed: int) -> "Searcher":
        """A searcher of what this one has open, but for the images `removed`, int64; its cache is empty.

        `listed` is how many images the job lists by now."""
        kept, rows = self._kept.without(removed), None if self._additions is None else self._additions.rows
        left = None if rows is None else rows[np.isin(rows, kept.rows)]
        additions = (
            None if left is None or not len(left) else Additions(self._index, self.stored, left, self._additions)
        )
        filters = self.filters.among(kept.ids if kept.is_all else Kept(self.stored, removed).ids)
        made = self._like(self.width, kept, filters, additions, cache_size=self._cache.size)
        made.searched = self.searched and replace(self.searched, listed=listed)
        return made

    def _like(
        self, width: Width, kept: Kept, filters: Filters, additions: Additions | None, *, cache_size: int
    ) -> "Searcher":
        made: dict[str, Any] = {"filters": filters, "kept": kept, "additions": additions, "cache_size": cache_size}
        made |= {"searched": self.searched, "parts": self._parts, "covered": self.covered, "nlist": self._nlist}
        return Searcher(self._index, self.stored, self._images, width=width, calibration=self.calibration, **made)

    def chosen(self, filter: Filter) -> Chosen:
        """The images of the build that `filter` chooses, of some shards those in them; raises as `Filters.chosen`."""
        chosen = self.filters.chosen(filter)
        return chosen if self._kept.is_all else self._kept.those_of(chosen)

    def search(
        self, vector: npt.ArrayLike, k: int = 10, exact: bool = False, filter: Filter | None = None
    ) -> list[Hit]:
        """The k images most similar to `vector` ([d], any length but 0): rank from 1, cosine similarity falling.

        Ties are ordered by image id. There are min(k, ntotal) hits, or as many as `filter` chooses. With `exact`, all
        embeddings are compared instead of the index's candidates. Raises QueryError when the vector has another
        dimension than the job, a value that is no number or the length 0, k is not 1 to 1,000, or what
        `Filters.chosen` raises.
        """
        one = np.asarray(vector, dtype=np.float32)
        if one.ndim != 1:
            raise QueryError(f"A query is one vector of {self.stored.dim} values, not an array of shape {one.shape}.")
        return self.search_many(one[None], k, exact, filter)[0]

    def search_many(
        self, vectors: npt.ArrayLike, k: int = 10, exact: bool = False, filter: Filter | None = None
    ) -> list[list[Hit]]:
        """As `search`, for many queries [q, d] at once: one pass over the index, or over all embeddings if `exact`."""
        units = unit_queries(np.asarray(vectors, dtype=np.float32), self.stored.dim)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise QueryError(f"k must be a whole number from 1 to {MAX_K}, not {k!r}.")
        how = f"{k} {exact} ".encode() + (b"" if filter is None else filter.key)
        keys = [self._cache.key(unit, how) for unit in units]
        answers = [self._cache.get(key) for key in keys]
        missing = [number for number, answer in enumerate(answers) if answer is None]
        if missing:
            chosen = None if filter is None else self.chosen(filter)
            for number, hits in zip(missing, self._answered(units[missing], k, exact, chosen), strict=True):
                answers[number] = hits
                self._cache.put(keys[number], hits)
        return [list(answer) for answer in answers if answer is not None]

    def _answered(self, units: Floats, k: int, exact: bool, chosen: Chosen | None) -> list[tuple[Hit, ...]]:
        if not self.ntotal or (chosen is not None and not len(chosen.ids)):
            return [()] * len(units)
        narrow = chosen is not None and len(chosen.ids) <= NARROW
        if exact or self._index is None or (narrow and len(units) >= _MATRIX_QUERIES):
            compared = self.kept if chosen is None else self.stored.only(self.stored.rows_of(chosen.ids))
            found = exact_search(compared, units, k)
            rows = [self.stored.rows_of(ids) for ids in found.ids]
            return [self.hits(*one) for one in zip(rows, found.similarities, strict=True)]
        if len(units) < _SHARED_QUERIES:
            return self._nearest(units, k, chosen)
        rounds = math.ceil(len(units) / (CORES * faiss_index.ONE_THREAD_QUERIES))
        slices = np.array_split(units, min(CORES * rounds, len(units)))
        return [hits for some in _threads.map(lambda one: self._nearest(one, k, chosen), slices) for hits in some]

    def _nearest(self, units: Floats, k: int, chosen: Chosen | None) -> list[tuple[Hit, ...]]:
        if chosen is not None and len(chosen.ids) <= NARROW:
            rows = [self.stored.rows_of(chosen.ids)] * len(units)
        else:
            rows = self._candidates(units, k, chosen)
        return [self.hits(*nearest(self.stored, some, unit, k)) for unit, some in zip(units, rows, strict=True)]

    def _candidates(self, units: Floats, k: int, chosen: Chosen | None) -> list[Rows]:
        """The rows, int64 [n], that are to be compared with each query."""
        of_index = OfIndex(self._index, self.width, self._nlist, self._kept, self._additions)
        rows = [self.stored.rows_of(some) for some in of_index.candidates(units, k, chosen)]
        if self._additions is None:
            return rows
        depth = self.width.reaching(k, 1.0, tuned=chosen is None).depth
        more = self._additions.candidates(units, depth, None if chosen is None else chosen.ids)
        return [np.concatenate(both) for both in zip(rows, more, strict=True)]

    def hits(self, rows: Rows, cosines: Floats) -> tuple[Hit, ...]:
        """The hits of these rows of `stored`, int64 [n], with their similarities, float32 [n], in this order."""
        answers = zip(self.stored.ids[rows].tolist(), self._images.paths(rows), cosines.tolist(), strict=True)
        return tuple(Hit(rank, *answer) for rank, answer in enumerate(answers, start=1))

    def alike(self, hit: Hit, others: Sequence[Hit]) -> list[float]:
        """The cosine of the embedding of a hit and that of each of the others, in their order."""
        (own,) = self.stored.rows(self.stored.rows_of(np.array([hit.id])))
        rows = self.stored.rows_of(np.array([other.id for other in others], np.int64))
        found: list[float] = self.stored.cosines(rows, own.astype(np.float32)).tolist()
        return found
