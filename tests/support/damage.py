"""Damage done to files, as disks and kills do it, and all that a directory holds, to be compared."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq


def snapshot(directory: Path) -> dict[str, bytes]:
    """The bytes of every file in a directory, by path."""
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def flip(path: Path, position: int | None = None, mask: int = 1) -> None:
    """Flip bits of a byte: of one in the middle, or in Parquet of one that is data, unless `position` is given."""
    data = bytearray(path.read_bytes())
    if position is None and path.suffix == ".parquet":
        column = pq.ParquetFile(path).metadata.row_group(0).column(1)
        start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
        position = int(start) + int(column.total_compressed_size) - 3
    data[len(data) // 2 if position is None else position] ^= mask
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Take the last seven bytes of a file away."""
    path.write_bytes(path.read_bytes()[:-7])


def lengthen(path: Path) -> None:
    """Add nine zero bytes to a file."""
    path.write_bytes(path.read_bytes() + b"\0" * 9)


def empty(path: Path) -> None:
    """Leave a file of no bytes."""
    path.write_bytes(b"")


def age(path: Path) -> None:
    """Make a file or directory, and what is in it, two hours old."""
    for one in (path, *path.glob("*")):
        os.utime(one, (one.stat().st_atime - 7_200, one.stat().st_mtime - 7_200))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": flip, "cut": cut, "longer": lengthen, "empty": empty, "deleted": Path.unlink
}  # fmt: skip
