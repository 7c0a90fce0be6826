"""Make tables in Markdown from the results of a benchmark of the parts of a search, for the terminal and the page."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]

_PARTS = ("reduce", "lists", "scan", "copy rows", "compare", "rest")


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    return {
        "parts-run": header_table(results, [["dimensions", f"{results['dim']:,}"]]),
        "parts-time": time_table(results),
        "parts-bytes": bytes_table(results),
    }


def time_table(results: Results) -> str:
    """CPU time a query by its parts, with single queries and in batches, at the tuned width and at narrower ones."""
    rows = [
        [
            f"{found['rows']:,}",
            f"{width['lists']:,.0f}",
            f"{width['recall_at_10']:.3f}",
            f"{way['batch']}",
            f"{way['call_ms']['p50']:.2f} / {way['call_ms']['p99']:.2f}",
            f"{way['queries_per_second']:,.0f}",
            *(f"{way['cpu_ms'][part]:.3f}" for part in _PARTS),
            f"**{way['cpu_ms']['all']:.3f}**",
        ]
        for found in results["sizes"]
        for width in found["widths"]
        for way in width["ways"]
    ]
    told = ["lists read", "recall@10", "at once", "call p50 / p99 ms", "queries/s"]
    return table(["embeddings", *told, *_PARTS, "**CPU ms a query**"], rows, right=1)


def bytes_table(results: Results) -> str:
    """What a query reads, how long memory takes to give it, and how fast the codes are read in fact."""
    rows = []
    for found in results["sizes"]:
        one, *_, all_cores = (found["read_bytes_per_second"][at] for at in _threads(found))
        for width in found["widths"]:
            single, batched = (way["cpu_ms"]["scan"] / 1_000 for way in width["ways"])
            code_bytes = width["codes"] * found["code_bytes"]
            row_bytes = width["rows"] * found["row_bytes"]
            whole = code_bytes + row_bytes + found["table_bytes"]
            rows.append(
                [
                    f"{found['rows']:,}",
                    f"{width['lists']:,.0f}",
                    f"{width['codes']:,.0f}",
                    size(round(code_bytes)),
                    size(round(row_bytes)),
                    size(found["table_bytes"]),
                    f"{whole / one * 1_000:.2f}",
                    size(round(code_bytes / single)),
                    size(round(code_bytes / batched)),
                    size(one),
                    size(all_cores),
                ]
            )
    told = ["lists read", "codes", "their bytes", "rows compared", "PCA and centroids", "all at one core's rate, ms"]
    rates = ["codes/s, single", "codes/s, in batches", "memory/s, one core", "memory/s, all cores"]
    return table(["embeddings", *told, *rates], rows, right=1)


def _threads(found: Results) -> list[str]:
    return sorted(found["read_bytes_per_second"], key=int)
