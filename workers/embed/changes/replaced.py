"""The image of a job that an update replaces: what is known of it, and its row as it is sealed."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import JobError
from shared.images.members import Member
from shared.job import path_list
from shared.job.changes.adding import NewRows
from shared.job.changes.removing import require_there
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger, sealing
from shared.job.partition.features.reading import open_features
from shared.job.partition.ledger import Seal
from shared.job.source.values import Values, columns_of, table_of
from shared.storage.parquet import read_table


@dataclass(frozen=True, slots=True)
class Replaced:
    """An image of a job that is to be replaced: its id, its path as listed, its place in an archive, its metadata."""

    job: OpenJob
    id: int
    path: str
    member: Member | None
    known: Values

    @classmethod
    def of(cls, job: OpenJob, image_id: int) -> "Replaced":
        """The image of an id; JobError for one that was never given, was removed, or is not sealed yet."""
        require_there(job, np.array([image_id], np.int64), "changed")
        partition = job.partition_of(image_id)
        if not ledger.is_sealed(job, partition.number):
            raise JobError(f"The image {image_id:,} of {job.path} is not sealed yet: nothing was changed.")
        place = image_id - partition.start
        location = path_list.read_locations(job, partition)[place]
        if job.manifest.model.is_imported:
            row = _row(job, image_id)
            known = {name: None if row is None else row[0][name].to_pylist()[0] for name in columns_of(job).names}
        else:
            known = path_list.read_known(job, partition).slice(place, 1).to_pylist()
            known = known[0] if known else {}
        return cls(job, image_id, location.path, location.member, known)

    def with_metadata(self, metadata: Values) -> NewRows:
        """The same image with other metadata, not read or embedded again. JobError for an image that failed."""
        row = _row(self.job, self.id)
        if row is None:
            raise JobError(
                f"The image {self.id:,} of {self.job.path} failed, and has no metadata to change: give it an image."
            )
        table, embedding = row
        columns = columns_of(self.job)
        facts = {name: table[name] for name in sealing.METADATA_SCHEMA.names[2:]}
        known = table_of(columns, [{**self.known, **metadata}])
        facts |= {name: known[name] for name in columns.names}
        seal = ledger.read_seal(self.job, self.job.partition_of(self.id).number)
        age = max(0.0, time.time() - seal.sealed_at) + seal.seconds
        members = [self.member] if self.member else []
        return NewRows([self.path], pa.table(facts), embedding, members, age, self._features(seal))

    def _features(self, seal: Seal) -> list[bytes | None] | None:
        """The features of the image; None where none are stored of its partition."""
        rows = open_features(JobFiles.of(self.job), seal)
        row = None if rows is None else rows.row_of(self.id)
        return None if rows is None or row is None else rows.column([row])


def _row(job: OpenJob, image_id: int) -> tuple[pa.Table, np.ndarray] | None:
    """The sealed metadata and embedding, float16 [1, d], of an image; None where it failed."""
    number = job.partition_of(image_id).number
    seal, table = ledger.read_seal(job, number), read_table(job.metadata(number))
    rows = np.flatnonzero(table["id"].to_numpy() == image_id)
    if not len(rows):
        return None
    vectors = sealing.read_embeddings(job.img_emb(number), seal.embedded, seal.dim, rows.tolist())
    return table.filter(pc.equal(table["id"], image_id)), np.array(vectors)


def merged(old: Values | None, given: Values | None) -> dict[str, Any]:
    """The metadata of an image: what was known of the one that it replaces, and over it what is given."""
    return {**(old or {}), **(given or {})}
