"""Find the column of a Parquet file that holds images, and read the bytes of its rows in bounded memory."""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.errors import ImageError, SourceError
from shared.images.members import Member
from shared.images.paths import is_url, to_os_path
from shared.storage import remote

# What people call a column of encoded images: Hugging Face `image`, img2dataset by the encoding, others as they like.
_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "img_bytes", "content")
_BATCH_ROWS: Final = 16
_HELD_BYTES: Final = 64 << 20
_BUFFER: Final = 1 << 20
_OPEN_FILES: Final = 2


def image_column(schema: pa.Schema) -> str | None:
    """The column that holds encoded images: binary, or a struct with `bytes` (and mostly `path`); None without one."""
    holding = [field.name for field in schema if _holds_bytes(field.type)]
    known = [name for name in _NAMES if name in holding]
    return known[0] if known else holding[0] if len(holding) == 1 else None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        if kind.get_field_index("bytes") < 0:
            return False
        inner = kind.field("bytes").type
        return _is_binary(inner) or bool(pa.types.is_null(inner) and kind.get_field_index("path") >= 0)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def name_column(schema: pa.Schema, column: str) -> str | None:
    """The nested column with the name of each image of `column`, such as `image.path`; None where there is none."""
    kind = schema.field(column).type
    has_names = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    return f"{column}.path" if has_names else None


def rows_with_bytes(file: pq.ParquetFile, group: int, column: str) -> pa.Array | None:
    """Which rows of a row group hold the bytes of their image, bool [rows]; None where all do.

    The footer mostly tells; if it does not, the bytes are read.
    """
    leaf = f"{column}.bytes" if pa.types.is_struct(file.schema_arrow.field(column).type) else column
    found = file.metadata.row_group(group)
    chunk = next(
        found.column(number) for number in range(found.num_columns) if found.column(number).path_in_schema == leaf
    )
    statistics = chunk.statistics
    if statistics is not None and statistics.has_null_count and statistics.null_count in (0, found.num_rows):
        return pa.array([False] * found.num_rows) if statistics.null_count else None
    parts = []
    for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[leaf], use_threads=False):
        values = batch.column(0)
        # Not the nulls of the struct: a null struct over an empty one has no bytes either.
        parts.append(values.is_valid() if leaf == column else pc.struct_field(values, "bytes").is_valid())
    return pa.concat_arrays(parts)


@contextmanager
def opened(path: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file at `path`, a text as `to_text` makes it or a URL, that streams. SourceError when it is none."""
    try:
        # Buffered and without Arrow's threads: a file with one row group must not be read into memory whole, and a
        # thread must not hold a file of Python's when the process ends.
        with (
            remote.opened(path) if is_url(path) else open(to_os_path(path), "rb") as file,
            pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False) as parquet,
        ):
            yield parquet
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(
            f"The Parquet file {path} can't be read ({error}): get it whole again, or leave it out of the source."
        ) from None


class _Rows:
    """The bytes of the rows of one file. Asking in order is fastest: what was just read is kept, up to some
    megabytes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._held: deque[tuple[int, Any]] = deque()  # The first row of a batch, and its column.
        self._batches: Iterator[tuple[int, Any]] = iter(())
        self._next = -1
        self._state = _state(path)

    @property
    def is_stale(self) -> bool:
        """Whether another file is at the path now than when this one was opened, or the same one with other bytes."""
        return _state(self._path) != self._state

    def read(self, row: int) -> bytes | None:
        """The bytes of a row; None for a null. IndexError when there is no such row."""
        with self._lock:
            first = self._held[0][0] if self._held else self._next
            if not first <= row or self._next < 0:
                self._go_to(row)
            while row >= self._next:
                first, column = next(self._batches, (row, None))
                if column is None:
                    raise IndexError(row)
                self._held.append((first, column))
                self._next = first + len(column)
                while len(self._held) > 2 and sum(column.nbytes for _, column in self._held) > _HELD_BYTES:
                    self._held.popleft()
            for first, column in self._held:
                if first <= row < first + len(column):
                    value: bytes | None = column[row - first].as_py()
                    return value
            raise IndexError(row)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        getattr(self._batches, "close", lambda: None)()
        self._batches, self._next = iter(()), -1
        self._held.clear()

    def _go_to(self, row: int) -> None:
        self._end()
        self._batches = self._read_from(row)
        self._next = 0

    def _read_from(self, row: int) -> Iterator[tuple[int, Any]]:
        """Batches from the one with `row` on, each with its first row; those before it in the group are skipped."""
        with opened(self._path) as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
            group = begins = 0
            while group < len(sizes) and begins + sizes[group] <= row:
                begins += sizes[group]
                group += 1
            column = image_column(file.schema_arrow)
            if column is None:
                raise SourceError(f"{self._path} holds no column of images any more: put back the one that was listed.")
            nested = pa.types.is_struct(file.schema_arrow.field(column).type)
            groups = range(group, len(sizes))
            for batch in file.iter_batches(
                _BATCH_ROWS, row_groups=groups, columns=[f"{column}.bytes" if nested else column], use_threads=False
            ):
                values = batch.column(0)
                if begins + len(values) > row:
                    yield begins, values.field("bytes") if nested else values
                begins += len(values)


def _state(path: str) -> tuple[int, ...] | None:
    """What tells a file on a disk from a later file at its path; None for a URL, or if there is no file."""
    if is_url(path):
        return None
    try:
        found = os.stat(to_os_path(path))
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


_open: OrderedDict[str, _Rows] = OrderedDict()
_open_lock = threading.Lock()


def forget(path: str) -> None:
    """Close a file that is not the one that was listed."""
    with _open_lock:
        rows = _open.pop(path, None)
    if rows is not None:
        rows.close()


def read_row(path: str, member: Member, max_bytes: int) -> bytes:
    """The bytes of the image in a row of a Parquet file, `member.offset`; ImageError when it has none.

    Files stay open for the next row, the last two that were asked for; several threads may ask at once.
    """
    with _open_lock:
        closing = []
        if path in _open and _open[path].is_stale:
            closing.append(_open.pop(path))
        if path not in _open:
            _open[path] = _Rows(path)
        rows = _open[path]
        _open.move_to_end(path)
        closing += [_open.popitem(last=False)[1] for _ in range(len(_open) - _OPEN_FILES)]
    for other in closing:
        other.close()
    try:
        data = rows.read(member.offset)
    except IndexError:
        raise ImageError(
            f"The Parquet file has no row {member.offset} any more: put back the one that was listed.", "vanished"
        ) from None
    except SourceError as error:
        rows.close()
        raise ImageError(str(error), "unreadable") from None
    if data is None:
        raise ImageError(f"Row {member.offset} of the Parquet file holds no image, but a null.", "empty")
    if len(data) > max_bytes:
        raise ImageError(f"The image has {len(data):,} bytes; at most {max_bytes:,} are read.", "oversized")
    return data
