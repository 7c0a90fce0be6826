"""Files of vectors by format: .npy, .fvecs and Parquet, read forwards row by row in bounded memory, never mapped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import SourceError

# Mapped files would be simpler, but one that is cut short or whose mount goes away ends the process by a signal.
Raw = np.ndarray
"""Vectors as they lie in a file: float16, float32 or float64 [n, d], any byte order; NaN where there is null."""

_SPOT_CHECKS = 1_000
_BUFFER = 1 << 20


class VectorFile(Protocol):
    """One file of vectors: `rows` of `dim` values each; `dim` is None where no row holds a vector."""

    @property
    def path(self) -> Path: ...
    @property
    def rows(self) -> int: ...
    @property
    def dim(self) -> int | None: ...

    def read(self, start: int, stop: int) -> Raw:
        """The rows [start, stop) at once; raises SourceError when the file does not hold them as it said."""


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise SourceError(
            f"The vectors in {path} can't be read ({reason}): restore the file, or leave it out."
        ) from None


def _exactly(path: Path, offset: int, count: int, dtype: np.dtype[Any]) -> Raw:
    """`count` values at `offset`; SourceError when the file ends before them."""
    with _readable(path):
        values = np.fromfile(path, dtype=dtype, count=count, offset=offset)
    if len(values) != count:
        raise SourceError(f"{path} got shorter while it was read: give it back its bytes, and run the command again.")
    return values


@dataclass(frozen=True, slots=True)
class NpyFile:
    """A .npy array [rows, dim] of floats, in C or Fortran order."""

    path: Path
    rows: int
    dim: int | None
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @classmethod
    def open(cls, path: Path) -> "NpyFile":
        """Read the header; SourceError when it is none, or not that of floats [n, d], or the data is not all there."""
        with _readable(path), open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise SourceError(
                    f"{path} is of .npy version {version[0]}.{version[1]}, which holds records, not vectors: "
                    "give floats [n, d]."
                )
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
            size = path.stat().st_size
        if dtype.kind != "f" or dtype.itemsize > 8:
            raise SourceError(
                f"{path} holds values of type {dtype}; expected float16, float32 or float64: convert it with "
                "array.astype('float32')."
            )
        if len(shape) != 2:
            raise SourceError(
                f"{path} holds an array of the shape {list(shape)}; expected [n, d], a vector in each row."
            )
        rows, dim = shape
        expected = offset + rows * dim * dtype.itemsize
        if size < expected:
            raise SourceError(
                f"{path} is cut short: it has {size:,} bytes, and {rows:,} x {dim:,} {dtype} take {expected:,}."
            )
        return cls(path, rows, dim, dtype, fortran and rows > 1, offset)

    def read(self, start: int, stop: int) -> Raw:
        assert self.dim is not None
        each = self.dtype.itemsize
        if not self.fortran:
            values = _exactly(self.path, self.offset + start * self.dim * each, (stop - start) * self.dim, self.dtype)
            return values.reshape(stop - start, self.dim)
        columns = np.empty((self.dim, stop - start), dtype=self.dtype)
        for number in range(self.dim):
            offset = self.offset + (number * self.rows + start) * each
            columns[number] = _exactly(self.path, offset, stop - start, self.dtype)
        return columns.T


@dataclass(frozen=True, slots=True)
class FvecsFile:
    """An .fvecs file: for each row the number of its dimensions as int32, then that many float32, little-endian."""

    path: Path
    rows: int
    dim: int | None

    @classmethod
    def open(cls, path: Path) -> "FvecsFile":
        """Look at the size and at the counts of some rows; SourceError when they do not agree."""
        with _readable(path), open(path, "rb") as file:
            size = path.stat().st_size
            if not size:
                return cls(path, 0, None)
            first = file.read(4)
            dim = int.from_bytes(first, "little", signed=True)
            if len(first) < 4 or not 1 <= dim <= 1 << 24:
                raise SourceError(
                    f"{path} begins with a vector of {dim:,} dimensions, so it is no .fvecs file: expected the number "
                    "of dimensions as int32 before the float32 values of each vector."
                )
            rows, over = divmod(size, 4 + 4 * dim)
            # Most of all the last: a file of other counts seldom ends where ours would.
            spots = np.unique(np.linspace(0, rows - 1, min(rows, _SPOT_CHECKS)).astype(np.int64)) if rows else ()
            for row in spots:
                file.seek(int(row) * (4 + 4 * dim))
                found = int.from_bytes(file.read(4), "little", signed=True)
                if found != dim:
                    raise _changed(path, int(row), found, dim)
        if over:
            raise SourceError(
                f"{path} is cut short: its {size:,} bytes hold {rows:,} vectors of {dim:,} dimensions, and {over:,} "
                "bytes of another."
            )
        return cls(path, rows, dim)

    def read(self, start: int, stop: int) -> Raw:
        assert self.dim is not None
        width = 1 + self.dim
        words = _exactly(self.path, start * 4 * width, (stop - start) * width, np.dtype("<i4")).reshape(-1, width)
        other = np.flatnonzero(words[:, 0] != self.dim)
        if len(other):
            raise _changed(self.path, start + int(other[0]), int(words[other[0], 0]), self.dim)
        return words[:, 1:].view(np.dtype("<f4"))


def _changed(path: Path, row: int, found: int, dim: int) -> SourceError:
    return SourceError(
        f"Row {row:,} of {path} says that it has {found:,} dimensions, and the first row has {dim:,}: all vectors of "
        "an .fvecs file need the same number."
    )


@dataclass(slots=True)
class ParquetRows:
    """The rows of some columns of a Parquet file, best asked for in order: a row group is read from its beginning."""

    path: Path
    columns: list[str]
    schema: pa.Schema
    rows: int
    _groups: list[int]
    _batches: Iterator[pa.RecordBatch] | None = None
    _at: int = 0
    _left: pa.Table | None = None

    @classmethod
    def open(cls, path: Path, columns: list[str] | None = None) -> "ParquetRows":
        """Read the footer; `columns` None takes all. SourceError when it is no Parquet file."""
        with _readable(path), pq.ParquetFile(path) as file:
            footer, schema = file.metadata, file.schema_arrow
            groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
        return cls(path, schema.names if columns is None else columns, schema, sum(groups), groups)

    def of(self, columns: list[str]) -> "ParquetRows":
        """Other columns of the same file, with a place of their own."""
        return ParquetRows(self.path, columns, self.schema, self.rows, self._groups)

    def read(self, start: int, stop: int) -> pa.Table:
        """The rows [start, stop); raises SourceError when they can't be read."""
        with _readable(self.path):
            if self._batches is None or start != self._at:
                self._go_to(start)
            held = self._held(stop - start)
            self._left = held.slice(stop - start)
            self._at = stop
            return held.slice(0, stop - start)

    def _go_to(self, start: int) -> None:
        group = begins = 0
        while group < len(self._groups) - 1 and begins + self._groups[group] <= start:
            begins += self._groups[group]
            group += 1
        self._batches = self._read_from(group)
        self._left = None
        while begins < start:
            skipped = self._held(1)
            self._left = skipped.slice(min(len(skipped), start - begins))
            begins += len(skipped) - len(self._left)

    def _held(self, least: int) -> pa.Table:
        """What is left over and what comes next, `least` rows of it or more."""
        assert self._batches is not None
        pieces = [] if self._left is None or not len(self._left) else [self._left]
        count = sum(map(len, pieces))
        while count < least:
            batch = next(self._batches, None)
            if batch is None:
                raise SourceError(f"{self.path} holds fewer rows than its footer says: restore it.")
            pieces.append(pa.Table.from_batches([batch]))
            count += len(batch)
        return pa.concat_tables(pieces)

    def _read_from(self, group: int) -> Iterator[pa.RecordBatch]:
        # Buffered: the columns of a file with a single row group must not be read into memory whole.
        with pq.ParquetFile(self.path, buffer_size=_BUFFER, pre_buffer=False) as file:
            groups = range(group, len(self._groups))
            yield from file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self.columns, use_threads=False)


