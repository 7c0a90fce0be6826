"""The tables of what chances say and what is true, for docs/verdicts.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, table


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Each table by the name of its block."""
    photographs = f"{results['photographs']}: {results['images']:,}"
    cost = f"{results['cost']['cpu_seconds']:.1f} s of the processor's time"
    return {
        "chances-header": header_table(results, [["photographs", photographs], ["measuring, at the build", cost]]),
        "chances-bins": _bins(results),
        "chances-alterations": _alterations(results),
        "chances-smaller": _smaller(results),
    }


def _bins(results: Mapping[str, Any]) -> str:
    rows = []
    for mild, every in zip(results["bins"]["measured"], results["bins"]["alone"], strict=True):
        cells = [f"{mild['from']:.0%} to {mild['to']:.0%}"]
        for row in (mild, every):
            cells += [f"{row['hits']:,}", f"{row['said']:.1f}", f"{row['originals']:,}"]
        rows.append([*cells, f"{every['said_after']:.1f}", f"{every['originals_after']:,}"])
    heads = ["chance", "hits", "said", "true", "eleven: hits", "said", "true", "not proven: said", "true"]
    return table(heads, rows, 1)


def _alterations(results: Mapping[str, Any]) -> str:
    rows = []
    for row in results["alterations"]:
        queries = row["queries"]
        rows.append(
            [
                row["alteration"],
                f"{row['among_nearest'] / queries:.0%}",
                f"{row['proven'] / queries:.0%}",
                f"{row['nothing_there']:.1%}",
                f"{row['nothing_absent']:.1%}",
            ]
        )
    return table(["alteration", "among 20", "proven", "nothing, there", "nothing, absent"], rows, 1)


def _smaller(results: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{row['images']:,}",
            f"{row['said']:.0f}",
            f"{row['originals']:,}",
            f"{row['nothing_there']:.1%}",
            f"{row['nothing_absent']:.1%}",
        ]
        for row in results["smaller"]
    ]
    return table(["images", "said", "true", "nothing, there", "nothing, absent"], rows, 0)
