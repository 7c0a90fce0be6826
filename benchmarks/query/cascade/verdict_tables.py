"""The tables of what verdicts cost and find, for docs/verdicts.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, table
from workers.search.cascade.nearness import COPIES


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Each table by the name of its block."""
    return {
        "verdicts-header": header_table(results, [["photographs", f"{results['photographs']}: {results['images']:,}"]]),
        "verdicts-modes": _modes(results),
        "verdicts-alterations": _alterations(results),
        "verdicts-near": _near(results),
    }


def _modes(results: Mapping[str, Any]) -> str:
    rows = []
    for mode in results["modes"]:
        found = mode["by_alteration"].values()
        queries = sum(one["queries"] for one in found)
        p50 = sorted(one["worker_ms"]["p50"] for one in found)[len(found) // 2]
        absent = mode["absent"]
        rows.append(
            [
                mode["verify"],
                str(mode["views"]),
                _share(sum(one["first"] for one in found), queries),
                _share(sum(one["proven"] for one in found), queries),
                f"{absent['others_proven']:,} of {absent['queries']:,}",
                f"{p50:.0f}",
                f"{absent['worker_ms']['p50']:.0f}",
                f"{absent['worker_ms']['p99']:.0f}",
                f"{absent['compared']:.1f}",
            ]
        )
    heads = [
        "verify",
        "views",
        "original first",
        "proven",
        "false, absent",
        "ms",
        "ms, absent",
        "p99",
        "compared, absent",
    ]
    return table(heads, rows, 2)


def _alterations(results: Mapping[str, Any]) -> str:
    modes = [
        mode
        for mode in results["modes"]
        if (mode["verify"], mode["views"]) in (("never", 1), ("auto", 1), ("always", 6))
    ]
    rows = []
    for name in results["modes"][0]["by_alteration"]:
        cells = [name]
        for mode in modes:
            one = mode["by_alteration"][name]
            cells += [_share(one["first"], one["queries"])]
            cells += [] if mode["verify"] == "never" else [_share(one["proven"], one["queries"])]
        rows.append(cells)
    return table(["alteration", "never, first", "auto, first", "proven", "always, 6 views, first", "proven"], rows, 1)


def _near(results: Mapping[str, Any]) -> str:
    rows = [
        [
            str(row["views"]),
            f"{row['stands_out']:.2f}",
            f"{row['originals_compared']:.1%}",
            f"{row['absent_compared']:.1%}",
            f"{row['absent_candidates']:.2f}",
        ]
        for row in results["near"]
        if row["copies"] == COPIES  # The other bounds change next to nothing; they are in the results.
    ]
    heads = ["views", "stands out by", "originals compared", "absent ones compared", "images each"]
    return table(heads, rows, 0)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}"