_BATCH_ROWS = 1_024


@dataclass(slots=True)
class ParquetFile:
    """A column of lists of floats in a Parquet file."""

    path: Path
    rows: int
    dim: int | None
    dtype: np.dtype[Any]
    table: ParquetRows
    _rows: ParquetRows = field(repr=False)

    @classmethod
    def open(cls, path: Path, column: str) -> "ParquetFile":
        """Read the footer and the first vector; SourceError when there is no such column of lists of floats."""
        table = ParquetRows.open(path)
        if column not in table.schema.names:
            raise SourceError(
                f"{path} has no column {column!r}; its columns are {', '.join(table.schema.names) or 'none'}: name the "
                "one that holds the vectors with --column."
            )
        kind = table.schema.field(column).type
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not listed or not pa.types.is_floating(kind.value_type):
            raise SourceError(f"The column {column!r} of {path} is of type {kind}; expected lists of floats.")
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        rows = table.of([column])
        dim = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(rows)
        return cls(path, table.rows, dim, dtype, table, rows)

    def read(self, start: int, stop: int) -> Raw:
        assert self.dim is not None
        vectors = self._rows.read(start, stop).column(0).combine_chunks()
        if isinstance(vectors, pa.ChunkedArray):  # As older versions of Arrow give it.
            vectors = pa.concat_arrays(vectors.chunks)
        valid = np.asarray(vectors.is_valid())
        # What is null, a whole vector or a value of one, becomes NaN.
        lengths = np.asarray(vectors.value_lengths().fill_null(self.dim))
        other = np.flatnonzero(lengths != self.dim)
        if len(other):
            raise SourceError(
                f"Row {start + int(other[0]):,} of {self.path} has a vector of {lengths[other[0]]:,} dimensions where "
                f"the first has {self.dim:,}: all need the same number."
            )
        found = np.full((len(vectors), self.dim), np.nan, dtype=self.dtype)
        values = vectors.flatten()
        found[valid] = values.to_numpy(zero_copy_only=False).astype(self.dtype).reshape(-1, self.dim)
        return found


def _first_length(rows: ParquetRows) -> int | None:
    """The length of the first list that is not null; None where all are."""
    for start in range(0, rows.rows, _BATCH_ROWS):
        lengths = rows.read(start, min(start + _BATCH_ROWS, rows.rows)).column(0).drop_null()
        if len(lengths):
            return len(lengths[0])
    return None
