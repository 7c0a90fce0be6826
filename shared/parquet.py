"""Parquet files of a job, read with each page's checksum compared."""

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import CorruptFile


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of a job, each page's checksum compared; raises CorruptFile when it is missing or damaged.

    A disk that does not answer (an OSError with another errno) says nothing about the file, and passes through: a
    mount that drops out for a moment must not make good chunks look bad.
    """
    try:
        # A job may lie under directories named like `year=2024`, which are no partitioning of ours.
        return pq.read_table(path, columns=columns, page_checksum_verification=True, partitioning=None)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise CorruptFile(f"{path} can't be read ({error}).") from None
