"""Choose the columns of imported vectors' metadata: the one with the image paths, and those that are kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from coordinator.sources.metadata.plain_values import values_in
from coordinator.sources.vectors.parquet_reader import ParquetRows
from coordinator.sources.vectors.readers import VectorFile
from shared.errors import SourceError, UsageError
from shared.errors.remedy import Remedy
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.text import text_of

PATH_COLUMN: Final = "image_path"
_OURS = frozenset(name.lower() for name in (*METADATA_SCHEMA.names, "status", "error_message", "embedding"))
_SIGNED: Final = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_UNSIGNED: Final = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
_DOUBLE_HOLDS: Final = (-(1 << 53), 1 << 53)


def require_rows(files: Sequence[VectorFile], tables: Sequence[ParquetRows | None]) -> None:
    """Raise SourceError unless a file's metadata has a row for each of its vectors."""
    for file, table in zip(files, tables, strict=True):
        if table is not None and table.rows != file.rows:
            raise SourceError(
                f"{file.path} holds {file.rows:,} vectors, and {table.path} has {table.rows:,} rows: each vector needs "
                "its row, in the same order."
            )


def path_column_of(tables: Sequence[ParquetRows | None], asked: str | None, root: Path) -> str | None:
    """The column that holds the image paths, `asked` or image_path; None if there is none, and none was asked for.

    Raises UsageError when one was asked for and there is no metadata, SourceError when it lacks the column.
    """
    given = [table for table in tables if table is not None]
    if asked is not None and not given:
        given_column = Remedy("option", does="leave {} out", given={"path_column": ""})
        raise UsageError(f"The paths are a column of metadata, and {root} has none", remedy=given_column)
    column = asked or PATH_COLUMN
    for table in given:
        if column not in table.schema.names:
            if asked is None and all(column not in other.schema.names for other in given):
                return None
            raise SourceError(
                f"{table.path} has no column {column!r}; its columns are {', '.join(table.schema.names) or 'none'}",
                remedy=Remedy(
                    "option", does="name the one that holds the image paths with {}", given={"path_column": ""}
                ),
            )
        kind = table.schema.field(column).type
        if not _is_text(kind) and not pa.types.is_integer(kind):
            raise SourceError(
                f"The column {column!r} of {table.path} is of type {kind}; expected text, an image's path."
            )
    return column if given else None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def schema_of(tables: Sequence[ParquetRows | None], used: set[str | None]) -> tuple[pa.Schema, dict[str, str]]:
    """The schema of the job's metadata, and the reason for each column that is left out, by its name.

    It is METADATA_SCHEMA, then each column of plain values that some file has, except those `used`, in a type that
    holds the values of all files exactly, or as text.
    """
    given = [table for table in tables if table is not None]
    fields: list[pa.Field] = []
    left_out: dict[str, str] = {}
    seen = {name.lower(): name for name in _OURS}
    for name in dict.fromkeys(name for table in given for name in table.schema.names if name not in used):
        there = [table for table in given if name in table.schema.names]
        if name in METADATA_SCHEMA.names and name not in ("id", PATH_COLUMN):
            # It has the name of one of ours: a column that does not fit that one can't mean the same.
            if why := next(filter(None, (_misfit(table, METADATA_SCHEMA.field(name)) for table in there)), None):
                left_out[name] = why
        elif (other := seen.get(name.lower())) is not None:  # SQL, the language of filters, does not tell a from A.
            ours = "lookalike has a column of that name itself"
            left_out[name] = ours if other.lower() in _OURS else f"but for capitals, it is called as {other}"
        elif odd := next((table for table in there if not _is_kept(table.schema.field(name).type)), None):
            left_out[name] = f"{odd.schema.field(name).type} in {odd.path.name}, no plain value"
        elif (kind := _joined(name, there)) is None:
            left_out[name] = "null in each row"
        else:
            seen[name.lower()] = name
            fields.append(pa.field(name, kind))
    return pa.schema([*METADATA_SCHEMA, *fields]), left_out


def _is_kept(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind)) or _kept(kind) is not None


def _joined(name: str, tables: Sequence[ParquetRows]) -> pa.DataType | None:
    """The type that holds a column of all files exactly, or text; None if there are only nulls."""
    kinds = {kept for table in tables if (kept := _kept(table.schema.field(name).type)) is not None}
    if len(kinds) < 2:
        return kinds.pop() if kinds else None
    if all(map(pa.types.is_integer, kinds)):
        signed = {kind for kind in kinds if pa.types.is_signed_integer(kind)}
        # A signed type needs twice the bits to hold an unsigned one.
        bits = max(kind.bit_width * (1 if not signed or kind in signed else 2) for kind in kinds)
        sizes = _SIGNED if signed else _UNSIGNED
        return sizes.get(bits, pa.string())
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        for table in tables:
            kind = table.schema.field(name).type
            if pa.types.is_integer(kind) and kind.bit_width == 64 and not _fit(table, name, _DOUBLE_HOLDS):
                return pa.string()
        return pa.float64()
    return pa.string()


def _fit(table: ParquetRows, name: str, bounds: tuple[int, int]) -> bool:
    least, most = table.bounds(name)
    return bounds[0] <= least and most <= bounds[1]


def _misfit(table: ParquetRows, ours: pa.Field) -> str | None:
    """Why a column of the name of `ours` can't be that one."""
    kind = table.schema.field(ours.name).type
    if pa.types.is_null(kind):
        return None
    if pa.types.is_string(ours.type):
        return None if _is_text(kind) else f"{kind} in {table.path.name}, not {ours.type}"
    if not pa.types.is_integer(kind):
        return f"{kind} in {table.path.name}, not {ours.type}"
    most = (1 << (ours.type.bit_width - 1)) - 1
    fits = _fit(table, ours.name, (-most - 1, most))
    return None if fits else f"numbers in {table.path.name} are beyond {ours.type}"


def _kept(kind: pa.DataType) -> pa.DataType | None:
    """The type in which a column of plain values is kept; None for any other."""
    if _is_text(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()  # DuckDB, which reads the metadata, knows no half precision.
    plain = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_date, pa.types.is_timestamp)
    return kind if any(of(kind) for of in plain) else None


def held_as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of one file in the type that was found for all files: numbers and dates become text if that is the
    type.
    """
    if pa.types.is_string(kind) and not _is_text(column.type) and not pa.types.is_null(column.type):
        texts = [None if one is None else text_of(one) for chunk in column.chunks for one in values_in(chunk)]
        return pa.chunked_array([pa.array(texts, kind)])
    return column.cast(kind)
