"""The curve rises, is sure of nothing, and is where the originals and strangers are that were seen."""

from collections.abc import Sequence

import numpy as np
import pytest

from workers.evaluate.calibration.curve import Seen, fitted, rising, standing_at


def seen(strangers: Sequence[float], originals: Sequence[float], weight: float = 1.0) -> Seen:
    standings = np.array([*strangers, *originals], np.float64)
    are = np.array([False] * len(strangers) + [True] * len(originals))
    return Seen(standings, are, np.full(len(are), weight))


def at(curve: tuple[tuple[float, float], ...], standing: float) -> float:
    places, values = zip(*curve, strict=True)
    return float(np.interp(standing, places, values))


def test_the_nearest_rising_steps_are_the_means_of_what_falls() -> None:
    steps, starts = rising(np.array([1.0, 3.0, 2.0, 2.0, 5.0]), np.array([1.0, 1.0, 1.0, 2.0, 1.0]))
    assert steps == pytest.approx([1.0, 9 / 4, 5.0])
    assert starts.tolist() == [0, 1, 4]


def test_clear_strangers_and_originals_are_told_apart_and_nothing_is_sure() -> None:
    curve = fitted(seen(np.linspace(-2, 4, 500).tolist(), np.linspace(10, 20, 40).tolist()))
    assert at(curve, 0) == pytest.approx(0.5 / 501, abs=1e-4)
    assert at(curve, 15) == pytest.approx(40.5 / 41, abs=1e-4)
    assert all(0 < chance < 1 for _, chance in curve)


def test_few_queries_are_less_sure_than_many() -> None:
    few, many = (fitted(seen([0.0] * count, [10.0] * count)) for count in (3, 300))
    assert at(few, 10) < 0.9 < at(many, 10)
    assert at(few, 0) > at(many, 0)


def test_six_copies_of_one_image_are_not_six_images() -> None:
    one = fitted(seen([0.0] * 60, [10.0] * 60, weight=1 / 6))
    assert at(one, 10) == pytest.approx(10.5 / 11, abs=1e-4)


def test_strangers_as_high_as_originals_keep_the_chance_down_and_equal_standings_are_one_step() -> None:
    curve = fitted(seen([1.0] * 100 + [9.0] * 30, [9.0] * 10))
    assert at(curve, 9.0) == pytest.approx(10.5 / 41, abs=1e-4)


def test_the_curve_rises_whatever_was_seen() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        curve = fitted(seen(rng.normal(0, 3, 200).tolist(), rng.normal(rng.uniform(-3, 6), 3, 30).tolist()))
        chances = [chance for _, chance in curve]
        places = [place for place, _ in curve]
        assert (chances, places) == (sorted(chances), sorted(places))


@pytest.mark.parametrize("given", [seen([], [1.0]), seen([1.0], [])])
def test_without_originals_or_strangers_there_is_no_curve(given: Seen) -> None:
    assert fitted(given) == ()


@pytest.mark.parametrize(("chance", "standing"), [(0.05, 1.0), (0.1, 2.0), (0.3, 3.0), (0.5, 6.0), (0.9, 6.0)])
def test_the_standing_of_a_chance_is_the_highest_that_is_not_above_it(chance: float, standing: float) -> None:
    assert standing_at(((1.0, 0.1), (2.0, 0.1), (4.0, 0.5), (6.0, 0.5)), chance) == pytest.approx(standing)
