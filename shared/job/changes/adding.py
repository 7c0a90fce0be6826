"""Add partitions to a job in one change: their path lists and sealed files first, the change that names them last."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from shared.errors import JobError, JobMismatch, NoIndexYet, UsageError
from shared.errors.remedy import Remedy
from shared.images.members import Member
from shared.job import path_list
from shared.job.changes.log import Change, Ids, write_change
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.features.files import FEATURES_COLUMN
from shared.job.partition.features.marker import remove_features
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.job.source.moved import is_stored, read_moved
from shared.processes.failpoints import failpoint
from shared.storage import files

_NONE: Final[Ids] = np.empty(0, np.int64)
_NAMED: Final = 3

Block = tuple[pa.Table, np.ndarray]
"""Rows as `ledger.seal_rows` takes them: a table, and the embeddings of those that are "ok"."""


@dataclass(frozen=True, slots=True, eq=False)
class NewPartition:
    """One partition that is to be added.

    `paths` are the texts that it lists, `members` the places of those in archives (none at all, or one for each), and
    `known` the columns of source metadata in its path list. `blocks` gives its rows for the ids that it gets, with the
    columns of `schema`; `dim` is the dimension of its embeddings, and `seconds` how long ago the first of its images
    was read. `carried` is whether the rows have a column of features.
    """

    paths: Sequence[str]
    blocks: Callable[[Partition], Iterable[Block]]
    schema: pa.Schema
    dim: int
    members: Sequence[Member | None] = ()
    known: Mapping[str, pa.Array] = field(default_factory=dict)
    seconds: float = 0.0
    carried: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class NewRows:
    """Images that are to be added, all embedded, and in memory.

    `facts` is a table with the columns of the metadata behind image_path, and a row for each of `paths`; `embeddings`
    are theirs, float16 [n, dim], of length 1. `seconds` is how long ago the first of them was read. `features` are
    those of each, for a job that wants them, as the features column holds them.
    """

    paths: Sequence[str]
    facts: pa.Table
    embeddings: np.ndarray
    members: Sequence[Member | None] = ()
    seconds: float = 0.0
    features: Sequence[bytes | None] | None = None

    def partitions(self, job: OpenJob) -> Iterator[NewPartition]:
        """These images as partitions of a job, none larger than those that it was made with."""
        size = job.manifest.partition_size
        schema = pa.schema([*METADATA_SCHEMA, *list(self.facts.schema)[len(METADATA_SCHEMA) - 2 :]])
        for start in range(0, len(self.paths), size):
            part = slice(start, start + size)
            facts = self.facts.slice(start, size)
            features = None if self.features is None else self.features[part]
            yield NewPartition(
                paths=self.paths[part],
                blocks=partial(_blocks, self.paths[part], facts, self.embeddings[part], features),
                schema=schema,
                dim=self.embeddings.shape[1],
                members=self.members[part],
                known={name: facts[name] for name in job.manifest.source.known},
                seconds=self.seconds,
                carried=features is not None,
            )


def _blocks(
    paths: Sequence[str],
    facts: pa.Table,
    embeddings: np.ndarray,
    features: Sequence[bytes | None] | None,
    partition: Partition,
) -> Iterator[Block]:
    columns = {"id": pa.array(np.arange(partition.start, partition.stop)), "image_path": pa.array(paths, pa.string())}
    columns |= {name: facts[name] for name in facts.schema.names}
    columns["status"] = pa.array(["ok"] * len(paths), pa.string())
    columns["error_message"] = pa.nulls(len(paths), pa.string())
    if features is not None:
        columns[FEATURES_COLUMN] = pa.array(features, pa.binary())
    yield pa.table(columns), embeddings


def add_partitions(
    job: OpenJob,
    action: str,
    parts: Iterable[NewPartition],
    *,
    removed: Ids = _NONE,
    reasons: Mapping[str, int] | None = None,
    request: str = "",
) -> Change:
    """Add partitions behind those of a job, and remove `removed`, in one change, which is returned.

    The caller changes the job: it holds the lock. A kill leaves the job as it was, or changed; what was written by then
    counts for nothing, and the next that adds partitions removes it. Raises JobBusy, with nothing changed, where
    another process changed the job at the same time, and what the blocks raise.
    """
    take_back(job, job.state.next_number)
    first = number = job.next_number()
    start = job.listed
    written: list[Partition] = []
    change = Change(job.state.number + 1, action, removed=removed, reasons=dict(reasons or {}), request=request)
    try:
        for part in parts:
            partition = Partition(number, start, start + len(part.paths))
            failpoint("write_paths")
            written.append(partition)
            path_list.write_paths(job, partition, part.paths, part.members, part.known)
            failpoint("seal_partition")
            ledger.seal_rows(
                job,
                partition,
                part.blocks(partition),
                part.schema,
                dim=part.dim,
                seconds=part.seconds,
                carried=part.carried,
            )
            number, start = partition.number + 1, partition.stop
        change = Change(change.number, action, written, removed, change.reasons, request=request)
        write_change(job, job.manifest, change)
    except BaseException:
        # A change of this number names them, if there is one: this one, or on a mount without locks another one.
        with suppress(OSError):
            if not job.change(change.number).is_file():
                take_back(job, first)
        raise
    return change


def take_back(job: JobDir, first: int) -> None:
    """Remove what was written of partitions from number `first` on, which no change names yet.

    The caller changes the job: it holds the lock. What began to add them was killed. Were it left there, the next
    partition of that number would count as sealed, with the images of another.
    """
    last = first
    while job.paths(last).is_file():  # The first file of a partition that is written, and the last that goes.
        last += 1
    for number in reversed(range(first, last)):
        job.seal(number).unlink(missing_ok=True)
        files.sync_directory(job.ledger_dir)
        remove_features(job, number)
        for path in (*job.sealed_files(number), job.paths(number)):
            path.unlink(missing_ok=True)


def require_growing(job: OpenJob) -> None:
    """Raise JobError where nothing can be added to a job: one that is frozen, or has no index to find it beside."""
    if job.manifest.frozen:
        raise JobMismatch(
            f"{job.path} was made as a job that takes up nothing, and stays so: make another JOB for what is to change."
        )
    if not job.current.is_file():
        raise NoIndexYet(
            f"{job.path} has no index yet, beside which what is added could be found",
            remedy=Remedy(job.manifest.maker, str(job.path), "once {} has built one, add to it"),
        )


def require_vectors(job: OpenJob, model: str | None, dim: int) -> None:
    """Raise JobMismatch unless vectors of `dim` dimensions, made by `model`, can be compared with those of a job."""
    made = job.manifest.model
    if not made.is_imported:
        raise JobMismatch(
            f"The vectors of {job.path} were embedded by {made.fingerprint}, and none that were made elsewhere can be "
            "compared with them: add images."
        )
    if model not in (None, made.name) or dim != made.dim:
        named = "" if model is None else f" of the model {model!r}"
        raise JobMismatch(
            f"{job.path} holds vectors of {made.dim:,} dimensions of the model {made.name!r}, and those given have "
            f"{dim:,}{named}: vectors of two models can't be compared."
        )


def require_new(job: OpenJob, paths: Sequence[str], replaced: Sequence[int] = ()) -> list[str]:
    """`paths`, where the images are now, as a job lists them.

    Raises UsageError for a path that comes twice, and JobError for one that an image of the job has which was not
    removed and is none of `replaced`; CorruptFile for a damaged path list.
    """
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise UsageError(f"{twice[0]} was named twice: nothing was added. Name each image once.")
    moved = read_moved(job)
    listed = [path if is_stored(path) else moved.listed(path) for path in paths]
    for path, text in zip(paths, listed, strict=True):
        if not is_stored(path) and moved.now(text) != path:
            raise JobError(
                f"{path} can't be added to {job.path}: since its source moved, the job has other images under that "
                "name. Put the image elsewhere."
            )
    there = {path: image for path, image in path_list.find_paths(job, listed).items() if image not in set(replaced)}
    if there:
        some = [f"{moved.now(path)} (id {image})" for path, image in list(there.items())[:_NAMED]]
        more = f" and {len(there) - _NAMED:,} more" if len(there) > _NAMED else ""
        raise JobError(
            f"{job.path} has {', '.join(some)}{more} already: nothing was added. Leave out what it has; if the "
            "image is another one now, remove the old one first, or update it."
        )
    return listed
