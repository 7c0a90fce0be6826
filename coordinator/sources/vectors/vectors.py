"""Open a file or a folder of vectors made elsewhere as rows in order, each with its path and its metadata."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from coordinator.sources.vectors.columns import PATH_COLUMN, held_as, path_column_of, require_rows, schema_of
from coordinator.sources.vectors.layout import files_of
from coordinator.sources.vectors.parquet_reader import VECTORS, ParquetFile, ParquetRows
from coordinator.sources.vectors.readers import FvecsFile, NpyFile, Raw, VectorFile
from shared.errors import SourceError, UsageError
from shared.errors.remedy import Remedy
from shared.images.paths import to_text
from shared.models.imported import MOST_DIMENSIONS

BLOCK_VALUES: Final = 1 << 22
"""How many values are held at once: 16 MB as float32."""

_ENDS: Final = 1 << 16  # How many bytes of a file's beginning and of its end tell it from another of the same size.


@dataclass(frozen=True, slots=True)
class _Part:
    """One file of vectors, the number of its first row in the whole, and the rows of its metadata, if it has any."""

    file: VectorFile
    start: int
    paths: ParquetRows | None
    known: ParquetRows | None


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors [rows, dim] in the order of their files; reading forwards is fastest.

    `schema` is that of their metadata: METADATA_SCHEMA, then the columns that are kept as they are; `left_out` has the
    reason for each other column, by its name. `content` tells them from other vectors: it is a digest over the names,
    sizes, shapes, first and last bytes of all files.
    """

    location: str
    rows: int
    dim: int
    schema: pa.Schema
    left_out: Mapping[str, str]
    content: str
    _parts: tuple[_Part, ...]

    def blocks(self, start: int, stop: int) -> Iterator[tuple[int, Raw]]:
        """The rows [start, stop) in blocks of at most BLOCK_VALUES values, each with its first row's number."""
        most = max(1, BLOCK_VALUES // self.dim)
        for part, first, last in self._within(start, stop):
            for begin in range(first, last, most):
                yield part.start + begin, part.file.read(begin, min(begin + most, last))

    def paths(self, start: int, stop: int) -> list[str]:
        """The image paths of the rows [start, stop): from the metadata, or the name of the file and the row in it."""
        found: list[str] = []
        for part, first, last in self._within(start, stop):
            made = [f"{part.file.path.name}#{row}" for row in range(first, last)]
            if part.paths is None:
                found += made
                continue
            given = part.paths.read(first, last).column(0).cast(pa.string()).to_pylist()
            found += [path or other for path, other in zip(given, made, strict=True)]
        return found

    def known(self, start: int, stop: int) -> pa.Table:
        """The metadata of the rows [start, stop), with the columns of `schema` except id and image_path."""
        schema = pa.schema([field for field in self.schema if field.name not in ("id", PATH_COLUMN)])
        return pa.concat_tables(
            [self._known(part, first, last, schema) for part, first, last in self._within(start, stop)]
        )

    def _known(self, part: _Part, first: int, last: int, schema: pa.Schema) -> pa.Table:
        given = None if part.known is None else part.known.read(first, last)
        columns = []
        for field in schema:
            if given is None or field.name not in given.schema.names:
                columns.append(pa.nulls(last - first, field.type))
                continue
            try:
                columns.append(held_as(given[field.name], field.type))
            except pa.ArrowException as error:
                assert part.known is not None
                raise SourceError(
                    f"The column {field.name!r} of {part.known.path} does not fit {field.type}, as it is kept for all "
                    f"rows ({error}): restore it as it was when the import began."
                ) from None
        return pa.table(columns, schema=schema)

    def _within(self, start: int, stop: int) -> Iterator[tuple[_Part, int, int]]:
        """The parts that hold the rows [start, stop), each with the first and last of them by its own count."""
        for part in self._parts:
            first, last = max(start, part.start), min(stop, part.start + part.file.rows)
            if first < last:
                yield part, first - part.start, last - part.start


def open_vectors(source: str, column: str | None = None, path_column: str | None = None) -> Vectors:
    """The vectors of EMBEDDINGS, by their headers and footers alone.

    `column` is the Parquet column that holds them, needed only for Parquet; `path_column` is the column of their
    metadata that holds the image paths (image_path unless given). Raises SourceError when there are no vectors, or when
    the files do not go together; UsageError for a column that no file can have.
    """
    root = Path(os.path.expanduser(source)).absolute()
    paths, listings = files_of(root)
    files = [_opened(path, column) for path in paths]
    listed: list[ParquetRows | None] = [ParquetRows.open(path) for path in listings]
    tables = listed or [file.table if isinstance(file, ParquetFile) else None for file in files]
    dim = _agreed(files, root)
    require_rows(files, tables)
    named = path_column_of(tables, path_column, root)
    schema, left_out = schema_of(tables, {named, column})
    starts = np.cumsum([0, *(file.rows for file in files)]).tolist()
    unknown = {"id", PATH_COLUMN, named, column, *left_out}
    return Vectors(
        location=to_text(str(root)),
        rows=starts[-1],
        dim=dim,
        schema=schema,
        left_out=left_out,
        content=_content(files, tables, column, named),
        _parts=tuple(
            _Part(
                file,
                start,
                _columns_of(table, {named}),
                _columns_of(table, set(schema.names) - unknown),
            )
            for file, start, table in zip(files, starts, tables, strict=False)
        ),
    )


def _columns_of(table: ParquetRows | None, names: set[str | None]) -> ParquetRows | None:
    """Those of the columns `names` that exist; None if none does."""
    columns = [] if table is None else [name for name in table.schema.names if name in names]
    return table.of(columns) if table is not None and columns else None


def _opened(path: Path, column: str | None) -> VectorFile:
    if path.suffix.lower() == ".parquet":
        if column is None:
            names = ", ".join(ParquetRows.open(path).schema.names)
            raise UsageError(f"{path} has the columns {names}", remedy=VECTORS)
        return ParquetFile.open(path, column)
    if column is not None:
        given = Remedy("option", does="leave {} out", given={"column": ""})
        raise UsageError(f"A column is chosen in Parquet, and {path} is none", remedy=given)
    return NpyFile.open(path) if path.suffix.lower() == ".npy" else FvecsFile.open(path)


def _agreed(files: Sequence[VectorFile], root: Path) -> int:
    """The number of dimensions that all files have."""
    known = [file for file in files if file.rows and file.dim is not None]
    if not known:
        raise SourceError(f"{root} holds no vectors: its {len(files):,} files have no rows, or none but null ones.")
    first = known[0]
    other = next((file for file in known if file.dim != first.dim), None)
    if other is not None:
        raise SourceError(
            f"{first.path} holds vectors of {first.dim:,} dimensions, and {other.path} of {other.dim:,}: "
            "vectors of one model have the same number; import them as two jobs."
        )
    assert first.dim is not None
    if not 1 <= first.dim <= MOST_DIMENSIONS:
        raise SourceError(
            f"The vectors of {first.path} have {first.dim:,} dimensions; 1 to {MOST_DIMENSIONS:,} can be imported."
        )
    return first.dim


def _content(
    files: Sequence[VectorFile],
    tables: Sequence[ParquetRows | None],
    column: str | None,
    path_column: str | None,
) -> str:
    """Hex SHA-256 that differs for other vectors, as far as both ends of each file can tell."""
    digest = hashlib.sha256(repr((column, path_column)).encode())
    paths = {file.path: (file.rows, file.dim) for file in files}
    paths |= {table.path: (table.rows, None) for table in tables if table is not None and table.path not in paths}
    for path, shape in paths.items():
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(repr((os.fsencode(path.name), size, shape)).encode())
                digest.update(file.read(_ENDS))
                file.seek(max(0, size - _ENDS))
                digest.update(file.read(_ENDS))
        except OSError as error:
            raise SourceError(f"{path} can't be read ({error.strerror}).") from None
    return digest.hexdigest()
