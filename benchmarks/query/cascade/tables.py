"""The tables of what a look-up of PDQs and a finer model find and cost, for docs/verdicts.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, table


def all_tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Each table by the name of its block."""
    first = [["photographs", f"{results['photographs']}: {results['images']:,}"], ["finer model", results["finer"]]]
    made = {
        "cascade-header": header_table(results, first),
        "cascade-stages": _stages(results),
        "cascade-alterations": _alterations(results),
    }
    return made | ({"cascade-look-up": _look_up(results["look_up"])} if "look_up" in results else {})


def _stages(results: Mapping[str, Any]) -> str:
    rows = []
    for stage in results["stages"]:
        found, absent = stage["by_alteration"].values(), stage["absent"]
        queries = sum(one["queries"] for one in found)
        p50 = sorted(one["worker_ms"]["p50"] for one in found)[len(found) // 2]
        cached = f"{stage['cached']['worker_ms']['p50']:.0f}" if "cached" in stage else ""
        rows.append(
            [
                stage["stage"],
                f"{sum(one['first'] for one in found) / queries:.1%}",
                f"{sum(one['proven'] for one in found) / queries:.1%}",
                f"{absent['others_proven']:,} of {absent['queries']:,}",
                f"{p50:.0f}",
                cached,
                f"{absent['worker_ms']['p50']:.0f}",
            ]
        )
    return table(["stages", "original first", "proven", "false, absent", "ms", "again", "ms, absent"], rows, 1)


def _alterations(results: Mapping[str, Any]) -> str:
    stages = {stage["stage"]: stage["by_alteration"] for stage in results["stages"]}
    pictures, looked_up = stages["pictures"], stages["PDQs, pictures"]
    rows = [
        [
            name,
            _share(one, "first"),
            _share(stages["finer model"][name], "first"),
            _share(pictures[name], "proven"),
            _share(looked_up[name], "proven"),
        ]
        for name, one in stages["index"].items()
    ]
    return table(["alteration", "index, first", "finer model, first", "pictures, proven", "with PDQs, proven"], rows, 1)


def _look_up(told: Mapping[str, Any]) -> str:
    row = [
        f"{told['hashes']:,}",
        f"{told['seconds_to_make']:.1f} s",
        f"{told['bytes'] / told['hashes']:.0f} B an image",
        f"{told['ms']['p50']:.2f} ms",
        f"{told['ms']['p99']:.2f} ms",
        f"{told['found']:.1%}",
    ]
    return table(["PDQs", "made in", "memory", "p50, eight turns", "p99", "found"], [row], 0)


def _share(one: Mapping[str, Any], name: str) -> str:
    return f"{one[name] / one['queries']:.1%}"
