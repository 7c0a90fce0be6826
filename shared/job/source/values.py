"""Metadata that a program gives of images: values by column, compared with the columns of the job."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from shared.errors import UsageError
from shared.job.opened import OpenJob
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.storage.parquet import read_schema

Values = Mapping[str, Any]
"""The metadata of one image: plain values by the names of columns; None, and a column that is left out, are null."""

_OURS: Final = frozenset(METADATA_SCHEMA.names)


def columns_of(job: OpenJob) -> pa.Schema:
    """The columns that the metadata of a job's images has besides lookalike's own.

    Those of imported vectors are in the metadata of its first partition. Raises CorruptFile where that can't be read.
    """
    if not job.manifest.model.is_imported:
        return job.manifest.source.known_schema
    schema = read_schema(job.metadata(job.partitions[0].number))
    return pa.schema([field for field in schema.remove_metadata() if field.name not in _OURS])


def table_of(columns: pa.Schema, rows: Sequence[Values]) -> pa.Table:
    """The metadata of some images in the columns of their job.

    Raises UsageError for a column that the job does not have, and a value that its column can't hold exactly.
    """
    for row in rows:
        if unknown := sorted(set(row) - set(columns.names)):
            has = f"it has {', '.join(columns.names)}" if columns.names else "it has none besides lookalike's own"
            raise UsageError(f"The job has no column {unknown[0]!r:.80} in the metadata of its images: {has}.")
    return pa.table([_column(field, [row.get(field.name) for row in rows]) for field in columns], schema=columns)


def _column(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    made = [_held(field, value) for value in values]
    try:
        return pa.array(made, field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise UsageError(
            f"The column {field.name} holds {field.type}, and can't hold what was given: {error}."
        ) from None


def _held(field: pa.Field, value: Any) -> Any:
    """`value` as its column takes it; UsageError where that would make it another value."""
    kind, fits = field.type, True
    if value is None:
        return None
    if pa.types.is_boolean(kind):
        fits = isinstance(value, bool)
    elif pa.types.is_integer(kind):
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif pa.types.is_floating(kind):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        fits = isinstance(value, str)
    elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        parse = datetime.datetime.fromisoformat if pa.types.is_timestamp(kind) else datetime.date.fromisoformat
        try:
            value = parse(value) if isinstance(value, str) else value
        except ValueError:
            fits = False
        # A moment is a date too, in Python; and Arrow would move one that has a zone.
        fits = fits and type(value) is (datetime.datetime if pa.types.is_timestamp(kind) else datetime.date)
        fits = fits and (getattr(value, "tzinfo", None) is None or getattr(kind, "tz", None) is not None)
    if not fits:
        raise UsageError(f"The column {field.name} holds {kind}, and {value!r:.80} is none: nothing was changed.")
    return value
