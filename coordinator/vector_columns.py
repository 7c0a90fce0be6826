"""The columns of imported vectors' metadata: which one holds the image paths, and which are kept beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from coordinator.parquet_vectors import ParquetRows
from coordinator.vector_files import VectorFile
from shared.errors import SourceError, UsageError
from shared.sealing import METADATA_SCHEMA

PATH_COLUMN: Final = "image_path"
_OURS = frozenset(name.lower() for name in (*METADATA_SCHEMA.names, "status", "error_message", "embedding"))


def require_rows(files: Sequence[VectorFile], tables: Sequence[ParquetRows | None]) -> None:
    """Raise SourceError when a file's metadata has not a row for each of its vectors."""
    for file, table in zip(files, tables, strict=True):
        if table is not None and table.rows != file.rows:
            raise SourceError(
                f"{file.path} holds {file.rows:,} vectors, and {table.path} has {table.rows:,} rows: each vector needs "
                "its row, in the same order."
            )


def path_column_of(tables: Sequence[ParquetRows | None], asked: str | None, root: Path) -> str | None:
    """The column that holds the image paths, `asked` or image_path; None where there is none, and none was asked for.

    Raises UsageError when one was asked for and there is no metadata, SourceError when it lacks the column.
    """
    given = [table for table in tables if table is not None]
    if asked is not None and not given:
        raise UsageError(f"--path-column is for metadata, and {root} has none: leave it out.")
    column = asked or PATH_COLUMN
    for table in given:
        if column not in table.schema.names:
            if asked is None and all(column not in other.schema.names for other in given):
                return None
            raise SourceError(
                f"{table.path} has no column {column!r}; its columns are {', '.join(table.schema.names) or 'none'}: "
                "name the one that holds the image paths with --path-column."
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


def schema_of(tables: Sequence[ParquetRows | None], used: set[str | None]) -> tuple[pa.Schema, tuple[str, ...]]:
    """The schema of the job's metadata, and the names of the columns that are left out of it.

    It is METADATA_SCHEMA, and behind it each column of plain values that the first file has, but for those `used`.
    """
    first = next((table for table in tables if table is not None), None)
    fields: list[pa.Field] = []
    left_out: list[str] = []
    seen = set(_OURS)
    for field in [] if first is None else first.schema:
        if field.name in used:
            continue
        kind = _kept(field.type)
        if field.name in METADATA_SCHEMA.names and field.name not in ("id", PATH_COLUMN):
            # Of the same name as one of ours: what does not fit it can't be meant by it.
            if not _fits(field.type, METADATA_SCHEMA.field(field.name).type):
                left_out.append(field.name)
        elif kind is None or field.name.lower() in seen:
            left_out.append(field.name)
        else:
            seen.add(field.name.lower())  # SQL, which filters speak, does not tell a from A.
            fields.append(pa.field(field.name, kind))
    return pa.schema([*METADATA_SCHEMA, *fields]), tuple(left_out)


def _kept(kind: pa.DataType) -> pa.DataType | None:
    """The type in which a column of plain values is kept; None for any other."""
    if _is_text(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()  # DuckDB, which reads the metadata, knows no half.
    plain = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_date, pa.types.is_timestamp)
    return kind if any(of(kind) for of in plain) else None


def _fits(kind: pa.DataType, ours: pa.DataType) -> bool:
    return _is_text(kind) if pa.types.is_string(ours) else bool(pa.types.is_integer(kind))
