"""The path list: which image has which id, one Parquet file a partition, written once when the job is made."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared import files
from shared.errors import CorruptFile
from shared.jobdir import JobDir
from shared.manifest import Partition
from shared.parquet import read_table

PATHS_SCHEMA = pa.schema([("id", pa.int64()), ("image_path", pa.string())])


def write_paths(job: JobDir, partition: Partition, paths: Sequence[str]) -> None:
    """Write a partition's part of the path list: id, image_path."""
    columns = {"id": range(partition.start, partition.stop), "image_path": paths}
    table = pa.table(columns, schema=PATHS_SCHEMA)
    with files.written_aside(job.paths(partition.number)) as aside:
        pq.write_table(table, aside, compression="zstd", write_page_checksum=True)


def read_paths(job: JobDir, partition: Partition) -> list[str]:
    """The image paths of a partition in the order of their ids; raises CorruptFile when they are not all there."""
    path = job.paths(partition.number)
    try:
        table = read_table(path)
    except CorruptFile as error:
        raise CorruptFile(f"{error} It lists a partition's images: restore it.") from None
    expected = np.arange(partition.start, partition.stop)
    if not table.schema.equals(PATHS_SCHEMA) or not np.array_equal(table["id"].to_numpy(), expected):
        raise CorruptFile(
            f"{path} does not hold the ids {partition.start} to {partition.stop - 1} in order: restore it."
        )
    paths: list[str] = table["image_path"].to_pylist()
    return paths
