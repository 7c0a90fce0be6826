"""Give the status of a job as an object: what `lookalike status --json` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coordinator.jobs.activity import Activity
    from coordinator.jobs.progress import Progress


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The index that serves: its build, how many embeddings it has, its type, its measurements, and how many shards it
    is, 1 for an index of one file."""

    build: str
    ntotal: int
    type: str
    recall_at_10: float | None
    p50_ms: float
    shards: int

    @property
    def text(self) -> str:
        """All of it in one line."""
        recall = "" if self.recall_at_10 is None else f", recall@10 {self.recall_at_10:.3f}"
        shards = "" if self.shards == 1 else f" in {self.shards:,} shards"
        return f"{self.build}: {self.type}{shards}, {self.ntotal:,} embeddings{recall}, {self.p50_ms:.2f} ms (p50)"


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What the broker knows of a job: who works on it (`worker`, `what`), how many messages wait, who reports
    trouble (`worker`, `sentence`, `times`); what the query workers of any job hold of each index ("all", or shards such
    as "0-3"); `error` says why nothing is known."""

    reachable: bool
    holders: list[dict[str, str]]
    waiting: int
    troubles: list[dict[str, Any]]
    queries: list[str]
    error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """How far a job is.

    Attributes
    ----------
    job, model
        Its directory or URL, and the fingerprint of its model.
    listed, embedded, failed, pending
        Images.
    sources
        The `kind` and the `location`, where it is now, of each source.
    removed
        Images that no answer names any more; the counts above have them as they were before.
    purged, reclaimable_bytes
        Those among them of which a compaction left nothing, which are only listed; and about what another would free.
    beside_index
        Embeddings that were added to a complete job after its index was built, and are searched beside it.
    partitions
        How many are `sealed`, `started` and `waiting`.
    images_per_second, eta_seconds
        The rate of all workers and the time left; None while nothing is being committed.
    bottleneck, busy
        The stage that the others wait for, and the share of the time, 0 to 1, in which each is at work; None as well.
    index
        The index that serves; None before the first.
    filling
        The index whose shards are being filled: its `build`, how many `shards` it has and how many are `full`; or None.
    refused
        Why the index that was asked for last does not serve; None if it does.
    copies
        What is stored to tell copies of a picture apart: of how many `images`, in how many `partitions`, how many have
        none by the reason (`without`), its `bytes`, and whether what lacks it is to get it (`wanted`); or None.
    calibration
        What the index that serves was measured to mean: what the chances of similar hits are `measured` on, "job",
        "published" or "" for none, with the `reason`; among how many `images`, by how many `copies` of how many
        `originals`; of which share of the queries, whose original is there and is not, nothing is above chance
        (`nothing_there`, `nothing_absent`), which lies `bound` deviations above the ranks behind; the share of
        originals that comparing does not prove (`missed`); and under `verdicts` how many `copies` of how many `images`
        were compared, with how many `strangers`, and how many were `proven`, `false`, or left out as `unclear`. None
        before the first index.
    fusion
        What came of the trial of fusion: whether it was `kept`, or the `reason` why not, and the shares of `copies`
        whose original is found first, `plain` and `fused`, among how many `images`; None where it was not tried.
    broker
        Who works on the job.
    """

    job: str
    model: str
    listed: int
    embedded: int
    failed: int
    pending: int
    removed: int
    purged: int
    reclaimable_bytes: int
    beside_index: int
    sources: Sequence[Mapping[str, str]]
    partitions: Mapping[str, int]
    images_per_second: float | None
    eta_seconds: int | None
    bottleneck: str | None
    busy: Mapping[str, float] | None
    index: IndexStatus | None
    filling: Mapping[str, Any] | None
    refused: str | None
    broker: BrokerStatus
    bundle: Mapping[str, Any] | None = None
    copies: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    fusion: Mapping[str, Any] | None = None

    @property
    def done(self) -> int:
        """Images that are embedded or failed."""
        return self.embedded + self.failed

    def _repr_html_(self) -> str:
        from lookalike.notebook.shown import bar, table
        from shared.text import duration

        removed = f", {self.removed:,} removed" if self.removed else ""
        counts = f"{self.listed:,} listed, {self.embedded:,} embedded, {self.failed:,} failed, {self.pending:,} pending"
        parts = ", ".join(f"{count:,} {state}" for state, count in self.partitions.items())
        rows = [("job", self.job), ("model", self.model), ("images", counts + removed), ("partitions", parts)]
        if self.images_per_second is not None and self.eta_seconds is not None:
            rows.append(("rate", f"{self.images_per_second:,.0f} img/s, {duration(self.eta_seconds)} left"))
        rows.append(("index", "none yet" if (index := self.index) is None else index.text))
        if self.refused is not None:
            rows.append(("refused", self.refused))
        return f"{bar(self.done, self.done + self.pending)}{table(rows)}"

    @classmethod
    def of(cls, progress: "Progress", at_work: "Activity") -> "Status":
        table = progress.to_json()
        index = table.pop("index")
        return cls(
            **table,
            index=None if index is None else IndexStatus(**index),
            broker=BrokerStatus(**at_work.to_json()),
        )
