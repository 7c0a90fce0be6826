"""Summarise the outcomes of a chaos run, and make the table at its end."""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.support.tables import size, table
from shared.errors import UsageError

Json = Mapping[str, Any]

_BLOCK = re.compile(r"(<!-- chaos -->\n).*?(<!-- end of chaos -->)", re.DOTALL)


def summary(rounds: Sequence[Json]) -> dict[str, Any]:
    """Counts over all rounds, and seconds of recovery and of work lost: over all faults, and by kind."""
    faults = [fault for played in rounds for fault in played["faults"]]
    return {
        "rounds": len(rounds),
        "faults": len(faults),
        "chunks_redone": sum(played["chunks_redone"] for played in rounds),
        "chunks_rewritten": sum(played["chunks_rewritten"] for played in rounds),
        "mismatches": sum(len(played["mismatches"]) for played in rounds),
        "rounds_with_a_mismatch": [played["round"] for played in rounds if played["mismatches"]],
        "recovery_seconds": spread(_interrupted(faults), "recovery_seconds"),
        "work_lost_seconds": spread(faults, "work_lost_seconds"),
        "next_answer_seconds": spread(faults, "next_answer_seconds"),
        "by_kind": {kind: _of_kind(faults, kind) for kind in sorted({fault["fault"] for fault in faults})},
        "found_nothing_to_hit": dict(Counter(kind for played in rounds for kind in played["not_fired"])),
    }


def _interrupted(faults: Sequence[Json]) -> list[Json]:
    """The faults that stopped something: messages too many and damaged chunks have nothing to recover from."""
    return [fault for fault in faults if fault["fault"].startswith(("embed:", "merge:", "query:", "coord", "broker"))]


def _of_kind(faults: Sequence[Json], kind: str) -> dict[str, Any]:
    some = [fault for fault in faults if fault["fault"] == kind]
    return {
        "faults": len(some),
        "at_work": sum(fault["held"] is not None for fault in some),
        "recovery_seconds": spread(_interrupted(some), "recovery_seconds"),
        "work_lost_seconds": spread(some, "work_lost_seconds"),
    }


def spread(faults: Sequence[Json], key: str) -> dict[str, float | int | None]:
    """How many faults have a figure, its median and its maximum; None where none has."""
    found = [fault[key] for fault in faults if fault[key] is not None]
    if not found:
        return {"count": 0, "p50": None, "max": None}
    return {"count": len(found), "p50": round(statistics.median(found), 2), "max": max(found)}


def chaos_table(made: Json) -> str:
    """The summary as a Markdown table: a row for each kind of fault, and one for all together."""
    rows = [[kind, str(some["faults"]), str(some["at_work"]), *_cells(some)] for kind, some in made["by_kind"].items()]
    at_work = sum(some["at_work"] for some in made["by_kind"].values())
    rows.append(["**all**", str(made["faults"]), str(at_work), *_cells(made)])
    heads = ["fault", "times", "hit at work", "recovery p50 s", "max s", "work lost p50 s", "max s"]
    counts = [
        ["rounds", str(made["rounds"])],
        ["faults", str(made["faults"])],
        ["damaged chunks seen to be written again", str(made["chunks_redone"])],
        ["other committed chunks written again", str(made["chunks_rewritten"])],
        ["seconds to the next answered search, broker and query worker hit, p50 and max", _both(made)],
        ["mismatches", str(made["mismatches"])],
    ]
    return table(heads, rows, right=1) + "\n\n" + table(["", ""], counts, right=1)


def fill_in(page: str, results: Json) -> str:
    """`page` with the block between `<!-- chaos -->` and `<!-- end of chaos -->` made again; UsageError without one."""
    if not _BLOCK.search(page):
        raise UsageError("The page has no block between <!-- chaos --> and <!-- end of chaos -->.")
    machine, made = results["machine"], chaos_table(results["summary"])
    told = (
        f"`{results['command']}`, made {results['made_at'][:10]} on {machine['cpu']}, {machine['cores']} cores, "
        f"{size(machine['memory_bytes'])}, in {results['wall_seconds'] / 60:,.0f} minutes. Each fault of each round is "
        "in `benchmarks/results/chaos.json`."
    )
    return _BLOCK.sub(lambda block: f"{block[1]}{told}\n\n{made}\n{block[2]}", page)


def _both(made: Json) -> str:
    found = made["next_answer_seconds"]
    return f"{found['p50']:.1f}, {found['max']:.1f}" if found["count"] else ""


def _cells(some: Json) -> list[str]:
    return [
        "" if some[key][which] is None else f"{some[key][which]:.1f}"
        for key in ("recovery_seconds", "work_lost_seconds")
        for which in ("p50", "max")
    ]
