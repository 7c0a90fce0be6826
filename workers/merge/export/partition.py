"""Write a partition of a bundle: its paths, metadata, errors and codes, without what was removed, and its seal."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.partition import ledger, sealing
from shared.job.partition.features.marker import Features
from shared.job.partition.ledger import Seal
from shared.processes.failpoints import failpoint
from shared.storage import files, parquet
from shared.storage.parquet import read_table
from workers.vectors.codes import CodedEmbeddings, encode
from workers.vectors.embeddings import BLOCK_ROWS, Half


def write_tables(job: OpenJob, bundle: JobDir, seal: Seal) -> pa.Table:
    """Write paths, metadata and errors of a partition of `job` without its removed images; returns the metadata.

    Raises CorruptFile when a file of the job is damaged.
    """
    partition = job.partition(seal.partition)
    _write(bundle.paths(partition.number), _left_paths(job, partition))
    errors = read_table(job.errors(partition.number))
    _write(bundle.errors(partition.number), errors.filter(_kept(job, errors)))
    ledger.check_ids(job, seal)
    metadata = read_table(job.metadata(partition.number))
    left = metadata.filter(_kept(job, metadata))
    _write(bundle.metadata(partition.number), left)
    return left


def write_codes(job: OpenJob, bundle: JobDir, seal: Seal) -> None:
    """Write the codes of a partition of `job`; raises CorruptFile when its embeddings are not those of its seal."""
    path = job.img_emb(seal.partition)
    entry = seal.entry(job, path)
    job_files = JobFiles.of(job)  # Of a job in a store, one copy at a time.
    local = job_files.local(path, entry, compare=_compare)
    embeddings = sealing.open_embeddings(local, seal.embedded, seal.dim)
    kept = _kept(job, read_table(job.metadata(seal.partition), ["id"])).to_numpy(zero_copy_only=False)
    count = int(np.count_nonzero(kept))
    target = bundle.img_emb(seal.partition)
    with files.written_aside(target) as aside, open(aside, "wb") as file:
        file.write(sealing.npy_header(count, seal.dim, CodedEmbeddings.DTYPE))
        for block in _blocks(embeddings, kept):
            file.write(encode(block).tobytes())


def write_seal(bundle: JobDir, seal: Seal, features: Features) -> Seal:
    """Write the seal of a partition of a bundle whose files are there: with it that partition is done.

    Its features are marked first.
    """
    failpoint("export_seal")
    number = seal.partition
    entries: dict[str, dict[str, Any]] = {}
    for path in bundle.sealed_files(number):
        entries[path.relative_to(bundle.path).as_posix()] = entry_of(path)
    features.mark(entries)
    embedded, failed = (len(read_table(path(number), ["id"])) for path in (bundle.metadata, bundle.errors))
    sealed = replace(seal, embedded=embedded, failed=failed, files=entries)
    files.write_bytes(bundle.seal(number), (json.dumps(asdict(sealed), indent=2) + "\n").encode())
    return sealed


def entry_of(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as seals and bundles give them."""
    return {"bytes": path.stat().st_size, "sha256": files.sha256_of(path)}


def _compare(path: Path, entry: Any) -> None:
    if path.stat().st_size != entry["bytes"] or files.sha256_of(path) != entry["sha256"]:
        raise CorruptFile(
            f"{path} is not what its seal says",
            remedy=Remedy("repair", does="takes the partition back", then=Remedy("make", does="does it again")),
        )


def _blocks(embeddings: Any, kept: Any) -> Iterator[Half]:
    for start in range(0, len(embeddings), BLOCK_ROWS):
        block = np.asarray(embeddings[start : start + BLOCK_ROWS][kept[start : start + BLOCK_ROWS]])
        if len(block):
            yield block


def _kept(job: OpenJob, table: pa.Table) -> pa.BooleanArray:
    return pa.array(~job.state.lacks(table["id"].to_numpy()))


def _left_paths(job: OpenJob, partition: Partition) -> pa.Table:
    """The path list of a partition, in which nothing is said of removed images but their ids."""
    table = read_table(job.paths(partition.number))
    kept = _kept(job, table)
    for place, field in enumerate(table.schema):
        if field.name == "image_path":
            table = table.set_column(place, field, pc.if_else(kept, table[field.name], ""))
        elif field.name != "id":
            column = table[field.name].combine_chunks()
            chosen = pc.if_else(kept, pa.array(range(len(column)), pa.int64()), None)
            table = table.set_column(place, field, column.take(chosen))
    return table


def _write(path: Path, table: pa.Table) -> None:
    with files.written_aside(path) as aside, parquet.writer(aside, table.schema) as into:
        into.write_table(table)
