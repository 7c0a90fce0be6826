"""The tables of fusion, in docs/benchmarks.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, table


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """The tables by the names of their blocks."""
    methods = results["methods"]
    first = [
        ["photographs", f"{results['photographs']}: {results['searched']:,}"],
        ["originals", f"{results['originals']:,}, of which nothing was learned, in {len(results['alterations'])} ways"],
        ["model", f"{results['model']}, levels {', '.join(results['levels'])}"],
        ["trial", f"{results['trial']['says']}; {results['trial']['seconds']:,.0f} s"],
    ]
    heads = ["", "dimensions", "ms an image", "R@1", "R@10", "at .1 % false", "stands out by"]
    heads += ["compared", "compared, absent"]
    rows = [
        [
            name,
            f"{found['dim']:,}",
            f"{found['ms']:.1f}",
            *(f"{found[key]:.3f}" for key in ("r_at_1", "r_at_10", "recognised")),
            f"{found['stands_out']:.2f}",
            *(f"{found[key]:.3f}" for key in ("compared", "compared_absent")),
        ]
        for name, found in methods.items()
    ]
    kinds = [[kind, *(f"{found['kinds'][kind]:.2f}" for found in methods.values())] for kind in results["alterations"]]
    return {
        "fusion-header": header_table(results, first),
        "fusion": table(heads, rows, right=1),
        "fusion-alterations": table(["alteration", *methods], kinds, right=1),
    }
