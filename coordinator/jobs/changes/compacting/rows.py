"""Read the rows of sealed partitions that stay, bit by bit, to be sealed again in one partition."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coordinator.jobs.changes.compacting.plan import Run
from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job import path_list
from shared.job.changes.log import Ids
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger, sealing
from shared.job.partition.features.files import FEATURES_COLUMN, FeatureRows
from shared.job.partition.features.marker import usable_features
from shared.job.partition.features.reading import open_features
from shared.job.partition.ledger import Seal
from shared.storage import files
from shared.storage.parquet import read_schema, read_table

_BLOCK_ROWS: Final = 8_192


def layout_of(job: OpenJob, seal: Seal) -> tuple[int, pa.Schema, bool]:
    """The dimensions and the metadata columns of a partition, and whether it has features: those with the same can be
    one.
    """
    schema = read_schema(job.metadata(seal.partition)).remove_metadata()
    return seal.dim, schema, usable_features(job, seal) is not None


def write_joined(job: OpenJob, partition: Partition, run: Run, gone: Ids) -> Seal:
    """Write the path list and the sealed files of `partition`, which is to take the place of a run, without the images
    `gone`, int64 ascending; nothing counts until a change names the partition.

    Raises CorruptFile when a file of the run is not what was sealed.
    """
    seals = [part.seal for part in run.parts]
    former = [Partition(seal.partition, seal.start, seal.stop) for seal in seals]
    path_list.write_joined(job, partition, former, gone)
    dim, schema, carried = layout_of(job, seals[0])
    worked = sum(seal.seconds for seal in seals)
    blocks = _blocks(job, seals, gone, schema, carried)
    return ledger.seal_rows(job, partition, blocks, schema, dim=dim, purged=gone, worked=worked, carried=carried)


def _blocks(
    job: OpenJob, seals: Sequence[Seal], gone: Ids, schema: pa.Schema, carried: bool
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The rows that stay, a few thousand at once: as `ledger.seal_rows` takes them."""
    job_files = JobFiles.of(job)
    for seal in seals:
        table, embeddings = _whole(job, seal, schema)
        features = _features(job_files, seal) if carried else None
        kept = ~np.isin(table["id"].to_numpy(), gone)
        good = pc.equal(table["status"], "ok").to_numpy()
        rows = np.cumsum(good) - 1
        for start in range(0, len(table), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            stays = kept[block]
            wanted = rows[block][stays & good[block]]
            left = table.slice(start, _BLOCK_ROWS).filter(pa.array(stays))
            if features is not None:
                theirs = iter(features.column(wanted.tolist()))
                column = [next(theirs) if one else None for one in good[block][stays].tolist()]
                left = left.append_column(FEATURES_COLUMN, pa.array(column, pa.binary()))
            yield left, np.asarray(embeddings[wanted])


def _features(job_files: JobFiles, seal: Seal) -> FeatureRows:
    """The features of a partition, once their files were compared; CorruptFile when they are not what was written."""
    try:
        found = open_features(job_files, seal, check=True)
    except CorruptFile as error:
        raise _damaged(job_files.job, error.found) from None
    if found is None:
        raise _damaged(job_files.job, f"The features of partition {seal.partition} were removed meanwhile")
    return found


def _damaged(job: JobDir, wrong: str) -> CorruptFile:
    then = Remedy("index", str(job.path), "the next {} makes them again")
    remedy = Remedy("repair", str(job.path), "takes them back", then=then)
    return CorruptFile(f"{wrong.rstrip('.')}, and nothing was compacted", remedy=remedy)


def _whole(job: OpenJob, seal: Seal, schema: pa.Schema) -> tuple[pa.Table, np.ndarray]:
    """All rows of a partition in the order of their ids, and its embeddings, once each file was compared."""
    for path in job.sealed_files(seal.partition):
        try:
            found = files.sha256_of(path)
        except FileNotFoundError:
            found = ""
        if found != seal.entry(job, path)["sha256"]:
            raise CorruptFile(
                f"{path} is missing or has another checksum than its seal says, and nothing was compacted",
                remedy=Remedy("repair", str(job.path), "takes the partition back", then=job.manifest.again()),
            )
    ledger.check_ids(job, seal)
    good, bad = read_table(job.metadata(seal.partition)), read_table(job.errors(seal.partition))
    nothing = pa.nulls(len(good), pa.string())
    good = good.cast(schema).append_column("status", pa.array(["ok"] * len(good), pa.string()))
    table = pa.concat_tables([good.append_column("error_message", nothing), bad], promote_options="permissive")
    embeddings = sealing.whole_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim)
    return table.sort_by("id"), embeddings
