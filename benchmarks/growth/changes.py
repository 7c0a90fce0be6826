"""Change a job as its commands do, without reading an image: add embeddings as a partition, and remove images."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.job import path_list
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger, sealing


def grow(directory: JobDir, vectors: npt.NDArray[np.float16]) -> OpenJob:
    """Add embeddings, float16 [n, d] of length 1, as one sealed partition."""
    job = open_job(directory)
    partition = Partition(job.next_number(), job.listed, job.listed + len(vectors))
    paths = [f"added/{image:08d}.jpg" for image in range(partition.start, partition.stop)]
    path_list.write_paths(job, partition, paths)
    write_change(job, job.manifest, Change(job.state.number + 1, "refresh", (partition,)))
    job = open_job(job)
    columns = {
        "id": pa.array(np.arange(partition.start, partition.stop)),
        "image_path": pa.array(paths, pa.string()),
        "status": pa.array(["ok"] * len(paths)),
        "error_message": pa.nulls(len(paths), pa.string()),
    }
    known = [field for field in sealing.METADATA_SCHEMA if field.name not in columns]
    table = pa.table(columns | {field.name: pa.nulls(len(paths), field.type) for field in known})
    ledger.seal_rows(job, partition, [(table, vectors)])
    return job


def remove(directory: JobDir, ids: npt.NDArray[np.int64]) -> OpenJob:
    """Remove images, int64 ascending."""
    job = open_job(directory)
    write_change(
        job, job.manifest, Change(job.state.number + 1, "delete", removed=ids, reasons={"asked for": len(ids)})
    )
    return open_job(job)
