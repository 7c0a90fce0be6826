"""The tables of docs/verdicts.md, and that they are what the committed results make."""

import json
from typing import Any

from benchmarks.query.cascade import verdict_tables as tables
from benchmarks.support.tables import block_names, fill_in
from tests.support.benchmark_tables import HEADER, PAGE, RESULTS, lines

VERDICTS = PAGE.with_name("verdicts.md")


def counted(first: int, proven: int, p50: float, wrong: int = 0) -> dict[str, Any]:
    return {
        "queries": 10, "first": first, "proven": proven, "others_proven": wrong, "compared": 2.5,
        "worker_ms": {"p50": p50, "p99": 2 * p50},
    }  # fmt: skip


def mode(verify: str, views: int, *found: dict[str, Any]) -> dict[str, Any]:
    by_alteration = dict(zip(("flip", "a quarter", "in a page"), found, strict=True))
    return {"verify": verify, "views": views, "by_alteration": by_alteration, "absent": counted(0, 0, 30, wrong=1)}


MADE = HEADER | {
    "photographs": "some", "images": 1_500,
    "modes": [
        mode("never", 1, counted(9, 0, 10), counted(5, 0, 11), counted(0, 0, 12)),
        mode("auto", 1, counted(9, 9, 20), counted(6, 5, 25), counted(0, 0, 12)),
        mode("always", 6, counted(10, 10, 90), counted(9, 9, 80), counted(8, 7, 70)),
    ],
    "near": [
        {"views": 1, "stands_out": 0.1, "copies": 0.9, "originals_compared": 0.875, "absent_compared": 0.25,
         "absent_candidates": 0.5},
    ],
}  # fmt: skip


def test_modes_are_shares_of_all_queries_and_medians_of_the_alterations() -> None:
    made = tables.all_tables(MADE)
    assert lines(made["verdicts-modes"]) == [
        ["never", "1", "46.7%", "0.0%", "1 of 10", "11", "30", "60", "2.5"],
        ["auto", "1", "50.0%", "46.7%", "1 of 10", "20", "30", "60", "2.5"],
        ["always", "6", "90.0%", "86.7%", "1 of 10", "80", "30", "60", "2.5"],
    ]
    assert lines(made["verdicts-alterations"])[1] == ["a quarter", "50.0%", "60.0%", "50.0%", "90.0%", "90.0%"]
    assert lines(made["verdicts-near"]) == [["1", "0.10", "87.5%", "25.0%", "0.50"]]
    assert ["photographs", "some: 1,500"] in lines(made["verdicts-header"])


def test_the_page_is_what_the_committed_results_make() -> None:
    made = tables.all_tables(json.loads((RESULTS / "query_verdicts.json").read_text()))
    page = VERDICTS.read_text()
    assert sorted(name for name in block_names(page) if name.startswith("verdicts-")) == sorted(made)
    assert fill_in(page, made) == page
