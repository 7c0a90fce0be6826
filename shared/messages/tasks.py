"""Define the messages of tasks, task names and queue names: frozen, versioned JSON, never a pickle, an array or a
path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from shared.errors import JobError, MessageError
from shared.job.directory import check_job_id
from shared.job.identity import is_identity, known_as

VERSION = 1

EMBED_TASK, EMBED_QUEUE = "lookalike.embed_partition", "embed"
COPIES_TASK = "lookalike.embed_copies"
CHANGE_TASK = "lookalike.change_job"
MERGE_TASK, MERGE_QUEUE = "lookalike.merge_job", "merge"
SHARD_TASK = "lookalike.fill_shard"
NEIGHBOURS_TASK = "lookalike.find_neighbours"
COMPARE_TASK = "lookalike.compare_pairs"
SEARCH_TASK, QUERY_QUEUE = "lookalike.search", "query"
THUMBNAIL_TASK = "lookalike.make_thumbnail"
# In front of the names of shards: the queue of those query workers that hold just these.
SHARDS_QUEUE = f"{QUERY_QUEUE}.shards-"
# Celery's name of the question to all workers that each answers with its clock, version and queues.
SELF_REPORT = "lookalike_self_report"
# A role is what `lookalike worker ROLE` starts; each has one queue.
QUEUES = {"embed": EMBED_QUEUE, "merge": MERGE_QUEUE, "query": QUERY_QUEUE}
TASK_QUEUES = {
    EMBED_TASK: EMBED_QUEUE,
    COPIES_TASK: EMBED_QUEUE,
    CHANGE_TASK: EMBED_QUEUE,
    MERGE_TASK: MERGE_QUEUE,
    SHARD_TASK: MERGE_QUEUE,
    NEIGHBOURS_TASK: MERGE_QUEUE,
    COMPARE_TASK: EMBED_QUEUE,
    SEARCH_TASK: QUERY_QUEUE,
    THUMBNAIL_TASK: QUERY_QUEUE,
}

MAX_PARTITION = 10_000_000
MAX_SHARD = 9_999


def is_query_queue(queue: str) -> bool:
    """Whether a queue carries queries: that of workers which hold all of an index, or some shards."""
    return queue == QUERY_QUEUE or queue.startswith(SHARDS_QUEUE)


def is_of_queue(task: str, queue: str) -> bool:
    """Whether messages for a task of this name are sent to `queue`."""
    of_queries = TASK_QUEUES.get(task) == QUERY_QUEUE
    return is_query_queue(queue) if of_queries else TASK_QUEUES.get(task) == queue


def checked_fields(table: Any, kind: str, names: set[str], optional: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """`table` as a mapping with exactly `names`, perhaps some `optional`, of this version; MessageError otherwise."""
    if not isinstance(table, Mapping):
        raise MessageError(f"{_a(kind)} message must be a JSON object, not {type(table).__name__}.")
    version = table.get("version")
    if type(version) is not int or version != VERSION:  # True equals 1 in Python.
        raise MessageError(
            f"{_a(kind)} message of version {version!r:.80} came, and this worker speaks version {VERSION}: "
            "run the same version of lookalike everywhere."
        )
    if set(table) - optional != names | {"version"}:
        raise MessageError(
            f"{_a(kind)} message must hold {sorted(names)}, not {sorted(map(str, set(table) - {'version'}))!s:.200}: "
            "run the same version of lookalike everywhere."
        )
    return table


def _a(kind: str) -> str:
    return f"{'An' if kind == 'embed' else 'A'} {kind}"


def checked_job(value: Any) -> str:
    """`value` as the id of a job; MessageError where it can be none."""
    try:
        return check_job_id(value)
    except JobError as error:
        raise MessageError(str(error)) from None


def checked_identity(values: Mapping[str, Any]) -> str | None:
    """Which job of its name a message is about; None if it does not say."""
    if "identity" not in values:
        return None
    if not is_identity(values["identity"]):
        raise MessageError(f"identity must be 16 hex digits, not {values['identity']!r:.80}.")
    return str(values["identity"])


def checked_integer(value: Any, name: str, least: int, most: int) -> int:
    """`value` as a whole number from `least` to `most`; MessageError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise MessageError(f"{name} must be a whole number from {least} to {most}, not {value!r:.80}.")
    return value


class AboutJob:
    """What the messages about a job have alike: its name, and which job of that name they mean, if they say it."""

    __slots__ = ()
    job: str
    identity: str | None

    @property
    def known_as(self) -> str:
        """The name of the job in the keys of its leases."""
        return known_as(self.job, self.identity)

    def table(self, **values: Any) -> dict[str, Any]:
        """The message as JSON: version and job, then `values`, then the identity, if there is one."""
        table = {"version": VERSION, "job": self.job} | values
        return table if self.identity is None else table | {"identity": self.identity}


@dataclass(frozen=True, slots=True)
class EmbedPartition(AboutJob):
    """Embed what is missing in one partition of a job, and seal it; without an `identity`, of any job of that name."""

    job: str
    partition: int
    identity: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.table(partition=self.partition)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, "embed", {"job", "partition"}, frozenset({"identity"}))
        return cls(
            checked_job(values["job"]),
            checked_integer(values["partition"], "partition", 0, MAX_PARTITION),
            checked_identity(values),
        )


@dataclass(frozen=True, slots=True)
class _WholeJob(AboutJob):
    """A task for a whole job; without an `identity`, for any job of that name."""

    job: str
    identity: str | None = None

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        return self.table()

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, cls.kind, {"job"}, frozenset({"identity"}))
        return cls(checked_job(values["job"]), checked_identity(values))


class EmbedCopies(_WholeJob):
    """Embed altered copies of some images of a job, if all its partitions are sealed."""

    __slots__ = ()
    kind = "copies"


class MergeJob(_WholeJob):
    """Build the index of a job, if all its partitions are sealed."""

    __slots__ = ()
    kind = "merge"


@dataclass(frozen=True, slots=True)
class FillShard(AboutJob):
    """Fill one shard, counted from 0, of a build of a job; without an `identity`, of any job of that name."""

    job: str
    build: str
    shard: int
    identity: str | None = None

    def to_json(self) -> dict[str, Any]:
        return self.table(build=self.build, shard=self.shard)

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises MessageError for anything but what `to_json` gives."""
        values = checked_fields(table, "shard", {"job", "build", "shard"}, frozenset({"identity"}))
        return cls(
            checked_job(values["job"]),
            checked_job(values["build"]),
            checked_integer(values["shard"], "shard", 0, MAX_SHARD),
            checked_identity(values),
        )
