"""The messages of a search for duplicates: a partition whose neighbours are to be found, pairs to be compared."""

import re
from dataclasses import dataclass
from typing import Any, Self

from shared.errors import MessageError
from shared.messages.tasks import (
    MAX_PARTITION,
    AboutJob,
    checked_fields,
    checked_identity,
    checked_integer,
    checked_job,
)

_BATCH = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class FindNeighbours(AboutJob):
    """Find the neighbours of the images of a partition; without an `identity`, of any job of that name."""

    job: str
    partition: int
    identity: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.table(neighbours_of=self.partition)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, "neighbours", {"job", "neighbours_of"}, frozenset({"identity"}))
        return cls(
            checked_job(values["job"]),
            checked_integer(values["neighbours_of"], "neighbours_of", 0, MAX_PARTITION),
            checked_identity(values),
        )


@dataclass(frozen=True, slots=True)
class ComparePairs(AboutJob):
    """Compare a batch of pairs of images, which a file of the job lists under the name of the batch, 16 hex digits."""

    job: str
    batch: str
    identity: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.table(batch=self.batch)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, "compare", {"job", "batch"}, frozenset({"identity"}))
        if not isinstance(values["batch"], str) or not _BATCH.fullmatch(values["batch"]):
            raise MessageError(f"batch must be 16 hex digits, not {values['batch']!r:.80}.")
        return cls(checked_job(values["job"]), values["batch"], checked_identity(values))
