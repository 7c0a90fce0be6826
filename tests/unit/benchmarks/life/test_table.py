"""The table of a life counts its kills, and the page holds what was measured."""

import json
from typing import Any

import pytest

from benchmarks.life import table
from shared.errors import UsageError
from tests.support.benchmark_tables import HEADER, PAGE, RESULTS

CHAOS = PAGE.with_name("chaos.md")


def turn(kind: str, *kills: tuple[bool, bool], wrong: int = 0) -> dict[str, Any]:
    struck = [{"whole_machine": machine, "seconds": 1.0, "committed": committed} for machine, committed in kills]
    return {"number": 1, "kind": kind, "seconds": 2.0, "kills": struck, "mismatches": ["?"] * wrong}


def test_kills_are_counted_by_what_happened() -> None:
    turns = [turn("delete", (True, False), (False, True)), turn("delete", wrong=1), turn("refresh", (True, True))]
    made = table.life_table(HEADER | {"turns": turns, "end_mismatches": ["?"]})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made.splitlines()]
    assert ["delete", "2", "2", "1", "1", "1"] in rows
    assert ["refresh", "1", "1", "1", "1", "0"] in rows
    assert ["**all**", "3", "3", "2", "2", "1"] in rows
    assert made.endswith("made at once of what was left: 1.")


def test_the_page_is_what_the_committed_results_make() -> None:
    results = json.loads((RESULTS / "life.json").read_text())
    assert table.fill_in(CHAOS.read_text(), results) == CHAOS.read_text()
    assert len(results["turns"]) >= 50
    assert results["end_mismatches"] == []
    assert not any(turn["mismatches"] for turn in results["turns"])


def test_a_page_without_its_block_is_refused() -> None:
    with pytest.raises(UsageError, match="no block"):
        table.fill_in("# Chaos", {})
