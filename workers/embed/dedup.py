"""Images that are embedded already: identical bytes, by their SHA-256, go through the model once in a whole job."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from cachetools import LRUCache
from numpy.typing import NDArray

from shared.errors import CorruptFile, FingerprintMismatch
from shared.job.manifest import Chunk, Partition
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint
from shared.job.partition.checkpoint import ImageRow
from shared.storage.parquet import read_table
from workers.embed.known_elsewhere import Found, KnownElsewhere

# The one that is being committed, and one more: copies mostly are near each other.
_CHUNKS_IN_MEMORY = 2


@dataclass(frozen=True, slots=True)
class Known:
    """Which chunk holds the embedding of some bytes, None if another partition does, where they were `found`; and the
    size in pixels by their header.
    """

    chunk: int | None
    width: int | None
    height: int | None
    found: Found | None = None


class KnownImages:
    """The embedded images of the chunks of a partition that are committed, or handed over to be; by their bytes.

    What none of them has is looked for `elsewhere`, in the other partitions. It takes some 200 bytes an image:
    embeddings are read from the chunks, and only where a copy turns up.
    """

    def __init__(self, job: OpenJob, partition: Partition, elsewhere: KnownElsewhere | None = None) -> None:
        self._job, self._elsewhere = job, elsewhere
        self._chunks = {chunk.number: chunk for chunk in job.chunks(partition)}
        self._known: dict[bytes, Known] = {}
        self._embeddings: LRUCache[int, dict[str, NDArray[np.float16]]] = LRUCache(_CHUNKS_IN_MEMORY)

    def find(self, sha256: str | None) -> Known | None:
        """The embedded image with these bytes. May be asked from any thread."""
        if sha256 is None:
            return None
        digest = bytes.fromhex(sha256)
        known = self._known.get(digest)
        if known is None and self._elsewhere is not None and (found := self._elsewhere.find(digest)) is not None:
            return Known(None, found.width, found.height, found)
        return known

    def look_again(self) -> None:
        """Take up other partitions that were sealed meanwhile."""
        if self._elsewhere is not None:
            self._elsewhere.look_again()

    def read_committed(self, chunk: Chunk) -> None:
        """Take up the images of a chunk that an earlier attempt committed; a damaged one is for the seal to find."""
        try:
            columns = ["sha256", "status", "width", "height"]
            table = read_table(self._job.chunk(chunk.partition, chunk.number), columns)
        except (CorruptFile, OSError):
            return
        for row in table.filter(pc.equal(table["status"], "ok")).to_pylist():
            self._note(row["sha256"], Known(chunk.number, row["width"], row["height"]))

    def add(self, chunk: Chunk, rows: list[ImageRow], embeddings: NDArray[np.float16]) -> None:
        """Take up a chunk that is about to be committed: its rows, and float16 [embedded, d] of those that are "ok"."""
        good = [row for row in rows if row.status == "ok"]
        self._keep(chunk.number, [row.sha256 for row in good], embeddings)
        for row in good:
            self._note(row.sha256, Known(chunk.number, row.width, row.height))

    def embedding(self, known: Known, sha256: str) -> NDArray[np.float16] | None:
        """The embedding of known bytes, float16 [d].

        None when their chunk was damaged or taken back meanwhile, or another worker was first to commit it and met
        other bytes; and when those of another partition are not what was written there.
        """
        if known.chunk is None:
            assert self._elsewhere is not None
            assert known.found is not None
            return self._elsewhere.embedding(known.found, bytes.fromhex(sha256))
        if known.chunk not in self._embeddings:
            try:
                table, embeddings = checkpoint.read_chunk(self._job, self._chunks[known.chunk])
            except (CorruptFile, FingerprintMismatch, OSError):
                return None
            good = table.filter(pc.equal(table["status"], "ok"))
            self._keep(known.chunk, good["sha256"].to_pylist(), embeddings)
        return self._embeddings[known.chunk].get(sha256)

    def _note(self, sha256: str | None, known: Known) -> None:
        if sha256 is not None:
            self._known.setdefault(bytes.fromhex(sha256), known)

    def _keep(self, chunk: int, digests: list[str | None], embeddings: NDArray[np.float16]) -> None:
        self._embeddings[chunk] = {
            digest: embedding for digest, embedding in zip(digests, embeddings, strict=True) if digest is not None
        }
