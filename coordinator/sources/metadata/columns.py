"""Turn source metadata, row by row, into columns of one type each."""

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

import pyarrow as pa

from coordinator.sources.metadata.numbers import Real
from shared.errors import SourceError
from shared.job.partition.sealing import METADATA_SCHEMA
from shared.job.path_list import MEMBER
from shared.job.source.known_types import arrow_type
from shared.text import text_of

_MOST_COLUMNS: Final = 200
_DOUBLE_HOLDS: Final = 1 << 53  # A double holds each whole number up to this one.
_WIDE: Final = "wide"
_OURS: Final = frozenset((*METADATA_SCHEMA.names, MEMBER.name, "status", "error_message", "embedding"))


class MetadataColumns:
    """Learns the columns of a source while its partitions are listed; `types` are those of all so far, by column.

    A column has the narrowest type that holds all its values, of every partition, exactly; if there is none, it is
    text, each value as it was written. Whole numbers beside others are doubles if all are at most 2**53. A value that
    is not plain becomes JSON. A name of one of lookalike's own columns gets `source_` before it.
    """

    def __init__(self) -> None:
        self._columns: dict[str, str] = {}
        self._kinds: dict[str, set[str]] = {}

    @property
    def types(self) -> dict[str, str]:
        """The type of each column, one of KNOWN_TYPES, over all partitions so far."""
        return {column: _joined(kinds) for column, kinds in self._kinds.items()}

    def arrays(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
        """The columns of a partition, a value for each of `rows`, null if a row has none.

        A column of numbers whose text is known comes as that text: a later partition may make it a column of text, and
        its final type in `types` is known only at the end. Raises SourceError when there are more columns than a table
        should have.
        """
        arrays = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            column = self._column(name)
            if kinds := {_kind(value) for value in values if value is not None}:
                self._kinds.setdefault(column, set()).update(kinds)
                arrays[column] = _array(values, _joined(kinds))
        return arrays

    def _column(self, name: str) -> str:
        if name not in self._columns:
            if len(self._columns) >= _MOST_COLUMNS:
                raise SourceError(
                    f"The source has over {_MOST_COLUMNS} columns beside the paths, {name!r:.60} among them: leave out "
                    "what is not for every image; texts beside images by --exclude, such as '*.json'."
                )
            column = text_of(name).strip() or "unnamed"
            # SQL, the language of filters, does not tell a from A.
            taken = {*_OURS, *(known.lower() for known in self._columns.values())}
            while column.lower() in taken:
                column = f"source_{column}"
            self._columns[name] = column
        return self._columns[name]


class SettledColumns(MetadataColumns):
    """The columns of a source of which the types are settled: those of `types`, as a job has them.

    A value that another column has, or that its column can't hold exactly, is left out, and counted in `left_out` by
    words that name the column.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        super().__init__()
        self._settled = types
        self.left_out: Counter[str] = Counter()

    def arrays(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
        """The columns of a partition that are settled, a value for each of `rows`, null where none fits."""
        arrays = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            column = self._column(name)
            if column not in self._settled:
                if count := sum(value is not None for value in values):
                    self.left_out[f"of a column {column} that the job does not have"] += count
                continue
            kind = self._settled[column]
            fits = [value is None or kind == "string" or _joined({_kind(value), kind}) == kind for value in values]
            if bad := fits.count(False):
                self.left_out[f"of the column {column}, which holds {kind}"] += bad
            arrays[column] = _array([value if fit else None for value, fit in zip(values, fits, strict=True)], kind)
        return arrays


def _joined(kinds: Set[str]) -> str:
    """The type that holds values of all `kinds` exactly."""
    if kinds <= {_WIDE, "int64"}:
        return "int64"
    if kinds <= {"int64", "double"}:
        return "double"
    return next(iter(kinds)) if len(kinds) == 1 else "string"


def _array(values: Sequence[Any], kind: str) -> pa.Array:
    """`values` as one of KNOWN_TYPES: `kind`, or as text if their text must not be lost."""
    if kind == "string" or any(isinstance(value, Real) for value in values):
        return pa.array([None if value is None else text_of(value) for value in values], pa.string())
    return pa.array(values, arrow_type(kind))


def _kind(value: Any) -> str:
    """The type for a single value; _WIDE for a whole number that a double may not hold exactly."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if abs(value) <= _DOUBLE_HOLDS:
            return "int64"
        return _WIDE if -(1 << 63) <= value < 1 << 63 else "string"
    if isinstance(value, float):
        return "double"
    if isinstance(value, datetime.datetime):
        return "string" if value.tzinfo else "timestamp"
    return "date" if isinstance(value, datetime.date) else "string"
