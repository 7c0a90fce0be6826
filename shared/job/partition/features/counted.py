"""Count what features a job has, from the markers of its partitions alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.job.directory import JobDir
from shared.job.partition.features.marker import FeaturesSeal, usable_features
from shared.job.partition.features.wanted import wanted_features
from shared.job.partition.ledger import Seal


@dataclass(frozen=True, slots=True)
class FeaturesCount:
    """How far the features of a job are.

    `images` have theirs, in `partitions` of the sealed ones; `without` counts those that have none in these by the
    reason. `bytes` is what they take. `lacking` are the numbers of the sealed partitions that lack theirs, and `wanted`
    is whether these are to be made.
    """

    wanted: bool
    partitions: int
    images: int
    bytes: int
    without: Mapping[str, int] = field(default_factory=dict)
    lacking: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "wanted": self.wanted,
            "partitions": self.partitions,
            "images": self.images,
            "without": dict(self.without),
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class FeaturesReader:
    """Counts the features of a job again and again; the marker of a partition is read once while its seal stays."""

    _markers: dict[int, tuple[Seal, FeaturesSeal]] = field(default_factory=dict)

    def read(self, job: JobDir, seals: Iterable[Seal]) -> FeaturesCount | None:
        """What there is of these sealed partitions; None for a job that wants no features and has none.

        Raises CorruptFile when what says whether it wants any can't be read.
        """
        wanted, marked = wanted_features(job) is not None, set(job.marked_features())
        if not wanted and not marked:
            return None
        found: list[FeaturesSeal] = []
        lacking: list[int] = []
        for seal in seals:
            marker = self._marker(job, seal, marked)
            if marker is None:
                lacking.append(seal.partition)
            else:
                found.append(marker)
        without: Counter[str] = Counter()
        for marker in found:
            without.update(marker.without)
        images = sum(marker.rows for marker in found) - without.total()
        size = sum(marker.bytes for marker in found)
        return FeaturesCount(wanted, len(found), images, size, dict(without), tuple(lacking) if wanted else ())

    def bytes(self, job: JobDir, seals: Iterable[Seal]) -> dict[int, int]:
        """What the features of these sealed partitions take, by the numbers of those that have any."""
        marked = set(job.marked_features())
        markers = ((seal.partition, self._marker(job, seal, marked)) for seal in seals if seal.partition in marked)
        return {number: marker.bytes for number, marker in markers if marker is not None}

    def _marker(self, job: JobDir, seal: Seal, marked: Collection[int]) -> FeaturesSeal | None:
        number = seal.partition
        known = self._markers.get(number)
        if number not in marked:
            marker = None
        elif known is not None and known[0] == seal:
            marker = known[1]
        else:
            marker = usable_features(job, seal)
        if marker is None:
            self._markers.pop(number, None)
        else:
            self._markers[number] = (seal, marker)
        return marker
