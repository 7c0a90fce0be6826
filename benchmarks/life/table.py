"""Make the table of a life under kills."""

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import size, table
from shared.errors import UsageError

_BLOCK = re.compile(r"(<!-- life -->\n).*?(<!-- end of life -->)", re.DOTALL)


def life_table(results: Mapping[str, Any]) -> str:
    """Turns and kills by what happened, as a Markdown table."""
    kinds = sorted({turn["kind"] for turn in results["turns"]})
    rows = [_row(kind, [turn for turn in results["turns"] if turn["kind"] == kind]) for kind in kinds]
    rows.append(_row("**all**", results["turns"]))
    heads = ["command", "turns", "kills", "of the whole machine", "after the change was committed", "mismatches"]
    text = table(heads, rows, right=1)
    wrong = results["end_mismatches"]
    return f"{text}\n\nDifferences from the job made at once of what was left: {len(wrong)}."


def _row(kind: str, turns: list[Mapping[str, Any]]) -> list[str]:
    kills = [kill for turn in turns for kill in turn["kills"]]
    counts = (
        len(turns),
        len(kills),
        sum(kill["whole_machine"] for kill in kills),
        sum(kill["committed"] for kill in kills),
        sum(len(turn["mismatches"]) for turn in turns),
    )
    return [kind, *map(str, counts)]


def fill_in(page: str, results: Mapping[str, Any]) -> str:
    """`page` with the block between `<!-- life -->` and `<!-- end of life -->` made again; UsageError without one."""
    if not _BLOCK.search(page):
        raise UsageError("The page has no block between <!-- life --> and <!-- end of life -->.")
    machine = results["machine"]
    told = (
        f"`{results['command']}`, made {results['made_at'][:10]} on {machine['cpu']}, {machine['cores']} cores, "
        f"{size(machine['memory_bytes'])}, in {results['wall_seconds'] / 60:,.0f} minutes; each kill is in "
        "`benchmarks/results/life.json`."
    )
    return _BLOCK.sub(lambda block: f"{block[1]}{told}\n\n{life_table(results)}\n{block[2]}", page)
