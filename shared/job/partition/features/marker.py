"""Mark the features of a partition as whole: which embeddings they are of, how they were made, sizes and checksums."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from shared.errors import CorruptFile
from shared.job.directory import JobDir
from shared.job.partition.features.files import FeatureWriter, features_written
from shared.job.partition.features.record import STORED_VERSION
from shared.processes.failpoints import failpoint
from shared.storage import files

if TYPE_CHECKING:
    from shared.job.partition.ledger import Seal

UNKNOWN: Final = "not stored before"
"""Why an image has none whose features were not stored when its row was."""


@dataclass(frozen=True, slots=True)
class FeaturesSeal:
    """What marks the features of a partition: the `version` that they were made by, the `rows` that they have.

    `embeddings` and `metadata` are the SHA-256 of the files that they stand beside: of others they count for nothing.
    `without` counts images that have none by the reason. `files` gives size and SHA-256 of each file by its name inside
    the job.
    """

    version: str
    partition: int
    rows: int
    embeddings: str
    metadata: str
    files: Mapping[str, Mapping[str, Any]]
    sealed_at: float
    without: Mapping[str, int] = field(default_factory=dict)

    def is_of(self, job: JobDir, seal: "Seal") -> bool:
        """Whether these are the features of the embeddings that `seal` seals."""
        number = seal.partition
        found = (self.partition, self.rows, self.embeddings, self.metadata)
        return found == (
            number,
            seal.embedded,
            seal.entry(job, job.img_emb(number))["sha256"],
            seal.entry(job, job.metadata(number))["sha256"],
        )

    @property
    def bytes(self) -> int:
        return sum(int(entry["bytes"]) for entry in self.files.values())

    @property
    def lacking(self) -> int:
        """How many images have none."""
        return sum(self.without.values())


def read_features_seal(job: JobDir, partition: int) -> FeaturesSeal | None:
    """The marker of the features of a partition, None where there is none; CorruptFile when it is not as written."""
    path = job.features_seal(partition)
    try:
        found = FeaturesSeal(**json.loads(files.read_marker(path)))
        names = {one.relative_to(job.path).as_posix() for one in job.features_files(partition)}
        if found.partition != partition or set(found.files) != names:
            raise ValueError(f"it is of partition {found.partition}")
        _ = found.bytes + found.lacking + found.rows
        return found
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFile(f"The marker {path} can't be read ({error}).") from None


def usable_features(job: JobDir, seal: "Seal") -> FeaturesSeal | None:
    """The marker of the features of a sealed partition; None where it has none of this version, for these embeddings.

    One that is damaged is as none: `verify` says so.
    """
    try:
        found = read_features_seal(job, seal.partition)
    except CorruptFile:
        return None
    return found if found is not None and found.version == STORED_VERSION and found.is_of(job, seal) else None


class Features:
    """The features of a partition that is being sealed; without any where the rows carry none."""

    def __init__(self, job: JobDir, partition: int, writer: FeatureWriter | None) -> None:
        self._job, self._partition, self._writer = job, partition, writer

    def seen(self, blocks: Iterable[tuple[pa.Table, np.ndarray]]) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """The blocks of rows on their way to the seal, whose features are taken."""
        for table, embeddings in blocks:
            if self._writer is not None:
                self._writer.add(table)
            yield table, embeddings

    def take(self, block: pa.Table) -> None:
        """Take rows that are sealed already, with their features."""
        assert self._writer is not None
        self._writer.add(block)

    def mark(self, sealed: Mapping[str, Mapping[str, Any]], without: Mapping[str, int] | None = None) -> None:
        """Mark what was written as the features of the files that were `sealed`; call it before these are.

        Where there are none, what was there of an earlier seal goes. `without` counts the images that have none by the
        reason.
        """
        job, number = self._job, self._partition
        if self._writer is None:
            if job.features_seal(number).is_file():
                remove_features(job, number)
            return
        failpoint("mark_features")
        writer = self._writer
        reasons = without if without is not None else {UNKNOWN: writer.without} if writer.without else {}
        if sum(reasons.values()) != writer.without:
            raise ValueError(
                f"{writer.without} images of partition {number} have no features, and {reasons} were said."
            )
        names = (path.relative_to(job.path).as_posix() for path in (job.img_emb(number), job.metadata(number)))
        embeddings, metadata = (sealed[name]["sha256"] for name in names)
        marker = FeaturesSeal(
            version=STORED_VERSION,
            partition=number,
            rows=writer.rows,
            embeddings=embeddings,
            metadata=metadata,
            files=writer.files,
            sealed_at=datetime.now(UTC).timestamp(),
            without=dict(reasons),
        )
        files.write_bytes(job.features_seal(number), (json.dumps(asdict(marker), indent=2) + "\n").encode())


@contextmanager
def features_of(job: JobDir, partition: int, *, carried: bool) -> Iterator[Features]:
    """Take the features of a partition from the rows that go by; `carried` is whether they have any.

    Their files are there when the block has ended; `mark` is called after that.
    """
    if not carried:
        yield Features(job, partition, None)
        return
    failpoint("write_features")
    with features_written(job, partition) as writer:
        yield Features(job, partition, writer)


def remove_features(job: JobDir, partition: int) -> None:
    """Remove the features of a partition, their marker first."""
    for path in (job.features_seal(partition), *job.features_files(partition)):
        path.unlink(missing_ok=True)
        files.remove_leftovers(path)
