"""Find the embedded images that a filter chooses: look up ids, and run expressions on the metadata with DuckDB."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from cachetools import LRUCache

from shared.errors import QueryError
from shared.messages.filter import Filter
from shared.storage.parquet import read_schema, read_table
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Rows

if TYPE_CHECKING:
    import duckdb

_KEPT: Final = 4  # How many filters are cached, of up to 8 bytes an embedding: 16 MB each at two million.
MOST_SECONDS: Final = 30.0
# The functions that an expression may call, besides operators: none that makes large values of small ones, as repeat
# and range do, or that reads more than its arguments. The memory limit of DuckDB does not stop a single value.
_FUNCTIONS: Final = (
    "abs", "ceil", "ceiling", "contains", "date_part", "day", "ends_with", "floor", "greatest", "ilike_escape",
    "isfinite", "isnan", "least", "len", "length", "like_escape", "list_contains", "list_value", "lower", "ltrim",
    "month", "not_ilike_escape", "not_like_escape", "prefix", "regexp_full_match", "regexp_matches", "round", "rtrim",
    "sign", "split_part", "starts_with", "strlen", "substr", "substring", "suffix", "trim", "upper", "year",
)  # fmt: skip
_SELECT: Final = "SELECT id FROM images WHERE ({}\n)"  # The newline ends a comment.


class Chosen:
    """The choice of a filter: `ids`, int64 ascending, of embedded images, at least one."""

    def __init__(self, ids: Rows) -> None:
        self.ids = ids

    @cached_property
    def only(self) -> Only:
        """The choice as the index needs it; made when an index is first asked, and kept."""
        return Only(self.ids)


class Filters:
    """The images of one build that filters choose; the last used are cached. Several threads may ask at once."""

    def __init__(self, ids: Rows, metadata: Sequence[Path] = ()) -> None:
        """`ids` are the images that can be found, int64 ascending; `metadata` are the Parquet files that have a row for
        each of them, and for others."""
        self._ids = ids
        self._metadata = metadata
        self._kept: LRUCache[bytes, Chosen] = LRUCache(_KEPT)
        self._lock = threading.Lock()

    def chosen(self, filter: Filter) -> Chosen:
        """The embedded images that `filter` chooses.

        Raises QueryError when it chooses none, names an id without an embedding, or its expression is invalid, is not
        true or false, reads more than its own row, or takes over 30 seconds. CorruptFile when a file of the metadata is
        damaged.
        """
        key = filter.key
        with self._lock:
            if (known := self._kept.get(key)) is not None:
                return known
        chosen = Chosen(self._known(filter.ids) if filter.ids is not None else self._where(str(filter.where)))
        with self._lock:
            self._kept[key] = chosen
        return chosen

    def _known(self, ids: Rows) -> Rows:
        ids = np.unique(ids)
        known = np.isin(ids, self._ids, assume_unique=True)
        if not known.all():
            raise QueryError(
                f"The filter names {len(ids):,} image ids, and {np.count_nonzero(~known):,} of them have no embedding "
                f"in this job, such as {ids[~known][0]}: they failed, were removed, or were never listed; leave them "
                "out."
            )
        return ids

    def _where(self, where: str) -> Rows:
        schema = read_schema(self._metadata[0]) if self._metadata else pa.schema([("id", pa.int64())])
        columns = _columns(where, schema)
        deadline = time.monotonic() + MOST_SECONDS
        found = [np.empty(0, np.int64)]
        with _database(where, schema.names) as database:
            database.register("images", schema.empty_table())
            kind = database.execute(f"SELECT ({where}\n) FROM images LIMIT 0").description[0][1]
            if str(kind) != "BOOLEAN":
                raise QueryError(f"The filter {_shown(where)} is {kind}, not true or false: compare it with something.")
            for path in self._metadata:
                if time.monotonic() > deadline:
                    raise QueryError(f"The filter {_shown(where)} took over {MOST_SECONDS:g} s: ask for less.")
                database.register("images", read_table(path, columns))
                found.append(database.execute(_SELECT.format(where)).fetchnumpy()["id"].astype(np.int64))
        ids = np.intersect1d(np.concatenate(found), self._ids)
        if not len(ids):
            raise QueryError(
                f"The filter {_shown(where)} matches none of the {len(self._ids):,} embedded images: ask for less."
            )
        return ids


def _columns(where: str, schema: pa.Schema) -> list[str]:
    """The columns that an expression reads, and id; QueryError when it is not one expression over a row."""
    tree, plain = _parsed(where), _parsed("true")
    for statement in (tree, plain):
        statement["expression"] = statement.pop("where_clause", None)
    nodes = list(_nodes(tree.pop("expression")))
    plain.pop("expression")
    # Text that closes the parenthesis and continues (a union, a limit, a second statement) makes another statement.
    if tree != plain or any(node.get("class") == "SUBQUERY" for node in nodes):
        raise QueryError(
            f"The filter {_shown(where)} is more than one expression over an image's own metadata: subqueries, further "
            "statements and clauses are not read."
        )
    calls = [node for node in nodes if node.get("class") == "FUNCTION" and not node.get("is_operator")]
    if refused := [node["function_name"] for node in calls if node["function_name"] not in _FUNCTIONS]:
        raise QueryError(f"The filter {_shown(where)} calls {refused[0]}; it may call {', '.join(_FUNCTIONS)}.")
    named = {str(part).lower() for node in nodes for part in node.get("column_names", ())}
    every = any(node.get("class") == "STAR" for node in nodes)
    return [name for name in schema.names if name == "id" or every or name.lower() in named]


def _parsed(where: str) -> dict[str, Any]:
    """The syntax of the statement that asks for `where`, without places in the text."""
    with _database(where) as database:
        text = database.execute("SELECT json_serialize_sql(?)", [_SELECT.format(where)]).fetchall()[0][0]
    parsed = json.loads(text, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if "query_location" not in k})
    if parsed["error"]:
        raise QueryError(f"The filter {_shown(where)} can't be read: {str(parsed['error_message']).splitlines()[0]}.")
    if len(parsed["statements"]) != 1:
        return {}
    node: dict[str, Any] = parsed["statements"][0]["node"]
    return node


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a tree of JSON."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


@contextmanager
def _database(where: str, columns: Sequence[str] = ()) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A database in memory that reaches no file and no network; its errors as QueryError, which name the `columns`."""
    try:
        import duckdb
    except ImportError:
        raise QueryError(
            "This worker can't read the expression of a filter, for it has no DuckDB: install lookalike[worker] anew, "
            "or filter by image ids."
        ) from None
    with duckdb.connect(":memory:", config={"memory_limit": "1GB"}) as database:
        for setting in ("enable_external_access=false", "python_enable_replacements=false", "lock_configuration=true"):
            database.execute(f"SET {setting}")
        try:
            yield database
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].rstrip(".")
            known = f" The columns are {', '.join(columns)}." if columns else ""
            raise QueryError(f"The filter {_shown(where)} can't be asked of the metadata: {reason}.{known}") from None


def _shown(where: str) -> str:
    return repr(where if len(where) <= 200 else where[:200] + " …")
