"""Embedded images of the other partitions of a job: a table of their bytes for each, on disk, asked through a filter.

A table is a hint: what it says of a row is compared with that row by a checksum, over the model's fingerprint, the
image's SHA-256, its size in pixels and its embedding. So a table of another seal, or a damaged one, costs an embedding
and gives no wrong one.
"""

import io
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.errors import CorruptFile, LookalikeError
from shared.job.local.job_files import DiskFiles
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.features.files import FeatureRows
from shared.job.partition.features.reading import open_features
from shared.processes.failpoints import failpoint
from shared.storage import files
from shared.storage.parquet import read_table

_COLUMNS: Final = ["sha256", "width", "height"]
_UNKNOWN: Final = 0xFFFFFFFF
_PROBES: Final = 4
_BITS_EACH: Final = 16
MOST_BITS: Final = 1 << 28
"""Bits of the filter: 32 MB at most. Beyond 17 million images it lets more through, which are looked up in vain."""
_MOST_MADE: Final = 4
"""Tables of sealed partitions that lack theirs, which are made for one partition: each takes reading the embeddings."""
_FILES_OPEN: Final = 8

Table = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the embedding of some bytes is: the partition, the row of its embeddings, and their checksum."""

    partition: int
    row: int
    check: int


@dataclass(frozen=True, slots=True)
class Found:
    """An embedded image of another partition, and its size in pixels by its header."""

    place: Place
    width: int | None
    height: int | None


class KnownElsewhere:
    """The embedded images of the sealed partitions of a job but one; of what is sealed meanwhile after `look_again`.

    For a job in a store there are none: fetching an embedding takes longer than making it. It takes 2 bytes an image in
    memory, 32 MB at most; the tables are mapped.
    """

    def __init__(self, job: OpenJob, partition: Partition) -> None:
        self._job, self._own = job, partition.number
        self._tables: list[tuple[int, Table]] = []
        self._seen: set[int] = set()
        self._made = 0
        bits = min(MOST_BITS, 1 << (_BITS_EACH * job.listed - 1).bit_length())
        self._mask = bits - 1
        self._filter = np.zeros(-(-bits // 8), np.uint8)
        self._embeddings: LRUCache[int, NDArray[np.float16]] = LRUCache(_FILES_OPEN)
        self._features: LRUCache[int, FeatureRows | None] = LRUCache(_FILES_OPEN)
        self.look_again()

    def look_again(self) -> None:
        """Take up the partitions that were sealed since."""
        if self._job.in_store or self._job.partition_count == 1:
            return
        for number in self._job.sealed():
            if number in self._seen or number == self._own:
                continue
            table = read_known(self._job, number)
            if table is None and self._made < _MOST_MADE:
                table = _made_again(self._job, number)
                self._made += 1
                self._seen.add(number)  # Where that can't be done, it is not tried at each chunk.
            if table is not None:
                self._seen.add(number)
                self._tables.append((number, table))
                places = self._probes(table[0], table[1])
                np.bitwise_or.at(self._filter, places >> 3, np.left_shift(1, places & 7).astype(np.uint8))

    def find(self, digest: bytes) -> Found | None:
        """The embedded image with these bytes, by their SHA-256. May be asked from any thread."""
        if not self._tables:
            return None
        key, more = struct.unpack("<QQ", digest[:16])
        for probe in range(_PROBES):
            place = (key + probe * more) & self._mask
            if not self._filter[place >> 3] >> (place & 7) & 1:
                return None
        for number, table in tuple(self._tables):
            at = int(np.searchsorted(table[0], np.uint64(key)))
            while at < table.shape[1] and int(table[0, at]) == key:
                if int(table[1, at]) == more:
                    check, row = divmod(int(table[2, at]), 1 << 32)
                    size = (_side(side) for side in divmod(int(table[3, at]), 1 << 32))
                    return Found(Place(number, row, check), *size)
                at += 1
        return None

    def embedding(self, found: Found, digest: bytes) -> NDArray[np.float16] | None:
        """The embedding of an image that was found, float16 [d]; None where it is not the one that the table means."""
        number = found.place.partition
        try:
            if number not in self._embeddings:
                self._embeddings[number] = np.load(self._job.img_emb(number), mmap_mode="r", allow_pickle=False)
            row: NDArray[np.float16] = np.array(self._embeddings[number][found.place.row])
        except (OSError, ValueError, IndexError):
            return None
        width, height = (_UNKNOWN if side is None else side for side in (found.width, found.height))
        check = _check(self._job.manifest.model.fingerprint, digest[:16], width, height, row)
        return row if row.dtype == np.float16 and check == found.place.check else None

    def features(self, found: Found, digest: bytes) -> bytes | None:
        """The features of an image that was found; None where none are stored of these very bytes."""
        number, row = found.place.partition, found.place.row
        try:
            if number not in self._features:
                seal = ledger.read_seal(self._job, number)
                self._features[number] = open_features(DiskFiles(self._job), seal)
            rows = self._features[number]
            if rows is None or row >= len(rows):
                return None
            features = rows.features(row, digest.hex())
        except (OSError, LookalikeError, KeyError):
            return None
        return None if features is None else features.to_bytes()

    def _probes(self, keys: NDArray[np.uint64], more: NDArray[np.uint64]) -> NDArray[np.int64]:
        places = [(keys + np.uint64(probe) * more) & np.uint64(self._mask) for probe in range(_PROBES)]
        return np.concatenate(places).astype(np.int64)


def let_others_know(job: OpenJob, number: int) -> None:
    """Write the table of a partition that was sealed just now; without it, others embed their copies again."""
    failpoint("write_known")
    with suppress(OSError, CorruptFile, ValueError):
        write_known(job, number)


def write_known(job: OpenJob, number: int) -> None:
    """Write the table of a sealed partition; of a job in a store there is none.

    It holds, as uint64 [4, n], ascending by the first: two halves of 16 bytes of the SHA-256; checksum and row;
    width and height. Raises OSError and CorruptFile as reading the sealed files does.
    """
    if job.in_store:
        return
    rows = read_table(job.metadata(number), _COLUMNS).to_pylist()
    embeddings = np.load(job.img_emb(number), mmap_mode="r", allow_pickle=False)
    fingerprint = job.manifest.model.fingerprint
    found = []
    for row, image in enumerate(rows):
        if image["sha256"] is not None:
            half = bytes.fromhex(image["sha256"])[:16]
            width, height = (_UNKNOWN if image[side] is None else image[side] for side in ("width", "height"))
            check = _check(fingerprint, half, width, height, embeddings[row])
            found.append((*struct.unpack("<QQ", half), check << 32 | row, width << 32 | height))
    table = np.array(sorted(found), np.uint64).reshape(-1, 4).T
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(table), allow_pickle=False)
    files.write_bytes(job.known(number), file.getvalue())


def read_known(job: OpenJob, number: int) -> Table | None:
    """The table of a partition; None where there is none that can be read."""
    try:
        table: Table = np.load(job.known(number), mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError, EOFError):
        return None
    return table if table.dtype == np.uint64 and table.ndim == 2 and table.shape[0] == 4 else None


def _made_again(job: OpenJob, number: int) -> Table | None:
    """The table of a partition that lacks one, from its sealed files, if these have the checksums of its seal."""
    try:
        seal = ledger.read_seal(job, number)
        for path in (job.img_emb(number), job.metadata(number)):
            if files.sha256_of(path) != seal.entry(job, path)["sha256"]:
                return None
        write_known(job, number)
    except (OSError, LookalikeError, ValueError, KeyError):
        return None
    return read_known(job, number)


def _check(fingerprint: str, digest: bytes, width: int, height: int, embedding: NDArray[np.float16]) -> int:
    """The checksum of an embedding and of what it is the embedding of."""
    of = zlib.crc32(struct.pack("<16sII", digest, width, height), zlib.crc32(fingerprint.encode()))
    return zlib.crc32(np.ascontiguousarray(embedding).tobytes(), of)


def _side(value: int) -> int | None:
    return None if value == _UNKNOWN else value
