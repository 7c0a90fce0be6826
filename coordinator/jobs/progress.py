"""Read the progress of a job from its directory: done, failed, rate, time left; it needs no broker."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.errors import CorruptFile
from shared.job.altered_copies import usable_copies
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.filling import Filling, filling
from shared.job.index.request import read_index_request
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ChunkSummary
from shared.job.partition.ledger import Seal
from shared.job.partition.retry import read_retry
from shared.processes.load import StageLoad

# A partition counts as under way while its last commit is younger than this, or than three of its chunks took.
_FRESH_SECONDS = 60.0
_RECENT_CHUNKS = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: images by state, partitions by state, images per second (all workers), seconds left.

    `images_per_second` and `eta_seconds` are None while nothing is being committed. `index` is the promoted build;
    `refused` one that was asked for since, built and not promoted. `copies_done` is whether, of a job that is complete,
    no altered copies are to be embedded before its index is built. `removed` counts images that no answer names any
    more; they are among the others as they were before. `load` is how busy the workers' stages are, known
    when the rate is. `filling` is the build whose shards are being filled, if there is one.
    """

    job: str
    model: str
    listed: int
    embedded: int
    failed: int
    partitions: dict[str, int]
    images_per_second: float | None
    eta_seconds: float | None
    index: IndexInfo | None
    index_is_current: bool
    refused: IndexInfo | None = None
    copies_done: bool = False
    load: StageLoad | None = None
    removed: int = 0
    filling: Filling | None = None

    @property
    def done(self) -> int:
        return self.embedded + self.failed

    @property
    def pending(self) -> int:
        return self.listed - self.done

    @property
    def complete(self) -> bool:
        """Whether every partition is sealed."""
        return self.partitions["sealed"] == sum(self.partitions.values())

    def roles(self, embedding: int) -> list[str]:
        """The role of each worker that is needed for what is left to do, `embedding` of them for the partitions."""
        if not self.complete:
            return ["embed"] * embedding + ["merge"]
        return ["merge"] if self.copies_done else ["embed", "merge"]

    def to_json(self) -> dict[str, Any]:
        index = self.index
        return {
            "job": self.job,
            "model": self.model,
            "listed": self.listed,
            "embedded": self.embedded,
            "failed": self.failed,
            "pending": self.pending,
            "removed": self.removed,
            "partitions": self.partitions,
            "images_per_second": None if self.images_per_second is None else round(self.images_per_second, 1),
            "eta_seconds": None if self.eta_seconds is None else round(self.eta_seconds),
            "bottleneck": None if self.load is None else self.load.bottleneck,
            "busy": None if self.load is None else self.load.to_json()["busy"],
            "index": None
            if index is None
            else {
                "build": index.build,
                "ntotal": index.ntotal,
                "type": index.type,
                "recall_at_10": index.recall_at_10,
                "p50_ms": index.p50_ms,
                "shards": len(index.index_files),
            },
            "filling": None
            if self.filling is None
            else {
                "build": self.filling.build,
                "shards": len(self.filling.ranges),
                "full": len(self.filling.ranges) - len(self.filling.missing),
            },
            "refused": None if self.refused is None else self.refused.refused,
        }


