"""Choose what a compaction replaces: partitions with removed images, and small neighbours that fit into one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition.features.counted import FeaturesReader
from shared.job.partition.ledger import Seal
from shared.settings import Settings

MOST_SPANS: Final = 8
"""The ids of a partition that was joined of others, in partition sizes: each keeps its place in the path list."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is worth a compaction.

    A partition is rewritten where more than `share` of its rows are of removed images; small neighbours are joined
    where there are at least `small` of them.
    """

    share: float = 0.0
    small: int = 2


def bounds_of(settings: Settings) -> Bounds:
    """What is worth a compaction that nobody asked for."""
    return Bounds(settings.compact_share, settings.compact_small)


@dataclass(frozen=True, slots=True)
class Part:
    """A sealed partition, and how many of its rows are of images that were removed: the `dead` ones.

    `features` is what the features of its images take in bytes.
    """

    seal: Seal
    dead: int
    features: int = 0

    @property
    def live(self) -> int:
        return self.seal.embedded + self.seal.failed - self.dead

    @property
    def share(self) -> float:
        """The share of its rows that are dead."""
        return self.dead / (self.live + self.dead) if self.dead else 0.0

    @property
    def bytes(self) -> int:
        """The size of its sealed files, and of its features."""
        return sum(int(entry["bytes"]) for entry in self.seal.files.values()) + self.features

    @property
    def reclaimed(self) -> int:
        """About how many bytes its dead rows take."""
        return round(self.bytes * self.share)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring partitions that one new one takes the place of."""

    parts: Sequence[Part]

    @property
    def start(self) -> int:
        return self.parts[0].seal.start

    @property
    def stop(self) -> int:
        return self.parts[-1].seal.stop

    @property
    def live(self) -> int:
        return sum(part.live for part in self.parts)

    @property
    def dead(self) -> int:
        return sum(part.dead for part in self.parts)

    @property
    def reclaimed(self) -> int:
        """About how many bytes are freed."""
        return sum(part.reclaimed for part in self.parts)


def parts_of(job: OpenJob, seals: Mapping[int, Seal], features: FeaturesReader) -> Iterator[Part | None]:
    """The partitions of a job in order, None for one that is not sealed; `seals` are those of the others by number."""
    removed, purged = job.state.removed, job.state.purged
    beside = features.bytes(job, seals.values())
    for partition in job.partitions:
        seal = seals.get(partition.number)
        if seal is None:
            yield None
            continue
        dead = _between(removed, partition) - _between(purged, partition)
        yield Part(seal, min(dead, seal.embedded + seal.failed), beside.get(partition.number, 0))


def _between(ids: np.ndarray, partition: Partition) -> int:
    first, last = np.searchsorted(ids, [partition.start, partition.stop]).tolist()
    return int(last - first)


def choose(
    job: OpenJob, seals: Mapping[int, Seal], bounds: Bounds, apart: int, layout: Callable[[Seal], object]
) -> list[Run]:
    """The runs that a compaction replaces, in order; none where nothing is worth it.

    Partitions are joined where each fills at most half of one, and all of them fit into one. `apart` is the id behind
    the last that the promoted build covers, across which none are joined, so that it goes on covering the first ones;
    only those with the same `layout` are.
    """
    return [run for run in _runs(job, seals, bounds, apart, layout) if _is_worth_it(run, bounds)]


def _is_worth_it(run: Run, bounds: Bounds) -> bool:
    return len(run.parts) >= max(2, bounds.small) or any(part.dead and part.share > bounds.share for part in run.parts)


def _runs(
    job: OpenJob, seals: Mapping[int, Seal], bounds: Bounds, apart: int, layout: Callable[[Seal], object]
) -> Iterator[Run]:
    size = job.manifest.partition_size
    run: list[Part] = []
    for part in parts_of(job, seals, FeaturesReader()):
        joins = part is not None and 2 * part.live <= size
        if run and part is not None and joins:
            fits = sum(one.live for one in run) + part.live <= size
            spans = part.seal.stop - run[0].seal.start <= MOST_SPANS * size
            if fits and spans and part.seal.start != apart and layout(part.seal) == layout(run[0].seal):
                run.append(part)
                continue
        if run:
            yield Run(tuple(run))
        run = [part] if part is not None and joins else []
        if part is not None and not joins:
            yield Run((part,))
    if run:
        yield Run(tuple(run))


def reclaimable(job: OpenJob, seals: Mapping[int, Seal], features: FeaturesReader | None = None) -> tuple[int, int]:
    """About how many bytes removed images take in the sealed files and features of a job, and how many these have.

    `features` remembers what it read.
    """
    parts: Iterable[Part] = [part for part in parts_of(job, seals, features or FeaturesReader()) if part is not None]
    return sum(part.reclaimed for part in parts), sum(part.bytes for part in parts)
