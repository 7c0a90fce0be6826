"""Read vectors from a column of a Parquet file, and its other columns, forwards in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coordinator.sources.metadata.plain_values import require_distinct
from coordinator.sources.vectors.readers import Raw, readable
from shared.errors import SourceError
from shared.errors.remedy import Remedy

_BUFFER = 1 << 20
_BATCH_ROWS = 1_024

VECTORS = Remedy("option", does="name the one that holds the vectors with {}", given={"column": ""})


@dataclass(slots=True)
class ParquetRows:
    """The rows of some columns of a Parquet file. Asking in order is fastest: a row group is read from its
    beginning.
    """

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
        """Read the footer; `columns` None takes all. SourceError when it is no footer, or names a column twice."""
        with readable(path), pq.ParquetFile(path) as file:
            footer, schema = file.metadata, file.schema_arrow
            groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
        require_distinct(str(path), schema.names)
        return cls(path, schema.names if columns is None else columns, schema, sum(groups), groups)

    def of(self, columns: list[str]) -> "ParquetRows":
        """Other columns of the same file, with a position of their own."""
        return ParquetRows(self.path, columns, self.schema, self.rows, self._groups)

    def bounds(self, column: str) -> tuple[int, int]:
        """The least and the greatest value of a column of whole numbers; 0 and 0 if it has none."""
        least = most = 0
        reader = self.of([column])
        for start in range(0, self.rows, _BATCH_ROWS):
            found = pc.min_max(reader.read(start, min(start + _BATCH_ROWS, self.rows)).column(0)).as_py()
            if found["min"] is not None:
                least, most = min(least, found["min"]), max(most, found["max"])
        return least, most

    def read(self, start: int, stop: int) -> pa.Table:
        """The rows [start, stop); raises SourceError when they can't be read."""
        with readable(self.path):
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
        """The rows that are left over and the next ones, at least `least` rows."""
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
                f"{path} has no column {column!r}; its columns are {', '.join(table.schema.names) or 'none'}",
                remedy=VECTORS,
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
        if isinstance(vectors, pa.ChunkedArray):  # Older versions of Arrow give it so.
            vectors = pa.concat_arrays(vectors.chunks)
        valid = np.asarray(vectors.is_valid())
        # A null, of a whole vector or of one value, becomes NaN.
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
    """The length of the first list that is not null; None if all are."""
    for start in range(0, rows.rows, _BATCH_ROWS):
        lengths = rows.read(start, min(start + _BATCH_ROWS, rows.rows)).column(0).drop_null()
        if len(lengths):
            return len(lengths[0])
    return None
