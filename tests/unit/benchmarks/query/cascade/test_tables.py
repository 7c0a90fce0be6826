"""The tables of what a look-up of PDQs and a finer model find, and that the page has those of the committed results."""

import json
from typing import Any

from benchmarks.query.cascade import tables
from benchmarks.query.cascade.run import STAGES
from benchmarks.support.tables import block_names, fill_in
from tests.support.benchmark_tables import HEADER, PAGE, RESULTS, lines

VERDICTS = PAGE.with_name("verdicts.md")


def counted(first: int, proven: int, p50: float, wrong: int = 0) -> dict[str, Any]:
    return {
        "queries": 10, "first": first, "proven": proven, "others_proven": wrong, "worker_ms": {"p50": p50, "p99": 99}
    }  # fmt: skip


def stage(name: str, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    by_alteration = dict(zip(("flip", "turned", "in a page"), found, strict=True))
    return {"stage": name, "by_alteration": by_alteration, "absent": counted(0, 0, 30, wrong=1)} | more


MADE: dict[str, Any] = HEADER | {
    "photographs": "some", "images": 600, "finer": "a model (m@1)",
    "look_up": {"hashes": 1_000, "seconds_to_make": 2.25, "bytes": 129_000, "found": 1.0,
                "ms": {"p50": 1.234, "p99": 5.678}},
    "stages": [
        stage("index", counted(9, 0, 10), counted(5, 0, 11), counted(0, 0, 12)),
        stage("pictures", counted(9, 9, 20), counted(6, 5, 25), counted(0, 0, 12)),
        stage("PDQs, pictures", counted(9, 9, 20), counted(10, 10, 26), counted(0, 0, 12)),
        stage("finer model", counted(9, 0, 90), counted(8, 0, 80), counted(7, 0, 70), cached=counted(24, 0, 33)),
        stage("PDQs, pictures, finer model", counted(10, 9, 9), counted(10, 10, 8), counted(7, 1, 7)),
    ],
}  # fmt: skip


def test_stages_are_shares_of_all_queries_and_what_an_answer_costs_a_second_time() -> None:
    made = tables.all_tables(MADE)
    assert [one["stage"] for one in MADE["stages"]] == [one.name for one in STAGES]
    rows = lines(made["cascade-stages"])
    assert rows[0] == ["index", "46.7%", "0.0%", "1 of 10", "11", "", "30"]
    assert rows[3] == ["finer model", "80.0%", "0.0%", "1 of 10", "80", "33", "30"]
    assert lines(made["cascade-alterations"])[1] == ["turned", "50.0%", "80.0%", "50.0%", "100.0%"]
    assert lines(made["cascade-look-up"]) == [["1,000", "2.2 s", "129 B an image", "1.23 ms", "5.68 ms", "100.0%"]]
    assert ["finer model", "a model (m@1)"] in lines(made["cascade-header"])


def test_the_page_is_what_the_committed_results_make() -> None:
    made = tables.all_tables(json.loads((RESULTS / "query_cascade.json").read_text()))
    page = VERDICTS.read_text()
    assert sorted(name for name in block_names(page) if name.startswith("cascade-")) == sorted(made)
    assert fill_in(page, made) == page
