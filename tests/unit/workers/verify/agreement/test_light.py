import numpy as np
import pytest

from workers.verify.agreement.cells import Cells
from workers.verify.agreement.light import light_of

ROWS, COLUMNS = 12, 16
QUERY = np.random.default_rng(1).uniform(20, 230, (ROWS, COLUMNS)).astype(np.float32)
DOWN, ACROSS = np.mgrid[:ROWS, :COLUMNS] / COLUMNS


def cells(hit: np.ndarray, aligned: np.ndarray | None = None) -> Cells:
    shown = np.ones((ROWS, COLUMNS), bool) if aligned is None else aligned
    return Cells(np.ones((ROWS, COLUMNS), bool), shown, QUERY, hit.astype(np.float32))


def test_a_darker_copy_with_less_contrast_is_in_one_even_light() -> None:
    light = light_of(cells(QUERY * 0.6 + 20))
    assert light.even < 0.01
    assert light.uneven < 0.01
    assert light.range == pytest.approx(float(np.median(np.abs(QUERY - np.median(QUERY)))) * 0.6, rel=0.01)


def test_a_curve_and_more_light_on_one_side_are_uneven_and_still_one_light() -> None:
    hit = 255 * (QUERY / 255) ** 1.7 + 30 * ACROSS - 20 * DOWN
    light = light_of(cells(hit))
    assert light.even > 4
    assert light.uneven < 1.5


def test_shadows_here_and_there_are_no_light_of_a_copy() -> None:
    shadows = np.random.default_rng(2).normal(0, 12, (ROWS, COLUMNS))
    light = light_of(cells(QUERY * 0.9 + shadows))
    assert light.even > 5
    assert light.uneven > 5


def test_a_caption_over_a_third_of_the_cells_does_not_change_the_light_of_the_others() -> None:
    hit = QUERY * 0.8 + 10
    hit[4:8] = 250
    assert light_of(cells(hit)).even < 1


def test_only_aligned_cells_tell() -> None:
    hit, aligned = QUERY.copy(), np.ones((ROWS, COLUMNS), bool)
    hit[:, 4:], aligned[:, 4:] = np.roll(QUERY, 3)[:, 4:], False
    assert light_of(cells(hit, aligned)).even < 0.01
    assert light_of(cells(hit)).even > 5


@pytest.mark.parametrize(("shown", "even", "uneven"), [(0, False, False), (5, False, False), (6, True, True)])
def test_too_few_cells_tell_of_no_light(shown: int, even: bool, uneven: bool) -> None:
    aligned = np.zeros((ROWS, COLUMNS), bool)
    aligned[0, :shown] = True
    light = light_of(cells(QUERY.copy(), aligned))
    assert np.isfinite(light.even) == even
    assert np.isfinite(light.uneven) == uneven


def test_a_curve_with_a_slope_is_not_fitted_to_a_few_cells() -> None:
    aligned = np.zeros((ROWS, COLUMNS), bool)
    aligned[0, :8] = True
    light = light_of(cells(255 - 255 * ((QUERY / 255 - 0.5) * 2) ** 2, aligned))
    assert light.uneven == light.even


def test_where_all_is_of_one_brightness_the_range_says_so() -> None:
    assert light_of(cells(np.full((ROWS, COLUMNS), 90.0))).range == 0
