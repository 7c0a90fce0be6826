"""Make the tables of docs/benchmarks.md about damaged files of every format in `index` and `search`."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]

_SHOWN = {"ok": "embedded", "truncated": "truncated", "undecodable": "undecodable", "oversized": "oversized"}


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    return {"damaged-run": run_table(results), "damaged": damaged_table(results)}


def run_table(results: Results) -> str:
    """What the figures belong to, and what they come to."""
    peaks = results["peak_bytes"]
    rows = [
        ["images", f"{results['images']:,}: {results['embedded']:,} embedded, {results['failed']:,} failed"],
        ["`index`", f"{results['index_seconds']:,.1f} s"],
        ["searches", f"{results['search_seconds']:,.1f} s"],
        ["embed worker at its peak", f"{size(peaks['index']['embed'])}, and with whole images alone "
         f"{size(peaks['index of whole images']['embed'])}"],
        ["query worker at its peak", size(peaks["search"]["query"])],
        ["process that decodes queries at its peak", size(peaks["search"]["decoding"])],
        ["tracebacks, hangs, ends of workers and wrong answers", f"{len(results['problems'])}"],
    ]  # fmt: skip
    return header_table(results, rows)


def damaged_table(results: Results) -> str:
    """By format, what the images ended as, and how many of those searched for were answered rightly."""
    rows = []
    for kind, statuses in results["statuses"].items():
        shown = [statuses.get(status, 0) for status in _SHOWN]
        total, searched = sum(statuses.values()), results["searched"][kind]
        numbers = [total, *shown, total - sum(shown)]
        rows.append(
            [
                "further cases" if kind == "cases" else kind,
                *(f"{number:,}" for number in numbers),
                f"{searched['found']} of {searched['embedded']}",
                f"{searched['answered']} of {searched['failed']}",
            ]
        )
    heads = ["format", "images", *_SHOWN.values(), "other", "found themselves", "told why not"]
    return table(heads, rows, right=1)
