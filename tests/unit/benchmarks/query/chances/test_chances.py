"""What was published of chances is what the committed benchmark measured, and its tables say it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.query.chances import published as making
from benchmarks.query.chances import tables
from benchmarks.query.chances.counts import Asked, alteration, bins
from benchmarks.support.tables import fill_in
from shared.job.index.calibration import Calibration
from shared.models import DEFAULT_MODEL, resolve_model
from tests.support.benchmark_tables import PAGE
from workers.evaluate.calibration import published

RESULTS = making.RESULTS


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text()))


def test_the_published_chances_are_those_of_the_results(results: dict[str, Any]) -> None:
    measured = results["published"]
    assert results["build"]["fingerprint"] == published.FINGERPRINT == resolve_model(DEFAULT_MODEL).fingerprint
    assert [list(point) for point in published.CURVE] == measured["curve"]
    # The half of its queries whose originals are not there are copies of others.
    assert (measured["copies"], measured["originals"]) == (2 * published.COPIES, published.ORIGINALS)
    assert (measured["bound"], measured["missed"]) == (published.BOUND, published.MISSED)
    assert (
        measured["nothing_there"],
        measured["nothing_absent"],
    ) == (published.NOTHING_THERE, published.NOTHING_ABSENT)


def test_one_command_writes_what_is_published_from_the_results(results: dict[str, Any], tmp_path: Path) -> None:
    code = making.CODE.read_text()
    assert making.with_figures(code, results) == code
    other = tmp_path / "published.py"
    other.write_text(code)
    making.write(results | {"published": results["published"] | {"bound": 7.25, "copies": 20}}, other)
    read: dict[str, Any] = {}
    exec(other.read_text(), read)
    assert (read["BOUND"], read["COPIES"], read["CURVE"]) == (7.25, 10, published.CURVE)
    with pytest.raises(ValueError, match="no block of figures"):
        making.with_figures("BOUND = 1\n", results)


def test_the_page_shows_the_tables_of_the_results(results: dict[str, Any]) -> None:
    page = PAGE.with_name("verdicts.md").read_text()
    assert fill_in(page, tables.all_tables(results)) == page


def test_the_chances_of_a_build_held_for_queries_that_it_did_not_see(results: dict[str, Any]) -> None:
    """Of each step, what was said and what was true differ by no more than three deviations of a count."""
    for row in results["bins"]["measured"]:
        assert abs(row["said"] - row["originals"]) <= 3 * max(1.0, row["said"]) ** 0.5, row


def test_the_tables_say_each_figure(results: dict[str, Any]) -> None:
    made = tables.all_tables(results)
    assert set(made) == {"chances-header", "chances-bins", "chances-alterations", "chances-smaller"}
    top = results["bins"]["measured"][-1]
    assert f"{top['hits']:,}" in made["chances-bins"]
    assert f"{top['said']:.1f}" in made["chances-bins"]
    for row in results["alterations"]:
        assert row["alteration"] in made["chances-alterations"]
    assert f"{results['smaller'][0]['nothing_absent']:.1%}" in made["chances-smaller"]


def asked(standings: list[float], original: int | None, *, proven: bool = False, alteration: str = "flip") -> Asked:
    are = [place == original for place in range(len(standings))]
    return Asked(alteration, "a", are, np.array(standings, np.float32), proven)


def test_what_was_said_and_what_is_true_are_counted_by_chance() -> None:
    calibration = Calibration("", "", curve=((0.0, 0.1), (10.0, 0.9)), bound=4.0, missed=0.5)
    there, absent = [asked([10.0, 0.0], 0, proven=True), asked([5.0, 0.0], 0)], [asked([10.0, 0.0], None)]
    rows = {(row["from"], row["to"]): row for row in bins(calibration, there, absent)}
    assert sum(row["hits"] for row in rows.values()) == 6
    assert (rows[0.05, 0.2]["hits"], rows[0.05, 0.2]["said"], rows[0.05, 0.2]["originals"]) == (3, 0.3, 0)
    high = rows[0.8, 0.95]
    assert (high["hits"], high["said"], high["originals"]) == (2, 1.8, 1)
    # The proven one is none of those that are left: 0.9 becomes 0.45 / 0.55.
    assert (high["said_after"], high["originals_after"]) == (pytest.approx(0.82), 0)
    assert rows[0.5, 0.8]["originals_after"] == 1


def test_what_became_of_an_alteration_is_counted() -> None:
    calibration = Calibration("", "", curve=((0.0, 0.1), (10.0, 0.9)), bound=4.0)
    there = [asked([3.0], None), asked([9.0], 0, proven=True), asked([3.0], 0, alteration="grey")]
    assert alteration(calibration, "flip", there, [asked([3.0], None), asked([5.0], None)]) == {
        "alteration": "flip", "queries": 2, "among_nearest": 1, "proven": 1, "nothing_there": 0.5,
        "nothing_there_unproven": 1, "nothing_absent": 0.5,
    }  # fmt: skip
