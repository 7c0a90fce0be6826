"""Turn what was typed about the index of a job into its index request."""

from dataclasses import dataclass
from typing import Final

from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.index.request import AUTO, IndexRequest, read_index_request, write_index_request
from shared.settings import Settings
from shared.text import size_of


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed about an index: a family or FAISS factory string, a recall@10, a size, how many shards, the size
    of one; None: not typed."""

    index: str | None = None
    recall: float | None = None
    memory: str | None = None
    shards: int | None = None
    shard_memory: str | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError for an invalid request and UsageError for an invalid size, before anything is done."""
        if self.shards is not None and self.shard_memory is not None:
            raise UsageError(
                "A number of shards and the size of one don't go together: the size says how many there are."
            )
        if self.shard_memory is not None and not size_of(self.shard_memory):
            raise UsageError("The size of a shard is 0, which no index fits into: 1 shard is an index of one file.")
        self._over(IndexRequest())

    def _over(self, known: IndexRequest) -> IndexRequest:
        return IndexRequest(
            index=known.index if self.index is None else self._name(),
            recall=known.recall if self.recall is None else self.recall,
            memory_bytes=known.memory_bytes if self.memory is None else size_of(self.memory),
            **self._parts(known),
        )

    def _parts(self, known: IndexRequest) -> dict[str, int]:
        """How many files; a number that is typed takes the place of a size that was asked for before, and a size that
        of a number."""
        if self.shards is not None:
            return {"shards": self.shards, "shard_bytes": 0}
        if self.shard_memory is not None:
            return {"shards": 1, "shard_bytes": size_of(self.shard_memory)}
        return {"shards": known.shards, "shard_bytes": known.shard_bytes}

    def _name(self) -> str:
        text = (self.index or AUTO).strip()
        return text.lower() if text.isalpha() or text.lower() == "ivf-pq" else text

    def request(self, job: JobDir, settings: Settings) -> IndexRequest | None:
        """The request that a job has from now on: what was asked before, changed by what was typed.

        A value that was neither typed nor asked for before comes from the settings. Nothing is written if nothing was
        typed.
        """
        known = read_index_request(job)
        if self == Typed():
            return known
        asked = self._over(known or IndexRequest(recall=settings.recall_target))
        if asked != known:
            write_index_request(job, asked)
        return asked


NOTHING_TYPED: Final = Typed()