@dataclass(slots=True)
class ProgressReader:
    """Reads a job's progress again and again; what is committed never changes, so each file is read once.

    `job` is the job as it was at the last reading: another process may change it meanwhile.
    """

    job: OpenJob
    now: Callable[[], float] = time.time
    _seals: dict[int, Seal] = field(default_factory=dict)
    _chunks: dict[tuple[int, int], ChunkSummary] = field(default_factory=dict)
    _copies: tuple[object, bool] = (None, False)

    def read(self) -> Progress:
        """Progress from disk alone. Raises CorruptFile or FingerprintMismatch when a seal or the index is not right."""
        self.job = self.job.renewed()
        # Chunks before seals: a worker removes the chunks of a partition once its seal is there, not the other way.
        started = {
            partition: chunks
            for partition in self.job.chunk_partitions()
            if partition < self.job.partition_count
            and partition not in self._seals
            and (chunks := self._committed(partition))
        }
        seals = self.seals()
        under_way = {partition: chunks for partition, chunks in started.items() if partition not in seals}
        embedded = sum(seal.embedded for seal in seals.values())
        embedded += sum(chunk.embedded for chunks in under_way.values() for chunk in chunks)
        failed = sum(seal.failed for seal in seals.values())
        failed += sum(chunk.failed for chunks in under_way.values() for chunk in chunks)
        for number in self.job.retry_numbers() if len(seals) < self.job.partition_count else ():
            if number < self.job.partition_count and number not in seals:
                kept = self._kept(number, started.get(number, []))
                embedded, failed = embedded + kept[0], failed + kept[1]
        pending = self.job.listed - embedded - failed
        rate, load = self._rate(seals, under_way) if pending else (None, None)
        index = builds.current_info(self.job)
        request = read_index_request(self.job)
        whole = len(seals) == self.job.partition_count
        digest = builds.ledger_digest(list(seals.values())) if whole else ""
        is_current = whole and index is not None and index.covers(digest, request)
        partitions = {
            "sealed": len(seals),
            "started": len(under_way),
            "waiting": self.job.partition_count - len(seals) - len(under_way),
        }
        return Progress(
            job=str(self.job.path),
            model=self.job.manifest.model.fingerprint,
            listed=self.job.listed,
            embedded=embedded,
            failed=failed,
            partitions=partitions,
            images_per_second=rate,
            eta_seconds=pending / rate if rate else None,
            index=index,
            index_is_current=is_current,
            refused=builds.refused_build(self.job, digest, request) if whole and not is_current else None,
            copies_done=whole and (is_current or self.job.manifest.model.is_imported or self._has_copies(digest)),
            load=load,
            removed=len(self.job.state.removed),
            filling=filling(self.job, digest, request) if whole and not is_current else None,
        )

    def _has_copies(self, digest: str) -> bool:
        """Whether the altered copies of these embeddings are there, whole; the file is read once, unless it changes."""
        try:
            status = self.job.copies.stat()
        except FileNotFoundError:
            return False
        stamp = (digest, status.st_ino, status.st_mtime_ns, status.st_size)
        if self._copies[0] != stamp:
            self._copies = (stamp, usable_copies(self.job, digest) is not None)
        return self._copies[1]

    def seals(self) -> dict[int, Seal]:
        """The seals by partition number, ascending."""
        found = {number: self._seals.get(number) for number in self.job.sealed_numbers()}
        if None in found.values():
            found = {seal.partition: seal for seal in ledger.sealed(self.job)}
        self._seals = {number: seal for number, seal in found.items() if seal is not None}
        return self._seals

    def _committed(self, partition: int) -> list[ChunkSummary]:
        chunks = []
        for number in self.job.chunk_numbers(partition):
            key = (partition, number)
            if key not in self._chunks:
                try:
                    self._chunks[key] = checkpoint.chunk_summary(self.job, partition, number)
                except (CorruptFile, OSError):
                    continue  # It was just sealed, or is damaged: its worker finds out, and embeds it again.
            chunks.append(self._chunks[key])
        return chunks

    def _kept(self, partition: int, committed: list[ChunkSummary]) -> tuple[int, int]:
        """How many embedded and failed images a partition under retry keeps, beside its committed chunks."""
        retry = read_retry(self.job, partition)
        if retry is None:  # It has just been sealed.
            return 0, 0
        done = {summary.chunk for summary in committed}
        chunks = self.job.chunks(self.job.partition(partition))
        return retry.kept([chunk for chunk in chunks if chunk.number not in done])

    def _rate(
        self, seals: dict[int, Seal], under_way: dict[int, list[ChunkSummary]]
    ) -> tuple[float | None, StageLoad | None]:
        """Images per second of all partitions on which something was committed lately, each by its last chunks.

        And how busy the stages of their workers were.
        """
        rates: list[float] = []
        loads: list[tuple[StageLoad | None, float]] = []
        for chunks in under_way.values():
            last = sorted(chunks, key=lambda chunk: chunk.committed_at)[-_RECENT_CHUNKS:]
            age = self.now() - last[-1].committed_at
            seconds = sum(chunk.seconds for chunk in last)
            if age < max(_FRESH_SECONDS, 3 * last[-1].seconds) and seconds > 0:
                rates.append(sum(chunk.stop - chunk.start for chunk in last) / seconds)
                loads += [(StageLoad.from_json(chunk.load), chunk.seconds) for chunk in last]
        if not rates:  # Between two partitions, the one just sealed gives the rate.
            just_sealed = [
                seal for seal in seals.values() if seal.seconds > 0 and self.now() - seal.sealed_at < _FRESH_SECONDS
            ][-1:]
            rates = [seal.listed / seal.seconds for seal in just_sealed]
            loads = [(StageLoad.from_json(seal.load), seal.seconds) for seal in just_sealed]
        return sum(rates) or None, StageLoad.mean(loads)
