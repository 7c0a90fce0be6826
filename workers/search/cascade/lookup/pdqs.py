"""The PDQs of the images of one job, with an index where they are many: which are near to those of a query."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.errors import CorruptFile
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.features.marker import FeaturesSeal, usable_features
from shared.job.partition.features.reading import Hashes, read_hashes
from workers.search.searcher import Searcher
from workers.verify.collection.pdq_index import MOST_BITS, PdqIndex
from workers.verify.pdq import BYTES, LEAST_QUALITY, Hash

log = logging.getLogger("lookalike.query")

SMALL: Final = 20_000
"""So many PDQs are compared one by one in a millisecond or two, and need no index."""
_GROWN: Final = 10  # Beside an index, a tenth of its images and more are worth making it anew.
AT_ONCE: Final = 4_096
# What an index takes an image (hash, its place, sixteen times its number, and the image's id), and each by itself.
_INDEXED_BYTES: Final = 32 + 8 + 8 + 16 * 4 + 8
_INDEX_BYTES: Final = 16 * (1 << 16) * 8
_PLAIN_BYTES: Final = BYTES + 8

Key: TypeAlias = tuple[int, str]
Shards: TypeAlias = tuple[str, Sequence[int]]
_NO_IDS: Final = np.empty(0, np.int64)
_NO_HASHES: Final = np.empty((0, BYTES), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class PdqLookup:
    """The PDQs of the images of a job that say anything. Several threads may ask at once.

    `index` is over the images `ids`, int64 [n]; None where there is none. Those that came since are compared one by
    one: `later`, int64 [m], with their hashes, uint8 [m, 32]. `covered` are the partitions in the index, some of them
    perhaps `gone` since, and `held` the shards that it is of, None for all. `is_whole` is whether every sealed
    partition has features.
    """

    index: PdqIndex | None = None
    ids: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    later: NDArray[np.int64] = field(default_factory=lambda: _NO_IDS)
    hashes: NDArray[np.uint8] = field(default_factory=lambda: _NO_HASHES)
    covered: frozenset[Key] = frozenset()
    held: Shards | None = None
    is_whole: bool = True
    gone: bool = False

    def __len__(self) -> int:
        return len(self.ids) + len(self.later)

    @property
    def nbytes(self) -> int:
        return bytes_of(len(self.ids), len(self.later))

    @property
    def is_outgrown(self) -> bool:
        """Whether an index of all of it should take its place."""
        return self.index is not None and (self.gone or len(self.later) > max(SMALL, len(self.ids) // _GROWN))

    def near(self, pdqs: NDArray[np.uint8], quality: int, most: int, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of the up to `most` nearest images with a PDQ of at most 31 bits from one of `pdqs`, uint8 [n, 32].

        They are among the images `among`, int64 ascending, the nearest first, then by id. There are none for a query of
        a quality below 50.
        """
        if quality < LEAST_QUALITY or not len(among):
            return _NO_IDS
        wanted = AT_ONCE
        while True:
            # Copies that may not be found must not take the places of those that may.
            found = [self._near(pdq, quality, wanted) for pdq in pdqs]
            ids, bits = (np.concatenate(column) for column in zip(*found, strict=True))
            places = np.minimum(np.searchsorted(among, ids), len(among) - 1)
            ids, bits = ids[among[places] == ids], bits[among[places] == ids]
            order = np.lexsort((ids, bits))
            _, first = np.unique(ids[order], return_index=True)
            if len(first) >= most or wanted >= len(self) or all(len(some) < wanted for some, _ in found):
                nearest: NDArray[np.int64] = ids[order][np.sort(first)][:most]
                return nearest
            wanted *= AT_ONCE

    def _near(self, pdq: Hash, quality: int, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The images near to one PDQ, at most `most` of those in the index, and by how many bits they differ."""
        bits = np.bitwise_count(self.hashes.view("<u8") ^ np.ascontiguousarray(pdq).view("<u8"))
        far = bits.sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(far <= MOST_BITS)
        if self.index is None:
            return self.later[near], far[near]
        rows, bits = self.index.find(pdq, quality, MOST_BITS, most)
        return np.concatenate([self.ids[rows], self.later[near]]), np.concatenate([bits, far[near]])


def bytes_of(indexed: int, later: int) -> int:
    """The memory that the PDQs of so many images take in an index, and beside it."""
    return indexed * _INDEXED_BYTES + (_INDEX_BYTES if indexed else 0) + later * _PLAIN_BYTES


def read_lookup(
    files: JobFiles, job: OpenJob, searcher: Searcher, former: PdqLookup | None, most_bytes: int
) -> PdqLookup:
    """The look-up of the sealed partitions of a job, with the index of a `former` one where that is of the same shards;
    an empty one where it would take more than `most_bytes`."""
    if not job.marked_features():  # Most jobs have none, and to read all seals of one in a store takes its time.
        return PdqLookup(is_whole=False)
    seals = list(ledger.sealed(job))
    markers = [(seal, marker) for seal in seals if (marker := usable_features(job, seal)) is not None]
    rows = sum(marker.rows for _, marker in markers)
    if bytes_of(rows, 0) >= most_bytes:
        log.warning(
            "%s: its %d PDQs would take more memory than %d bytes (the setting pdq_bytes), and are not looked up.",
            job.job_id, rows, most_bytes,
        )  # fmt: skip
        return PdqLookup()
    shards = None if searcher.searched is None else searcher.searched.shards
    held = None if shards is None else (shards.build, shards.numbers)
    if former is None or former.index is None or former.held != held or bytes_of(len(former), rows) >= most_bytes:
        former = PdqLookup(held=held)
    later: list[Hashes] = []
    keys: set[Key] = set()
    for seal, marker in markers:
        key = seal.partition, _digest(job, marker)
        if key not in former.covered:
            try:
                later.append(_telling(read_hashes(files, seal, marker), None if held is None else searcher.kept.ids))
            except CorruptFile as error:
                log.warning("%s: %s Its images are not looked up.", job.job_id, error)
                continue
        keys.add(key)
    whole = len(keys) == len(seals)
    ids = np.concatenate([_NO_IDS, *(one.ids for one in later)])
    hashes = np.concatenate([_NO_HASHES, *(one.pdqs for one in later)])
    if former.index is None and len(ids) > SMALL:
        index = PdqIndex.build(hashes, np.full(len(ids), LEAST_QUALITY, np.uint8))
        return PdqLookup(index, ids, covered=frozenset(keys), held=held, is_whole=whole)
    gone = bool(former.covered - keys)
    return replace(former, later=ids, hashes=hashes, is_whole=whole, gone=gone)


def _digest(job: OpenJob, marker: FeaturesSeal) -> str:
    """The SHA-256 of the file that has the PDQs of a partition."""
    path = job.features_files(marker.partition)[0]
    return str(marker.files[path.relative_to(job.path).as_posix()]["sha256"])


def _telling(found: Hashes, among: NDArray[np.int64] | None) -> Hashes:
    """Those PDQs that say anything, of the images `among`, int64, alone if that is given."""
    good = found.quality >= LEAST_QUALITY
    if among is not None:
        good &= np.isin(found.ids, among)
    return Hashes(found.ids[good], found.pdqs[good], found.quality[good])
