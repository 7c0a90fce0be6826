"""What a compaction replaced: one new partition for a run of neighbours, and the seals that its images had before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.job.manifest import Partition


@dataclass(frozen=True, slots=True)
class SealFacts:
    """What a seal says of its embeddings: the partition, how many there are, and the SHA-256 of two of its files.

    Builds are compared with these: an index covers what they describe, and nothing else.
    """

    partition: Partition
    embedded: int
    img_emb: str
    metadata: str

    @property
    def line(self) -> bytes:
        """The line that stands for the partition in the digest of what an index covers."""
        one = self.partition
        return f"{one.number} {one.start} {one.stop} {self.embedded} {self.img_emb} {self.metadata}\n".encode()


FailedUntil = tuple[tuple[int, float], ...]
"""Up to when failed images were as they were read: first ids, ascending, each with the seconds since the epoch that
hold from it on, up to the next."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """One partition of a compaction: what it was `sealed` with, and the `former` partitions that it replaced.

    What was changed up to `began`, in seconds since the epoch, was read by these as it is now, 0 where that is not
    known. An image of them that failed was so up to the time that `failed` has for its id.
    """

    sealed: SealFacts
    former: Sequence[SealFacts]
    began: float
    failed: FailedUntil

    @property
    def partition(self) -> Partition:
        return self.sealed.partition

    def to_json(self) -> dict[str, Any]:
        """It as a change names it."""
        return {
            "sealed": _row(self.sealed),
            "former": [_row(one) for one in self.former],
            "began": self.began,
            "failed": self.failed,
        }


def replaced_from_json(table: dict[str, Any]) -> Replaced:
    """The inverse of `Replaced.to_json`; raises ValueError, KeyError or TypeError for anything else."""
    former = tuple(map(_facts, table["former"]))
    if not former:
        raise ValueError("it replaces no partition")
    sealed = _facts(table["sealed"])
    return Replaced(sealed, former, float(table["began"]), _failed(table["failed"], sealed.partition))


def _failed(value: Any, partition: Partition) -> FailedUntil:
    if isinstance(value, int | float):  # Earlier versions wrote one time for all, the least of the former partitions.
        return ((partition.start, float(value)),)
    failed = tuple((int(first), float(until)) for first, until in value)
    firsts = [first for first, _ in failed]
    if firsts[:1] != [partition.start] or firsts != sorted(set(firsts)) or firsts[-1] >= partition.stop:
        raise ValueError(f"its times of failed images begin at {firsts}, not from {partition.start} on ascending")
    return failed


def _row(facts: SealFacts) -> list[Any]:
    one = facts.partition
    return [one.number, one.start, one.stop, facts.embedded, facts.img_emb, facts.metadata]


def _facts(row: list[Any]) -> SealFacts:
    number, start, stop, embedded, img_emb, metadata = row
    return SealFacts(Partition(int(number), int(start), int(stop)), int(embedded), str(img_emb), str(metadata))
