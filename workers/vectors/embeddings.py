"""Map the sealed embeddings of a job as one array by row, and the image of each row, without copying the whole."""

import mmap
import resource
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from shared.errors import CorruptFile, QueryError
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger, sealing
from shared.job.partition.ledger import Seal
from shared.vectors import widen
from workers.vectors.scattered_rows import ScatteredRows

Half = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

BLOCK_ROWS: Final = 8_192
"""How many rows a stage holds as float32 at once: 59 MB at 1,792 dimensions."""

# A warm row of 1,792 dimensions is copied in half a microsecond, a cold one in 40 and more.
_WARM_SECONDS = 5e-6
_CALL_SECONDS = 100e-6
_PAGE = mmap.ALLOCATIONGRANULARITY
# madvise and its advice differ between systems; without it, the mapping still works.
_ADVISES = hasattr(mmap.mmap, "madvise") and hasattr(mmap, "MADV_WILLNEED") and hasattr(mmap, "MADV_RANDOM")


class StoredEmbeddings:
    """The sealed embeddings of a job: float16 [N, d], row numbers from 0 in the order of the image ids.

    `ids` is int64 [N], ascending, with gaps where images failed. Only the ids are held in memory; several threads may
    read at once.
    """

    DTYPE: ClassVar[np.dtype[Any]] = sealing.HALF
    """The type of what is stored."""

    def __init__(self, parts: Sequence[np.ndarray], ids: Rows, dim: int, mapped_from: JobFiles | None = None) -> None:
        """`parts` are `DTYPE` [n, dim] arrays, mapped or not, that together have a row for each of `ids`.

        `mapped_from` is kept as long as this is, and with it the copies that are mapped.
        """
        self.mapped_from = mapped_from
        self.ids = ids
        self.dim = dim
        self._gapless = len(ids) > 0 and int(ids[-1] - ids[0]) == len(ids) - 1
        self._cold = True
        self._parts = [np.ascontiguousarray(part) for part in parts]
        self._places = ScatteredRows(self._parts, dim, self.DTYPE)
        self._row_bytes = dim * self.DTYPE.itemsize
        self._maps = [part.base if isinstance(part.base, mmap.mmap) else None for part in parts]
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

    @classmethod
    def open(
        cls, files: JobFiles, seals: Sequence[Seal], ids: Rows | None = None, later: Sequence[np.ndarray] = ()
    ) -> "StoredEmbeddings":
        """Map the embeddings of `seals`, in the order of their partitions; those of `later` follow, `DTYPE` [n, dim].

        `ids` saves reading them from the metadata; with `later` they have to be given. Raises CorruptFile when a file
        has another size than its seal says, when the seals disagree about the dimension, or when ids are missing,
        double or out of order.
        """
        job = files.job
        dims = {seal.dim for seal in seals if seal.embedded} | {part.shape[1] for part in later if len(part)}
        if len(dims) > 1:
            raise CorruptFile(
                f"The sealed partitions of {job.path} have embeddings of {sorted(dims)} dimensions where one is needed."
            )
        wanted = [(job.img_emb(seal.partition), seal) for seal in seals]
        paths = files.all_local((path, seal.entry(job, path)) for path, seal in wanted)
        parts = [
            sealing.open_embeddings(path, seal.embedded, seal.dim, cls.DTYPE)
            for path, seal in zip(paths, seals, strict=True)
        ]
        parts += later
        if ids is None:
            job = open_job(job)
            ids = np.concatenate([np.empty(0, np.int64), *(ledger.check_ids(job, seal) for seal in seals)])
        if len(ids) != sum(len(part) for part in parts) or not np.all(np.diff(ids) > 0):
            raise CorruptFile(
                f"The sealed partitions of {job.path} hold {sum(len(part) for part in parts)} embeddings; their "
                f"{len(ids)} image ids do not name each once, in ascending order."
            )
        return cls(parts, ids, dims.pop() if dims else 0, files)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, ids: Rows) -> Rows:
        """Row numbers int64 of image ids; raises QueryError when one of them has no embedding."""
        rows: Rows
        if self._gapless:
            rows = ids - self.ids[0]
            known = (rows >= 0) & (rows < len(self))
        else:
            rows = np.searchsorted(self.ids, ids)
            known = rows < len(self)
            known[known] = self.ids[rows[known]] == ids[known]
        if not known.all():
            raise QueryError(
                f"The image id {int(ids[~known][0])} has no embedding in this job: it failed or was never listed."
            )
        return rows

    def rows(self, rows: Rows) -> Half:
        """A copy of the given rows, float16 [n, d], in the order given; IndexError for a row beyond the last."""
        if not len(rows):
            return np.empty((0, self.dim), np.float16)
        if not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"Rows {rows.min()} to {rows.max()} were asked of {len(self)} embeddings.")
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        found: Half = self._decoded(self._places.rows(numbers, rows - self._starts[numbers]))
        return found

    def _decoded(self, stored: Any) -> Half:
        """What is stored, `DTYPE` [n, d], as float16 of length 1."""
        half: Half = stored
        return half

    def gathered(self, rows: Rows) -> Half:
        """As `rows`, but reads all at once while the disk is slow, so as to wait once for cold rows and not for
        each.
        """
        cold, waits, started = self._cold, _waits(), time.perf_counter()
        # To ask for each row ahead costs as much as reading it warm.
        if cold:
            self._prefetch(np.sort(rows))
        found = self.rows(rows)
        slow = time.perf_counter() - started > _CALL_SECONDS + _WARM_SECONDS * len(rows)
        # Warm rows are slow too if others use the processor. The wait for rows that were asked for ahead does not
        # count.
        self._cold = slow and (cold or _waits() != waits)
        return found

    def _by_part(self, ascending: Rows) -> Iterator[tuple[int, slice]]:
        """Which of the ascending row numbers are in which partition."""
        bounds = np.searchsorted(ascending, self._starts).tolist()
        for number, (start, stop) in enumerate(pairwise(bounds)):
            if start < stop:
                yield number, slice(start, stop)

    def cosines(self, rows: Rows, query: Floats) -> Floats:
        """Cosine similarity, float32 [n], of `query` (float32 [d], length 1) and each of the given rows.

        Equal embeddings get equal values whatever rows are around them, so that ties stay ties.
        """
        return cosines(self.gathered(rows), query)

    def blocks(self, size: int = BLOCK_ROWS, begin: int = 0) -> Iterator[tuple[int, Half]]:
        """The rows from `begin` on, as (first row, float16 [up to `size`, d] view); a view never spans two partitions.

        The pages of a block leave this process's memory when the next one is asked for.
        """
        for number, part in enumerate(self._parts):
            for start in range(max(0, begin - int(self._starts[number])), len(part), size):
                stop = min(start + size, len(part))
                self._advise(number, start, stop, "MADV_WILLNEED")
                yield int(self._starts[number]) + start, self._decoded(part[start:stop])
                self._advise(number, start, stop, "MADV_DONTNEED")

    def only(self, rows: Rows) -> "StoredEmbeddings":
        """Some of the rows (int64, ascending) as if there were no others; their blocks are read together."""
        return _SomeEmbeddings(self, rows)

    def expect_scattered_reads(self) -> None:
        """Tell the system that reads are scattered: reading ahead would fetch 100 times what is used."""
        for number, part in enumerate(self._parts):
            self._advise(number, 0, len(part), "MADV_RANDOM")

    def release(self) -> None:
        """Drop the pages that were read so far: they would count for this process, and stay in the system's cache."""
        for number, part in enumerate(self._parts):
            self._advise(number, 0, len(part), "MADV_DONTNEED")

    def _prefetch(self, ascending: Rows) -> None:
        """Let the system read these rows all at once, so that a query on a cold disk waits once and not per row."""
        for number, some in self._by_part(ascending):
            for row in (ascending[some] - self._starts[number]).tolist():
                self._advise(number, row, row + 1, "MADV_WILLNEED")

    def _advise(self, number: int, start: int, stop: int, advice: str) -> None:
        mapped = self._maps[number]
        if mapped is None or not _ADVISES:
            return
        # A mapping begins at the last page boundary at or before the data.
        before = sealing.HEADER_BYTES % _PAGE
        first = (before + start * self._row_bytes) // _PAGE * _PAGE
        mapped.madvise(getattr(mmap, advice), first, before + stop * self._row_bytes - first)


