"""Images that are embedded already: identical bytes, by their SHA-256, go through the model once in a whole job."""

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What is stored of known bytes: their embedding, float16 [d], and their features, where these are wanted."""

    embedding: NDArray[np.float16]
    features: bytes | None = None


class KnownImages:
    """The embedded images of the chunks of a partition that are committed, or handed over to be; by their bytes.

    What none of them has is looked for `elsewhere`, in the other partitions. It takes some 200 bytes an image:
    embeddings are read from the chunks, and only where a copy turns up. With `features`, only bytes whose features are
    stored as well are taken from there.
    """

    def __init__(
        self, job: OpenJob, partition: Partition, elsewhere: KnownElsewhere | None = None, features: bool = False
    ) -> None:
        self.features = features
        """Whether features are wanted."""
        self._job, self._elsewhere = job, elsewhere
        self._chunks = {chunk.number: chunk for chunk in job.chunks(partition)}
        self._known: dict[bytes, Known] = {}
        self._stored: LRUCache[int, dict[str, Stored]] = LRUCache(_CHUNKS_IN_MEMORY)

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

    def add(
        self,
        chunk: Chunk,
        rows: list[ImageRow],
        embeddings: NDArray[np.float16],
        features: Sequence[bytes | None] | None = None,
    ) -> None:
        """Take up a chunk that is about to be committed: its rows, float16 [embedded, d] of those that are "ok", and
        the features of all of them, if there are any.
        """
        good = [row for row in rows if row.status == "ok"]
        theirs = _of_good(features, [row.status for row in rows])
        self._keep(chunk.number, [row.sha256 for row in good], embeddings, theirs)
        for row in good:
            self._note(row.sha256, Known(chunk.number, row.width, row.height))

    def stored(self, known: Known, sha256: str) -> Stored | None:
        """What is stored of known bytes.

        None when their chunk was damaged or taken back meanwhile, or another worker was first to commit it and met
        other bytes; when those of another partition are not what was written there; and when features are wanted and
        none are stored.
        """
        if known.chunk is None:
            assert self._elsewhere is not None
            assert known.found is not None
            digest = bytes.fromhex(sha256)
            embedding = self._elsewhere.embedding(known.found, digest)
            features = self._elsewhere.features(known.found, digest) if self.features else None
            return None if embedding is None else self._whole(Stored(embedding, features))
        if known.chunk not in self._stored:
            try:
                table, embeddings = checkpoint.read_chunk(self._job, self._chunks[known.chunk])
            except (CorruptFile, FingerprintMismatch, OSError):
                return None
            good = table.filter(pc.equal(table["status"], "ok"))
            theirs = _of_good(checkpoint.features_in(table), table["status"].to_pylist())
            self._keep(known.chunk, good["sha256"].to_pylist(), embeddings, theirs)
        return self._whole(self._stored[known.chunk].get(sha256))

    def _whole(self, stored: Stored | None) -> Stored | None:
        return None if stored is None or (self.features and stored.features is None) else stored

    def _note(self, sha256: str | None, known: Known) -> None:
        if sha256 is not None:
            self._known.setdefault(bytes.fromhex(sha256), known)

    def _keep(
        self,
        chunk: int,
        digests: list[str | None],
        embeddings: NDArray[np.float16],
        features: Sequence[bytes | None] | None,
    ) -> None:
        theirs = [None] * len(digests) if features is None else features
        self._stored[chunk] = {
            digest: Stored(embedding, one)
            for digest, embedding, one in zip(digests, embeddings, theirs, strict=True)
            if digest is not None
        }


def _of_good(features: Sequence[bytes | None] | None, statuses: Sequence[str]) -> list[bytes | None] | None:
    """The features of the rows that are "ok"."""
    if features is None:
        return None
    return [one for one, status in zip(features, statuses, strict=True) if status == "ok"]
