import numpy as np
import pytest

from workers.search.cascade.normalised import SPREAD, normalised


def of(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_similarity_is_told_in_deviations_above_the_ranks_behind() -> None:
    near = normalised(of(0.9, 0.7), of(*[0.52, 0.48] * 8))
    assert near.dtype == np.float32
    # Behind are 16 values that deviate by as much as those that are added.
    assert near == pytest.approx([0.4 / SPREAD, 0.2 / SPREAD], rel=1e-5)


def test_the_same_gap_counts_less_where_the_ranks_behind_are_spread_widely() -> None:
    narrow, wide = of(*[0.51, 0.49] * 8), of(*[0.7, 0.3] * 8)
    assert normalised(of(0.8), narrow)[0] > 5 * normalised(of(0.8), wide)[0]


def test_equal_images_behind_do_not_make_a_rounding_error_stand_out() -> None:
    assert abs(normalised(of(1.0 + 1e-7), of(*[1.0] * 16))[0]) < 0.001


@pytest.mark.parametrize("behind", [of(), of(0.5), of(0.5, 0.4)])
def test_with_few_behind_the_hits_keep_their_order(behind: np.ndarray) -> None:
    near = normalised(of(0.9, 0.8, 0.8, 0.6), behind)
    assert np.isfinite(near).all()
    assert near[0] > near[1] == near[2] > near[3] >= 0


def test_with_nothing_behind_the_least_hit_stands_at_zero() -> None:
    assert normalised(of(0.6, 0.5), of()) == pytest.approx([0.1 / SPREAD, 0], rel=1e-5)


def test_no_hits_have_no_normalised_similarities() -> None:
    assert normalised(of(), of(0.5)).shape == (0,)
