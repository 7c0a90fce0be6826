"""Read the progress of a job from its directory: done, failed, rate, time left; it needs no broker."""
# Over 250 lines: what is counted of a job, and what each count is.

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from coordinator.jobs.changes.compacting.plan import reclaimable
from coordinator.jobs.rate import rate_of
from shared.errors import CorruptFile
from shared.job.altered_copies import usable_copies
from shared.job.bundle.facts import Bundle
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import Calibration, calibration_of
from shared.job.index.filling import Filling, filling
from shared.job.index.request import read_index_request
from shared.job.index.uncovered import rows_beside
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ChunkSummary
from shared.job.partition.features.counted import FeaturesCount, FeaturesReader
from shared.job.partition.ledger import Seal
from shared.job.partition.retry import read_retry
from shared.job.source.moved import NOT_MOVED, read_moved
from shared.models.fusion import FusionTrial
from shared.processes.load import StageLoad


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: images by state, partitions by state, images per second (all workers), seconds left.

    `images_per_second` and `eta_seconds` are None while nothing is being committed. `index` is the promoted build;
    `refused` one that was asked for since, built and not promoted. `copies_done` is whether, of a job that is complete,
    no altered copies are to be embedded before its index is built. `removed` counts images that no answer names any
    more; they are among the others as they were before, but for the `purged` ones, of which a compaction left nothing:
    those are only listed. `sealed_bytes` is the size of all sealed files, `reclaimable` about how much of it removed
    images take. `beside` counts embeddings of a complete job that are searched beside the index, which was built before
    they were added. `sources` are the kind and the place of each source. `load` is how busy the workers' stages are,
    known when the rate is. `filling` is the build whose shards are being filled, if there is one. `bundle` is what a
    bundle says of itself; nothing counts that was removed from its job. `features` are those that are stored beside the
    embeddings, None for a job without. `calibration` is what the build measured, and says why where it did not.
    `fusion` is what came of the trial of fusion, None for a job for which it was not tried.
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
    purged: int = 0
    reclaimable: int = 0
    sealed_bytes: int = 0
    beside: int = 0
    sources: Sequence[tuple[str, str]] = ()
    bundle: Bundle | None = None
    features: FeaturesCount | None = None
    calibration: Calibration | None = None
    fusion: FusionTrial | None = None

    @property
    def done(self) -> int:
        return self.embedded + self.failed

    @property
    def lacks_features(self) -> bool:
        """Whether features are still to be made of images that are embedded."""
        return self.features is not None and bool(self.features.lacking)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do: the index covers the job, and all features that it wants are there."""
        return self.index_is_current and not self.lacks_features

    @property
    def held(self) -> int:
        """The images that the job holds anything of: those that were listed, without the purged ones."""
        return self.listed - self.purged

    @property
    def pending(self) -> int:
        return self.held - self.done

    @property
    def complete(self) -> bool:
        """Whether every partition is sealed."""
        return self.partitions["sealed"] == sum(self.partitions.values())

    def roles(self, embedding: int) -> list[str]:
        """The role of each worker that is needed for what is left to do, `embedding` of them for the partitions."""
        if not self.complete:
            return ["embed"] * embedding + ["merge"]
        if self.lacks_features:
            return ["embed"] * embedding + ([] if self.index_is_current else ["merge"])
        return ["merge"] if self.copies_done else ["embed", "merge"]

    def to_json(self) -> dict[str, Any]:
        index = self.index
        return {
            "job": self.job,
            "model": self.model,
            "sources": [{"kind": kind, "location": location} for kind, location in self.sources],
            "listed": self.listed,
            "embedded": self.embedded,
            "failed": self.failed,
            "pending": self.pending,
            "removed": self.removed,
            "purged": self.purged,
            "reclaimable_bytes": self.reclaimable,
            "beside_index": self.beside,
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
            "filling": None if self.filling is None else self.filling.summary,
            "refused": None if self.refused is None else self.refused.refused,
            "bundle": None if self.bundle is None else self.bundle.summary,
            "copies": None if self.features is None else self.features.to_json(),
            "calibration": None if self.calibration is None else self.calibration.summary,
            "fusion": None if self.fusion is None else self.fusion.to_json(),
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
    _sources: list[tuple[str, str]] = field(default_factory=list)
    _features: FeaturesReader = field(default_factory=FeaturesReader)

    def read(self) -> Progress:
        """Progress from disk alone. Raises CorruptFile or FingerprintMismatch when a seal or the index is not right."""
        while True:
            self.job = self.job.renewed()
            try:
                return self._read()
            except CorruptFile:
                if self.job.renewed() is self.job:
                    raise  # Else a compaction took away what was being read.

    def _read(self) -> Progress:
        # Chunks before seals: a worker removes the chunks of a partition once its seal is there, not the other way.
        started = {
            partition: chunks
            for partition in self.job.chunk_partitions()
            if self.job.holds(partition) and partition not in self._seals and (chunks := self._committed(partition))
        }
        seals = self.seals()
        under_way = {partition: chunks for partition, chunks in started.items() if partition not in seals}
        embedded = sum(seal.embedded for seal in seals.values())
        embedded += sum(chunk.embedded for chunks in under_way.values() for chunk in chunks)
        failed = sum(seal.failed for seal in seals.values())
        failed += sum(chunk.failed for chunks in under_way.values() for chunk in chunks)
        for number in self.job.retry_numbers() if len(seals) < self.job.partition_count else ():
            if self.job.holds(number) and number not in seals:
                kept = self._kept(number, started.get(number, []))
                embedded, failed = embedded + kept[0], failed + kept[1]
        state, bundle = self.job.state, self.job.manifest.bundle
        # What was removed from its job is not in a bundle, whether it was purged there or not.
        gone, purged = (0, len(state.purged)) if bundle is None else (bundle.removed, 0)
        pending = self.job.listed - gone - purged - embedded - failed
        rate, load = rate_of(seals.values(), under_way.values(), self.now()) if pending else (None, None)
        index = builds.current_info(self.job)
        request = read_index_request(self.job)
        whole = len(seals) == self.job.partition_count
        digest = builds.ledger_digest(list(seals.values())) if whole else ""
        is_current = whole and index is not None and (bundle is not None or index.covers(digest, request))
        reclaimed, sealed_bytes = (0, 0) if bundle is not None else reclaimable(self.job, seals, self._features)
        waiting = self.job.partition_count - len(seals) - len(under_way)
        partitions = {"sealed": len(seals), "started": len(under_way), "waiting": waiting}
        return Progress(
            job=str(self.job.path),
            model=self.job.manifest.model.fingerprint,
            listed=self.job.listed - gone,
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
            removed=0 if bundle is not None else len(state.removed),
            filling=filling(self.job, digest, request) if whole and not is_current else None,
            purged=purged,
            reclaimable=reclaimed,
            sealed_bytes=sealed_bytes,
            beside=rows_beside(self.job, index, list(seals.values())) if whole else 0,
            sources=self._places(),
            bundle=bundle,
            features=None if bundle is not None else self._features.read(self.job, seals.values()),
            calibration=None if index is None else calibration_of(self.job, index),
            fusion=self.job.manifest.fusion,
        )

    def _places(self) -> Sequence[tuple[str, str]]:
        """The sources of the job with their places, which are read again only when one is added."""
        if len(self._sources) != len(self.job.sources):
            try:
                moved = read_moved(self.job)
            except (CorruptFile, OSError):  # `verify` says what is wrong; how far the job is does not depend on it.
                moved = NOT_MOVED
            self._sources = [(source.kind, moved.now(source.location)) for source in self.job.sources]
        return self._sources

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
        """The seals by partition number, in the order of their ids."""
        found = {number: self._seals.get(number) for number in self.job.sealed()}
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
        chunks = [chunk for chunk in self.job.chunks(self.job.partition(partition)) if chunk.number not in done]
        embedded, failed = retry.kept(chunks)
        return embedded - sum(len(self.job.state.purged_in(chunk.start, chunk.stop)) for chunk in chunks), failed
