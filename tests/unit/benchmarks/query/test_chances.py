"""What was published of chances is what the committed benchmark measured, and its tables say it."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.query import chance_tables
from workers.evaluate.calibration import published

RESULTS = Path(__file__).parents[4] / "benchmarks" / "results" / "chances.json"


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text()))


def test_the_published_chances_are_those_of_the_results(results: dict[str, Any]) -> None:
    measured = results["published"]
    assert results["model"] == published.MODEL
    assert [list(point) for point in published.CURVE] == measured["curve"]
    # The half of its queries whose originals are not there are copies of others.
    assert (measured["copies"], measured["originals"]) == (2 * published.COPIES, published.ORIGINALS)
    assert (measured["bound"], measured["missed"]) == (published.BOUND, published.MISSED)
    assert (
        measured["nothing_there"],
        measured["nothing_absent"],
    ) == (published.NOTHING_THERE, published.NOTHING_ABSENT)


def test_the_chances_of_a_build_held_for_queries_that_it_did_not_see(results: dict[str, Any]) -> None:
    """Of each step, what was said and what was true differ by no more than three deviations of a count."""
    for row in results["bins"]["measured"]:
        assert abs(row["said"] - row["originals"]) <= 3 * max(1.0, row["said"]) ** 0.5, row


def test_the_tables_say_each_figure(results: dict[str, Any]) -> None:
    made = chance_tables.all_tables(results)
    assert set(made) == {"chances-header", "chances-bins", "chances-alterations", "chances-smaller"}
    top = results["bins"]["measured"][-1]
    assert f"{top['hits']:,}" in made["chances-bins"]
    assert f"{top['said']:.1f}" in made["chances-bins"]
    for row in results["alterations"]:
        assert row["alteration"] in made["chances-alterations"]
    assert f"{results['smaller'][0]['nothing_absent']:.1%}" in made["chances-smaller"]
