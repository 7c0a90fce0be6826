"""Run an expression on the metadata of a job; `python -m workers.search.filtering.expressions JOB` prints the ids.

The process reads {"where": …} on standard input and prints a line for each sealed partition: its number, and the ids
of its images for which the expression is true, as base64 of int64.
"""

import argparse
import base64
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from shared.errors import QueryError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.messages.filter import Filter
from shared.processes.stage import exit_status, say
from shared.storage.parquet import read_schema, read_table

if TYPE_CHECKING:
    import duckdb

# The functions that an expression may call, besides operators: none that makes large values of small ones, as repeat
# and range do, or that reads more than its arguments. The memory limit of DuckDB does not stop a single value.
_FUNCTIONS: Final = (
    "abs", "ceil", "ceiling", "contains", "date_part", "day", "ends_with", "floor", "greatest", "ilike_escape",
    "isfinite", "isnan", "least", "len", "length", "like_escape", "list_contains", "list_value", "lower", "ltrim",
    "month", "not_ilike_escape", "not_like_escape", "prefix", "regexp_full_match", "regexp_matches", "round", "rtrim",
    "sign", "split_part", "starts_with", "strlen", "substr", "substring", "suffix", "trim", "upper", "year",
)  # fmt: skip
_SELECT: Final = "SELECT id FROM images WHERE ({}\n)"  # The newline ends a comment.


def matching(where: str, metadata: Sequence[Path], seconds: float | None) -> Iterator[npt.NDArray[np.int64]]:
    """The image ids for which an expression is true, int64 ascending, of each file of `metadata` in order.

    Raises QueryError when the expression is invalid, is not true or false, reads more than its own row, or takes over
    `seconds`; None is no limit. CorruptFile when a file of the metadata is damaged.
    """
    schema = read_schema(metadata[0]) if metadata else pa.schema([("id", pa.int64())])
    columns = _columns(where, schema)
    deadline = None if seconds is None else time.monotonic() + seconds
    with _database(where, schema.names) as database:
        database.register("images", schema.empty_table())
        kind = database.execute(f"SELECT ({where}\n) FROM images LIMIT 0").description[0][1]
        if str(kind) != "BOOLEAN":
            raise QueryError(f"The filter {shown(where)} is {kind}, not true or false: compare it with something.")
        for path in metadata:
            if deadline is not None and time.monotonic() > deadline:
                raise QueryError(f"The filter {shown(where)} took over {seconds:g} s: ask for less.")
            database.register("images", read_table(path, columns))
            yield np.sort(database.execute(_SELECT.format(where)).fetchnumpy()["id"].astype(np.int64))


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
            f"The filter {shown(where)} is more than one expression over an image's own metadata: subqueries, further "
            "statements and clauses are not read."
        )
    calls = [node for node in nodes if node.get("class") == "FUNCTION" and not node.get("is_operator")]
    if refused := [node["function_name"] for node in calls if node["function_name"] not in _FUNCTIONS]:
        raise QueryError(f"The filter {shown(where)} calls {refused[0]}; it may call {', '.join(_FUNCTIONS)}.")
    named = {str(part).lower() for node in nodes for part in node.get("column_names", ())}
    every = any(node.get("class") == "STAR" for node in nodes)
    return [name for name in schema.names if name == "id" or every or name.lower() in named]


def _parsed(where: str) -> dict[str, Any]:
    """The syntax of the statement that asks for `where`, without places in the text."""
    with _database(where) as database:
        text = database.execute("SELECT json_serialize_sql(?)", [_SELECT.format(where)]).fetchall()[0][0]
    parsed = json.loads(text, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if "query_location" not in k})
    if parsed["error"]:
        raise QueryError(f"The filter {shown(where)} can't be read: {str(parsed['error_message']).splitlines()[0]}.")
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
            "The expression of a filter can't be read here, as there is no DuckDB: install lookalike[worker] anew, or "
            "give image ids instead."
        ) from None
    with duckdb.connect(":memory:", config={"memory_limit": "1GB"}) as database:
        for setting in ("enable_external_access=false", "python_enable_replacements=false", "lock_configuration=true"):
            database.execute(f"SET {setting}")
        try:
            yield database
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].rstrip(".")
            known = f" The columns are {', '.join(columns)}." if columns else ""
            raise QueryError(f"The filter {shown(where)} can't be asked of the metadata: {reason}.{known}") from None


def shown(where: str) -> str:
    """An expression as a sentence names it."""
    return repr(where if len(where) <= 200 else where[:200] + " …")


def main(arguments: Sequence[str] | None = None) -> int:
    """Say which images of the sealed partitions of a job an expression is true of, a partition a line."""
    parser = argparse.ArgumentParser(prog="python -m workers.search.filtering.expressions")
    parser.add_argument("job", type=Path)
    options = parser.parse_args(arguments)

    def run() -> None:
        filter = Filter(where=json.load(sys.stdin)["where"])
        job = open_job(JobDir.at(options.job))
        sealed = [seal.partition for seal in ledger.sealed(job)]
        found = matching(str(filter.where), [job.metadata(number) for number in sealed], seconds=None)
        for number, ids in zip(sealed, found, strict=True):
            say(partition=number, ids=base64.b64encode(ids.astype("<i8").tobytes()).decode("ascii"))
        say(result={"partitions": len(sealed)})

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
