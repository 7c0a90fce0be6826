"""Jobs that were changed after they were made: what they hold, and what is wrong with them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coordinator.integrity.findings import Checked
from coordinator.integrity.verify import verify
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.source.moved import read_moved
from tests.support.embedders import AnyModel, embed


def embedded(job: JobDir) -> OpenJob:
    job = open_job(job)
    for partition in job.partitions:
        embed(job, partition.number, embedder=AnyModel(job.manifest))
    return job


def held(job: JobDir) -> dict[str, bytes]:
    """The images that a job holds: the embedding of each by the path that it has now."""
    job = open_job(job)
    moved, held = read_moved(job), {}
    for partition in job.partitions:
        table = pq.read_table(job.metadata(partition.number))
        vectors = np.load(job.img_emb(partition.number))
        for row, (image_id, path) in enumerate(zip(*map(pa.ChunkedArray.to_pylist, table.columns[:2]), strict=True)):
            if image_id not in job.state.removed:
                assert moved.now(path) not in held
                held[moved.now(path)] = vectors[row].tobytes()
    return held


def wrong(job: JobDir) -> list[str]:
    """What `verify` finds, besides the dimension of the embeddings, which the test's model makes up."""
    return [finding.wrong for finding in verify(job, Checked()) if finding.bad and "dimensions" not in finding.wrong]
