"""Turn what was typed about the index of a job into its index request."""

from dataclasses import dataclass
from typing import Final

from shared.job.directory import JobDir
from shared.job.index.request import AUTO, IndexRequest, read_index_request, write_index_request
from shared.settings import Settings
from shared.text import size_of


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed about an index: a family or FAISS factory string, a recall@10, a size; None: not typed."""

    index: str | None = None
    recall: float | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError for an invalid request and UsageError for an invalid size, before anything is done."""
        self._over(IndexRequest())

    def _over(self, known: IndexRequest) -> IndexRequest:
        return IndexRequest(
            index=known.index if self.index is None else self._name(),
            recall=known.recall if self.recall is None else self.recall,
            memory_bytes=known.memory_bytes if self.memory is None else size_of(self.memory),
        )

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
