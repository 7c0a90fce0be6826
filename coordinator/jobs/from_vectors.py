"""Import vectors made elsewhere as a job whose partitions are all sealed, as if they had been embedded."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Final

import numpy as np
import pyarrow as pa

from coordinator.jobs.create import remove_path_lists, require_sizes, write_first
from coordinator.jobs.source.same import as_begun
from coordinator.sources.begun import is_other
from coordinator.sources.listing import PathDigest
from coordinator.sources.vectors.vectors import Vectors
from shared.errors import CorruptFile, JobMismatch
from shared.job import path_list
from shared.job.bundle.facts import refuse_bundle
from shared.job.changes.lock import creation_lock
from shared.job.changes.log import Ids
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Partition, Source
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.models.imported import IMPORTED_MODEL, imported_model
from shared.settings import Settings
from shared.vectors import to_unit_vectors

KIND: Final = "embeddings"
Report = Callable[[str, int], None]
"""Called with what is done with the rows (listing or importing) and how many are done, of all."""

_NO_DIRECTION = "The vector is zero, null or not finite, so it has no direction."
REPORT_SECONDS = 0.1


def import_vectors(
    vectors: Vectors,
    job: JobDir,
    settings: Settings,
    report: Report,
    *,
    model_name: str | None = None,
    partition_size: int | None = None,
    begun: Callable[[], object] = lambda: None,
) -> OpenJob:
    """Make `job` from `vectors`, or continue with it: every partition that is not sealed yet is sealed.

    May be killed at any moment: the partition under way is done again. A vector without a direction becomes a failed
    row. `partition_size` is the one that was typed; `begun` is called when the job is there. Raises JobMismatch when
    the job on disk was made otherwise, naming both; JobBusy when another coordinator is making the same job;
    SourceError when the vectors can't be read.
    """
    with creation_lock(job):
        if job.spec.is_file():
            opened = open_job(job)
            refuse_bundle(opened.path, opened.manifest.bundle, "imported into")
            _require_same(vectors, opened, model_name)
            require_sizes(opened, partition_size, None)
        else:
            opened = _make(vectors, job, settings, model_name or IMPORTED_MODEL, report)
        begun()
        for partition in opened.partitions:
            if not ledger.is_sealed(opened, partition.number):
                purged = opened.state.purged_in(partition.start, partition.stop)
                blocks = _blocks(vectors, partition, _paths(vectors, opened, partition), purged, report)
                ledger.seal_rows(opened, partition, _ahead(blocks), vectors.schema)
            report("importing", partition.stop)
    return opened


def _make(vectors: Vectors, job: JobDir, settings: Settings, model_name: str, report: Report) -> OpenJob:
    model = imported_model(model_name, vectors.dim)
    digest = PathDigest()
    # A kill during an earlier listing may have left path files of a longer list behind.
    remove_path_lists(job)
    size = settings.partition_size
    for number, start in enumerate(range(0, vectors.rows, size)):
        partition = Partition(number, start, min(start + size, vectors.rows))
        path_list.write_paths(job, partition, [*digest.feed(vectors.paths(partition.start, partition.stop))])
        report("listing", partition.stop)
    manifest = Manifest(
        source=Source(KIND, vectors.location, digest.hexdigest(), content=vectors.content),
        model=model,
        listed=vectors.rows,
        partition_size=size,
        chunk_size=model.chunk_size,
        max_image_pixels=settings.max_image_pixels,
        max_image_bytes=settings.max_image_bytes,
        made_by=f"lookalike {version('lookalike')}",
    )
    return write_first(job, manifest)


def _require_same(vectors: Vectors, job: OpenJob, model_name: str | None) -> None:
    manifest = job.manifest
    if not manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} was made from the {manifest.source.kind} {manifest.source.location} by embedding "
            "images, not by importing vectors: name another JOB for vectors that were made elsewhere."
        )
    # Not by their place: a folder that was moved or mounted elsewhere holds the same vectors.
    if manifest.source.content != vectors.content:
        raise JobMismatch(
            f"{job.path} was made from {manifest.listed:,} vectors of {manifest.model.dim} dimensions in "
            f"{manifest.source.location}, and those given now ({vectors.rows:,} of {vectors.dim} in "
            f"{vectors.location}) are not the same files or columns: give the same, or name another JOB."
        )
    if is_other(model_name, manifest.model.name):
        raise as_begun(job).stays(
            "model_name", f"{job.path} holds vectors of the model {manifest.model.name!r}, not of {model_name!r}"
        )


def _paths(vectors: Vectors, job: OpenJob, partition: Partition) -> list[str]:
    """The image paths of a partition, from its list; one that is missing or damaged is written again."""
    try:
        return path_list.read_paths(job, partition)
    except CorruptFile:
        paths = vectors.paths(partition.start, partition.stop)
        for image_id in job.state.purged_in(partition.start, partition.stop).tolist():
            paths[image_id - partition.start] = ""
        path_list.write_paths(job, partition, paths)
        return paths


def _blocks(
    vectors: Vectors, partition: Partition, paths: list[str], purged: Ids, report: Report
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The rows of a partition as the ledger seals them, a few thousand at once, without those that were `purged`."""
    said = time.monotonic()
    for start, raw in vectors.blocks(partition.start, partition.stop):
        embeddings, good = to_unit_vectors(raw)
        stop = start + len(raw)
        table = vectors.known(start, stop)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {name: table[name] for name in table.schema.names}
        columns["id"] = pa.array(np.arange(start, stop))
        columns["image_path"] = pa.array(paths[start - partition.start : stop - partition.start], pa.string())
        columns["status"] = pa.array(np.where(good, "ok", "no-direction"), pa.string())
        columns["error_message"] = pa.array([None if fine else _NO_DIRECTION for fine in good], pa.string())
        if time.monotonic() - said >= REPORT_SECONDS:
            said = time.monotonic()
            report("importing", start)
        block = pa.table(columns)
        if len(purged):
            kept = ~np.isin(np.arange(start, stop), purged)
            block, embeddings = block.filter(pa.array(kept)), embeddings[kept[good]]
        yield block, embeddings


def _ahead(
    blocks: Iterator[tuple[pa.Table, np.ndarray]],
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """`blocks`, of which the next is made in a thread while one is written and hashed: that takes as long again."""
    with ThreadPoolExecutor(1, "vectors") as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block
