"""Write and read the index request of a job: which index was asked for."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from shared.errors import CorruptFile, SettingsError
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.storage import files

AUTO: Final = "auto"
FAMILIES: Final = (AUTO, "flat", "ivf-pq", "rabitq", "hnsw", "annoy")
"""Indexes that are asked for by name; anything else is a FAISS factory string."""

MOST_SHARDS: Final = 1_000
"""Up to so many shards may be asked for."""

_ONE_FILE: Final = {"shards": 1, "shard_bytes": 0}

# FAISS writes the parts of an index with a capital first: "PCAR256,IVF2048,PQ128x4fs". A word without one is a slip.
_FACTORY = re.compile(r"[A-Z][A-Za-z0-9_,()\[\]=.+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """An index by family or FAISS factory string, the recall@10 to reach, and bytes it may take (0: no limit).

    It is one file, or as many as `shards` says, or with `shard_bytes` (0: no limit) as many as keep each file below
    that.
    """

    index: str = AUTO
    recall: float = 0.99
    memory_bytes: int = 0
    shards: int = 1
    shard_bytes: int = 0

    def __post_init__(self) -> None:
        if self.index not in FAMILIES and not (isinstance(self.index, str) and _FACTORY.fullmatch(self.index)):
            raise SettingsError(
                f"There is no index {self.index!r:.80}: name one of {', '.join(FAMILIES)}, or a FAISS factory string "
                'such as "PCAR256,IVF2048,PQ128x4fs".'
            )
        if isinstance(self.recall, bool) or not isinstance(self.recall, int | float) or not 0 <= self.recall <= 1:
            raise SettingsError(f"The recall@10 to reach is {self.recall!r:.80}; it must be a number from 0 to 1.")
        if type(self.memory_bytes) is not int or self.memory_bytes < 0:
            raise SettingsError(f"The memory of an index is {self.memory_bytes!r:.80}; it must be a number of bytes.")
        if type(self.shards) is not int or not 1 <= self.shards <= MOST_SHARDS:
            raise SettingsError(f"The shards of an index are {self.shards!r:.80}; expected 1 to {MOST_SHARDS:,}.")
        if type(self.shard_bytes) is not int or self.shard_bytes < 0:
            raise SettingsError(f"The memory of a shard is {self.shard_bytes!r:.80}; it must be a number of bytes.")
        if self.shards > 1 and self.shard_bytes:
            raise SettingsError(
                f"An index of {self.shards:,} shards was asked for, and also as many as keep each below "
                f"{self.shard_bytes:,} bytes: ask for one of the two."
            )
        if self.index == "annoy" and self.is_sharded:
            raise SettingsError(
                "Annoy's trees can't be shards: they say of no candidate how far it is, so those of several files "
                "can't be put in one order. Ask for another index, or for one file."
            )

    @property
    def is_sharded(self) -> bool:
        """Whether shards were asked for, of a number or of a size."""
        return self.shards > 1 or self.shard_bytes > 0

    def to_json(self) -> dict[str, Any]:
        """The values by name; those of shards only where they were asked for, so that it is what it was before."""
        table = asdict(self)
        return {key: value for key, value in table.items() if not key.startswith("shard") or value != _ONE_FILE[key]}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """The inverse of `to_json`; TypeError or SettingsError for anything else."""
        return cls(**table)


def read_index_request(job: JobDir) -> IndexRequest | None:
    """The index request of a job, or None if there is none; CorruptFile for a file that is no index request."""
    try:
        return IndexRequest.from_json(json.loads(files.read_marker(job.index_request)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, SettingsError) as error:
        raise CorruptFile(
            f"{job.index_request} does not say which index is asked for ({error})",
            remedy=Remedy("option", does="remove it, or ask again with {}", given={"index": ""}),
        ) from None


def write_index_request(job: JobDir, request: IndexRequest | None) -> None:
    """Write what is asked of a job, whole or not at all; None takes the file away: nothing is asked."""
    if request is None:
        job.index_request.unlink(missing_ok=True)
    else:
        files.write_bytes(job.index_request, (json.dumps(request.to_json(), indent=2) + "\n").encode())
