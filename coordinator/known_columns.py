"""Known columns: what a source says of its images besides their paths, row by row -> columns of one type each."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from shared.errors import SourceError
from shared.manifest import KNOWN_TYPES
from shared.path_list import MEMBER
from shared.sealing import METADATA_SCHEMA

_MOST_COLUMNS: Final = 200
_OURS: Final = frozenset((*METADATA_SCHEMA.names, MEMBER.name, "status", "error_message", "embedding"))


class KnownColumns:
    """Learns the columns of a source while its partitions are listed; `types` are those of all so far, by column.

    A column is of the narrowest type that holds all its values, of every partition; where they are of several kinds,
    it is text. What is no plain value becomes JSON. A name that lookalike has a column of its own for gets `source_`
    before it.
    """

    def __init__(self) -> None:
        self.types: dict[str, str] = {}
        self._columns: dict[str, str] = {}

    def arrays(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
        """The columns of a partition, a value for each of `rows`, null where a row says nothing.

        Raises SourceError when there are more columns than a table should have.
        """
        names = dict.fromkeys(name for row in rows for name in row)
        arrays = {self._column(name): _array([row.get(name) for row in rows]) for name in names}
        for column, array in arrays.items():
            kind = next((kind for kind, type in KNOWN_TYPES.items() if type == array.type), None)
            if kind is not None:
                self.types[column] = _wider(self.types.get(column), kind)
        return {column: array for column, array in arrays.items() if not pa.types.is_null(array.type)}

    def _column(self, name: str) -> str:
        if name not in self._columns:
            if len(self._columns) >= _MOST_COLUMNS:
                raise SourceError(
                    f"The source has over {_MOST_COLUMNS} columns beside the paths, {name!r:.60} among them: leave out "
                    "what is not for every image."
                )
            column = name.strip() or "unnamed"
            # SQL, which filters speak, does not tell a from A.
            taken = {*_OURS, *(known.lower() for known in self._columns.values())}
            while column.lower() in taken:
                column = f"source_{column}"
            self._columns[name] = column
        return self._columns[name]


def _wider(one: str | None, other: str) -> str:
    """The type that holds what is of either."""
    if one is None or one == other:
        return other
    return "double" if {one, other} == {"int64", "double"} else "string"


def _array(values: Sequence[Any]) -> pa.Array:
    """`values` as one of KNOWN_TYPES, or of nulls alone."""
    kinds = {_kind(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    kind = kinds.pop()
    for other in kinds:
        kind = _wider(kind, other)
    if kind == "string":
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    return pa.array([None if value is None else value for value in values], KNOWN_TYPES[kind])


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(1 << 63) <= value < 1 << 63 else "string"
    if isinstance(value, float):
        return "double"
    if isinstance(value, datetime.datetime):
        return "string" if value.tzinfo else "timestamp"
    return "date" if isinstance(value, datetime.date) else "string"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # JSON may hold halves of a surrogate pair.
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)
