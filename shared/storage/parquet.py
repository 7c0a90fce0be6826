"""Write Parquet files with a checksum on each page, and compare each checksum when reading."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import CorruptFile
from shared.storage import files

# Arrow's own allocator takes 70 MB with the first chunk that a worker writes, and never gives it back.
pa.set_memory_pool(pa.system_memory_pool())


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of a job, each page's checksum compared; raises CorruptFile when it is missing or damaged.

    A disk that does not answer (an OSError with another errno) says nothing about the file, and passes through: a
    mount that drops out for a moment must not make good chunks look bad.
    """
    with _readable(path) as file:
        return whole_table(file.read(), columns)


def whole_table(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The bytes of a Parquet file as a table, each page's checksum compared; KeyError for a column that is not there.

    Arrow reads them only in this thread. A thread of Arrow may release Python objects only when the interpreter is
    ending, and that aborts a process whose answer was right.
    """
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as parquet:
        if missing := set(columns or ()).difference(parquet.schema_arrow.names):
            raise KeyError(f"it has no column {', '.join(sorted(missing))}")
        return parquet.read(columns=columns, use_threads=False)


def read_schema(path: Path) -> pa.Schema:
    """The columns and the key-value metadata of a Parquet file, from its footer alone; raises as `read_table`."""
    with _readable(path) as file:
        return pq.read_schema(file)


def least_value(path: Path, column: str) -> int:
    """The least of the whole numbers in a column of a Parquet file that has rows, from its footer; raises as
    `read_table`."""
    with _readable(path) as file:
        footer = pq.ParquetFile(file).metadata
        place = footer.schema.to_arrow_schema().names.index(column)
        groups = [footer.row_group(number).column(place).statistics for number in range(footer.num_row_groups)]
        if not groups or any(group is None or not group.has_min_max for group in groups):
            raise ValueError(f"its footer does not say the least {column}")
        return min(int(group.min) for group in groups)


@contextmanager
def writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet file of a job being written, table by table; OSError when the disk does not take it."""
    with open(path, "wb") as file, pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as into:
        yield into


@contextmanager
def _readable(path: Path) -> Iterator[BinaryIO]:
    # Python opens the file, also for Arrow, so that everything that a job reads and writes goes through one place.
    try:
        with files.opened(path) as file:
            yield file
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise CorruptFile(f"{path} can't be read ({error}).") from None
