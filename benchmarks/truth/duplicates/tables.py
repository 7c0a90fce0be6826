"""Make tables in Markdown from the results of a benchmark of duplicates, for the terminal and the page."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    return {
        "duplicates-run": header_table(results, [["dimensions", f"{results['dim']:,}"]]),
        "duplicates-time": time_table(results),
        "duplicates-found": found_table(results),
    }


def time_table(results: Results) -> str:
    """Seconds of each part of a search, and what it takes."""
    rows = [
        [
            f"{one['rows']:,}",
            f"{one['seconds']['open']:,.1f}",
            f"{one['seconds']['neighbours']:,.1f}",
            f"{one['rows_per_second']:,}",
            f"{one['seconds']['group']:,.1f}",
            size(one["peak_rss_bytes"]),
            size(one["file_bytes"]),
            f"{one['pairs']:,}",
            f"{one['groups']:,}",
        ]
        for one in results["sizes"]
    ]
    told = ["open, s", "neighbours, s", "images/s", "group, s", "peak memory", "files", "pairs", "groups"]
    return table(["embeddings", *told], rows, right=0)


def found_table(results: Results) -> str:
    """The share that was found: of planted copies, and of the pairs that comparing all finds."""
    rows = []
    for one in results["sizes"]:
        for exact in one["exact"]:
            planted = one["planted_found"].get(f"{exact['from']:g}")
            rows.append(
                [
                    f"{one['rows']:,}",
                    f"{exact['from']:g}",
                    f"{planted:.3f}",
                    f"{exact['pairs']:,}",
                    f"{exact['found']:.3f}",
                ]
            )
    told = ["cosine", "planted copies found", "exact pairs from it", "of them found"]
    return table(["embeddings", *told], rows, right=0)
