"""Tables of the end-to-end benchmark: they quote its figures, put into the page where they belong."""

import json
from typing import Any

import pytest

from benchmarks.end_to_end import tables
from benchmarks.support import altered
from benchmarks.support.tables import block_names, fill_in
from shared.errors import UsageError
from tests.support.benchmark_tables import PAGE, RESULTS
from workers.images.alterations import ALTERATIONS


@pytest.fixture
def results() -> Any:
    return json.loads((RESULTS / "end_to_end.json").read_text())


@pytest.mark.parametrize(
    "figure",
    [
        ("search", "found", 0, "in_10"),
        ("search", "required", "rank_1"),
        ("search", "by_image", "round_trip_ms", "p50"),
        ("index", "images_per_second"),
        ("index", "job_bytes", "img_emb"),
        ("resume", "kills", 1, "chunks_committed"),
        ("resume", "embeddings_equal_byte_for_byte"),
        ("machine", "cores"),
    ],
)
def test_another_figure_makes_another_page(results: Any, figure: tuple[str | int, ...]) -> None:
    page = PAGE.read_text()
    *above, last = figure
    holder = results
    for key in above:
        holder = holder[key]
    holder[last] = not holder[last] if isinstance(holder[last], bool) else holder[last] + 7_000_000
    assert fill_in(page, tables.all_tables(results)) != page


def test_a_page_without_a_block_or_with_one_twice_is_refused(results: Any) -> None:
    page, made = PAGE.read_text(), tables.all_tables(results)
    block = "<!-- figures: found -->\n<!-- end of figures -->\n"
    with pytest.raises(UsageError, match="found"):
        fill_in(page.replace("<!-- figures: found -->", ""), made)
    with pytest.raises(UsageError, match="found"):
        fill_in(page + block, made)


def test_blocks_of_other_benchmarks_stay_as_they_are(results: Any) -> None:
    strange = "<!-- figures: strange -->\nkept\n<!-- end of figures -->\n"
    page = PAGE.read_text() + strange
    assert block_names(page)[-1] == "strange"
    assert fill_in(page, tables.all_tables(results)).endswith(strange)


def test_the_results_count_every_alteration_and_the_six_together(results: Any) -> None:
    found = {row["alteration"]: row for row in results["search"]["found"]}
    assert list(found) == list(ALTERATIONS)
    six = [row for row in found.values() if row["required"]]
    assert [row["alteration"] for row in six] == list(altered.REQUIRED)
    assert results["search"]["required"]["rank_1"] == sum(row["rank_1"] for row in six)
    assert results["search"]["required"]["queries"] == sum(row["queries"] for row in six)
    for row in found.values():
        assert row["rank_1"] + len(row["missed"]) == row["queries"]
        assert row["in_10"] + sum(miss["rank"] == "beyond 10" for miss in row["missed"]) == row["queries"]


@pytest.mark.parametrize(("rank_1", "says"), [(97, "met"), (96, "missed")])
def test_the_target_is_met_from_its_share_on(results: Any, rank_1: int, says: str) -> None:
    results["search"]["required"] = {"queries": 100, "rank_1": rank_1, "in_10": 99, "target": 0.97}
    last = tables.found_table(results).splitlines()[-1]
    assert f"at least 97% at rank 1, {says} " in last
    assert f"**{rank_1}.0 %**" in last


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(1, 1, "100.0 %"), (1163, 1200, "96.9 %"), (0, 7, "0.0 %"), (1999, 2000, "99.9 %")]
)
def test_a_share_is_rounded_down(part: int, whole: int, text: str) -> None:
    assert tables.percent(part, whole) == text