def cosines(rows: Half, query: Floats) -> Floats:
    """Cosine similarity, float32 [n], of `query` (float32 [d], length 1) and each of `rows`, float16 [n, d].

    Equal rows get equal values whatever rows are around them.
    """
    vectors = widen(rows)
    # einsum sums each row by itself in one order; a matrix product sums a row by its place in a tile.
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    found: Floats = np.clip(np.einsum("ij,j->i", vectors, query) / lengths, -1, 1)
    return found


def _waits() -> float:
    """How often this thread has waited for the disk to give it a mapped page; never the same twice if the system does
    not say.
    """
    if not hasattr(resource, "RUSAGE_THREAD"):
        return time.perf_counter()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


class _SomeEmbeddings(StoredEmbeddings):
    """Some rows of stored embeddings, renumbered from 0."""

    def __init__(self, stored: StoredEmbeddings, rows: Rows) -> None:
        super().__init__([], stored.ids[rows], stored.dim)
        self._stored = stored
        self._rows = rows

    def rows(self, rows: Rows) -> Half:
        return self._stored.rows(self._rows[rows])

    def gathered(self, rows: Rows) -> Half:
        return self._stored.gathered(self._rows[rows])

    def blocks(self, size: int = BLOCK_ROWS, begin: int = 0) -> Iterator[tuple[int, Half]]:
        for start in range(begin, len(self), size):
            yield start, self.gathered(np.arange(start, min(start + size, len(self))))
            self.release()

    def release(self) -> None:
        self._stored.release()
