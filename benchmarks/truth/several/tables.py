"""The tables of several copies, in docs/benchmarks.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, table
from benchmarks.truth.several.ends import ALONE, AUTO, COLLAGES, COPIES

_KINDS = {
    COPIES: "queries beside copies",
    AUTO: "the same by `auto`",
    COLLAGES: "collages of four",
    ALONE: "for an original alone",
}


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """The tables by the names of their blocks."""
    queries, provable = results["queries"], results["provable"]
    first = [
        ["photographs", f"{results['photographs']}: {results['searched']:,}"],
        ["candidates", f"the likeliest {results['candidates']:,}, by `auto` those that are near enough"],
        ["copies beside them", f"{results['copies']:,}, of {results['originals']:,} of the photographs"],
        *(
            [
                said,
                f"{queries[kind]:,}, of whose candidates {provable[kind]:,} are proven",
            ]
            for kind, said in _KINDS.items()
        ),
        ["model", f"`{results['model']}`"],
    ]
    heads = ["the next ones after a proof", "it ends after"]
    heads += [f"{kind}: {what}" for kind in _KINDS for what, _ in _shown(kind)]
    rows = [
        [
            row["order"],
            str(row["after"]),
            *(f"{row[what][kind]:{form}}" for kind in _KINDS for what, form in _shown(kind)),
        ]
        for row in results["ends"]
    ]
    return {"several-header": header_table(results, first), "several": table(heads, rows, right=1)}


def _shown(kind: str) -> list[tuple[str, str]]:
    """What is shown of a kind of query, and how: all that are proven of an original alone is that one."""
    return [("compared", ".1f")] if kind == ALONE else [("found", ".3f"), ("compared", ".1f")]
