"""Add a few images or vectors to a job at once: in a process of its own, or out of files of vectors here."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from coordinator.client.change_messages import adding
from coordinator.jobs.runs.events import Doing, Said, Tell
from coordinator.sources.vectors.vectors import Vectors, open_vectors
from shared.errors import JobError, SourceError, UsageError
from shared.job.changes.adding import Block, NewPartition, add_partitions, require_growing, require_new, require_vectors
from shared.job.changes.lock import changing
from shared.job.changes.log import ADD
from shared.job.directory import JobDir
from shared.job.index.uncovered import merge_due
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.job.source.values import columns_of
from shared.messages.changed import Changed, changed_from_json
from shared.messages.changes import ChangeJob
from shared.processes import stage
from shared.vectors import to_unit_vectors

PATIENCE_SECONDS: Final = 30.0
_FACTS: Final = METADATA_SCHEMA.names[2:]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be added to a job: `images`, each by its path or URL, or else the `vectors` of a file or a folder, as
    `open_vectors` takes them, made by the model `model_name`, None for that of the job."""

    job: JobDir
    images: Sequence[str] = ()
    vectors: str | None = None
    column: str | None = None
    path_column: str | None = None
    model_name: str | None = None


def add(asked: Asked, tell: Tell) -> Changed:
    """Add images or vectors to a job, all or none: query workers that run find them from their next query on.

    May be ended at any moment: then nothing is added, or all is. Raises as `made_apart` does; for vectors SourceError
    when they can't be read or one has no direction, UsageError for columns that the job does not have.
    """
    if asked.vectors is None:
        for image in filter(os.path.isdir, map(os.path.expanduser, asked.images)):
            raise UsageError(f"{image} is a folder: name the images in it, or make a job of it and refresh that.")
        count = len(asked.images)
        tell(Doing("Embedding 1 image …" if count == 1 else f"Embedding {count:,} images …"))
        return made_apart(asked.job, adding(asked.job.job_id, asked.images, None, None, None))
    vectors = open_vectors(asked.vectors, asked.column, asked.path_column)
    if vectors.left_out:
        tell(Said("columns left out: " + ", ".join(f"{name} ({why})" for name, why in vectors.left_out.items())))
    tell(Doing(f"Adding {vectors.rows:,} vectors …"))
    with changing(asked.job, PATIENCE_SECONDS) as job:
        require_growing(job)
        require_vectors(job, asked.model_name, vectors.dim)
        columns = columns_of(job)
        _require_columns(job, vectors, columns)
        paths = require_new(job, vectors.paths(0, vectors.rows))
        change = add_partitions(job, ADD, _partitions(job, vectors, paths, columns))
    ids = range(change.partitions[0].start, change.partitions[-1].stop)
    return Changed(ids, change.number, merge_due(asked.job))


def made_apart(job: JobDir, message: ChangeJob) -> Changed:
    """Make the change that a message asks for in a process of its own, which loads the model of the job.

    Raises what `workers.embed.changes.apply` raises; with nothing changed, unless the same message finds it done.
    """
    result = stage.result_of(
        "workers.embed.changes.process",
        [str(job.path)],
        lambda said: None,
        what=f"The change of {job.path}",
        request=message.to_json(),
        ended=JobError,
    )
    return changed_from_json(result)


def _require_columns(job: OpenJob, vectors: Vectors, columns: pa.Schema) -> None:
    unknown = [name for name in vectors.schema.names if name not in (*METADATA_SCHEMA.names, *columns.names)]
    if unknown:
        has = ", ".join(columns.names) or "none besides lookalike's own"
        raise UsageError(
            f"The metadata of {vectors.location} has the column {unknown[0]!r:.80}, and that of {job.path} has not; it "
            f"has {has}: nothing was added."
        )


def _partitions(job: OpenJob, vectors: Vectors, paths: Sequence[str], columns: pa.Schema) -> Iterator[NewPartition]:
    size = job.manifest.partition_size
    for start in range(0, vectors.rows, size):
        part = paths[start : start + size]
        blocks = partial(_blocks, vectors, start, part, columns)
        yield NewPartition(part, blocks, pa.schema([*METADATA_SCHEMA, *columns]), vectors.dim)


def _blocks(
    vectors: Vectors, first: int, paths: Sequence[str], columns: pa.Schema, partition: Partition
) -> Iterator[Block]:
    """The rows of a partition that begins with the vector `first`, some at once."""
    for start, raw in vectors.blocks(first, first + len(paths)):
        units, good = to_unit_vectors(raw)
        if not good.all():
            raise SourceError(
                f"The vector {start + int(np.flatnonzero(~good)[0]):,} of {vectors.location}, counted from 0, is zero, "
                "null or not finite, so it has no direction: nothing was added. Leave it out."
            )
        stop, ahead = start + len(raw), partition.start - first
        known = vectors.known(start, stop)
        table = {"id": pa.array(np.arange(start + ahead, stop + ahead))}
        table["image_path"] = pa.array(paths[start - first : stop - first], pa.string())
        table |= {name: known[name] for name in _FACTS}
        table |= {field.name: _held(vectors, known, field) for field in columns}
        table["status"] = pa.array(["ok"] * len(raw), pa.string())
        table["error_message"] = pa.nulls(len(raw), pa.string())
        yield pa.table(table), units


def _held(vectors: Vectors, known: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    """The values of a column of the job; null where those vectors have no such column."""
    if field.name not in known.schema.names:
        return pa.nulls(len(known), field.type)
    try:
        return known[field.name].cast(field.type)
    except pa.ArrowException as error:
        raise UsageError(
            f"The column {field.name} of the job holds {field.type}, which can't hold that of {vectors.location} "
            f"({error}): nothing was added."
        ) from None
