"""The program that measures fusion: ranks, thresholds and what would be compared, and the tables of them."""

from typing import Any

import numpy as np

from benchmarks.truth.fusion import tables
from benchmarks.truth.fusion.figures import figures, ranked
from tests.support.benchmark_tables import HEADER, lines

PHOTOS = np.eye(30, dtype=np.float32)


def queries() -> np.ndarray:
    """One that is its original, one that is nearer to another, one that is as near to two."""
    found = np.zeros((3, 30), np.float32)
    found[0, 0] = 1
    found[1, 1], found[1, 2] = 0.6, 0.8
    found[2, 3] = found[2, 4] = 0.5**0.5
    return found


def test_ranks_count_what_is_as_near_before_the_original() -> None:
    found = ranked(PHOTOS, queries(), np.array([0, 1, 3]))
    assert found.ranks.tolist() == [1, 2, 2]
    np.testing.assert_allclose(found.own, [1, 0.6, 0.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(found.others[:, 0], [0, 0.8, 0.5**0.5], rtol=1e-6)
    assert found.others.shape == (3, 20)


def test_the_figures_say_what_is_found_recognised_and_compared() -> None:
    made = figures(ranked(PHOTOS, queries(), np.array([0, 1, 3])), ["flip", "crop", "crop"])
    assert made == {
        "r_at_1": 0.3333,
        "r_at_10": 1.0,
        # The threshold is the nearest that an absent photograph comes: .8, which the first alone passes.
        "recognised": 0.3333,
        "stands_out": 0.1,
        "threshold": 0.8,
        "compared": 1.0,
        "compared_absent": 0.6667,
        "kinds": {"flip": 1.0, "crop": 0.0},
    }


def test_less_is_compared_where_images_have_to_stand_out_farther() -> None:
    found = ranked(PHOTOS, queries(), np.array([0, 1, 3]))
    assert figures(found, ["a"] * 3, 0.55)["compared"] == 1.0
    assert figures(found, ["a"] * 3, 0.75)["compared"] == 0.3333
    assert figures(found, ["a"] * 3, 0.85)["compared_absent"] == 0.0


def test_the_tables_have_a_row_for_each_method_and_each_alteration() -> None:
    found = figures(ranked(PHOTOS, queries(), np.array([0, 1, 3])), ["flip", "crop", "crop"])
    results: dict[str, Any] = HEADER | {
        "photographs": "some",
        "searched": 30,
        "originals": 3,
        "model": "a model",
        "levels": ["one", "two"],
        "trial": {"says": "Fusion: kept", "seconds": 12.3},
        "alterations": {"flip": "Mirrored.", "crop": "Cut."},
        "methods": {"plain": found | {"dim": 1_280, "ms": 8.61}, "fused": found | {"dim": 512, "ms": 9.0}},
    }
    made = tables.all_tables(results)
    assert lines(made["fusion"])[0] == ["plain", "1,280", "8.6", "0.333", "1.000", "0.333", "0.10", "1.000", "0.667"]
    assert lines(made["fusion-alterations"]) == [["flip", "1.00", "1.00"], ["crop", "0.00", "0.00"]]
    assert ["trial", "Fusion: kept; 12 s"] in lines(made["fusion-header"])
